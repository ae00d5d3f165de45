// SPDX-License-Identifier: Apache-2.0
/// A request to stop cleanly (Ctrl+C), polled by long loops between units of work.
#pragma once

namespace scalebits {

/// Asks running loops to stop. Safe to call from a signal handler.
void request_stop() noexcept;
bool stop_requested() noexcept;
void clear_stop_request() noexcept;

/// Throws Interrupted when a stop was requested. Call it where the state on disk is consistent.
void throw_if_stopped();

}  // namespace scalebits
