// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/heap.h"

#include <malloc.h>

namespace scalebits {

void release_free_heap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace scalebits
