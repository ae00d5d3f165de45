// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/interrupt.h"

#include <atomic>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {
std::atomic<bool> g_stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // a signal handler may only touch lock-free atomics
}  // namespace

void request_stop() noexcept { g_stop.store(true, std::memory_order_relaxed); }
bool stop_requested() noexcept { return g_stop.load(std::memory_order_relaxed); }
void clear_stop_request() noexcept { g_stop.store(false, std::memory_order_relaxed); }

void throw_if_stopped() {
  if (stop_requested()) throw Interrupted("[interrupt] stopped on request");
}

}  // namespace scalebits
