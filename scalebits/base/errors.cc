// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/errors.h"

namespace scalebits {

void check_failed(const char* file, int line, const char* condition) {
  fail<InternalError>("internal", "{}:{}: {} does not hold. Please report this as a bug.", file, line, condition);
}

}  // namespace scalebits
