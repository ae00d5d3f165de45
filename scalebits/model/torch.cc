// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/torch.h"

#include <ATen/Parallel.h>

#include <mutex>

#include "scalebits/base/parallel.h"

namespace scalebits {

void init_torch() {
  static std::once_flag once;
  std::call_once(once, [] {
    // The OpenMP thread count is a property of each thread.
    set_thread_start_hook([] { at::set_num_threads(1); });
  });
  at::set_num_threads(1);
}

}  // namespace scalebits
