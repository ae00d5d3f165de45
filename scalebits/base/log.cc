// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/log.h"

namespace scalebits {

Log& silent_log() {
  static Log log;
  return log;
}

}  // namespace scalebits
