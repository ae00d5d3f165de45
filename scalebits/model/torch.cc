// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/torch.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <mutex>

#include "scalebits/base/parallel.h"

namespace scalebits {

void init_torch() {
  static std::once_flag once;
  std::call_once(once, [] {
    // OpenBLAS built with its own threads takes all cores for one product unless told otherwise. Which BLAS is loaded
    // is the system's choice, so the symbol may be absent.
    if (void* symbol = dlsym(RTLD_DEFAULT, "openblas_set_num_threads")) reinterpret_cast<void (*)(int)>(symbol)(1);
    // The OpenMP thread count is a property of each thread.
    set_thread_start_hook([] { at::set_num_threads(1); });
  });
  at::set_num_threads(1);
}

}  // namespace scalebits
