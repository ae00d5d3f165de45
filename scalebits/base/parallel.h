// SPDX-License-Identifier: Apache-2.0
/// parallel_for over independent tasks. Results never depend on the number of threads, because a task writes only what
/// its index owns and every sum over tasks is taken afterwards in index order.
#pragma once

#include <cstdint>
#include <functional>

namespace scalebits {

/// Sets the number of threads of the process-wide pool, the caller included. 0 = the number of cores we may run on.
/// Not to be called while a parallel_for runs.
void set_num_threads(int n);
/// Threads that a parallel_for called from here would use: 1 inside a task.
int num_threads();

/// A reference to something that can be called with an index; nothing is copied or allocated.
class IndexTask {
 public:
  template <class F>
  IndexTask(const F& f)  // NOLINT: made where a lambda is passed
      : object_(&f), call_([](const void* object, int64_t i) { (*static_cast<const F*>(object))(i); }) {}
  void operator()(int64_t i) const { call_(object_, i); }

 private:
  const void* object_;
  void (*call_)(const void*, int64_t);
};

/// Runs task(i) for i in [0, n), each exactly once; threads take the next free index. Returns when all have ended; the
/// exception of the lowest failing index is rethrown. A nested call runs its tasks in the calling thread, in order.
///
/// Threads that wait, for tasks or for the end of others' tasks, look for news for 0.1 ms and then sleep: the parallel
/// parts of one token of a language model follow each other within microseconds, and waking a thread takes as long as
/// such a part.
void parallel_for(int64_t n, IndexTask task);

/// Called once in every pool thread before its first task (model/ uses it to keep libtorch single-threaded there).
void set_thread_start_hook(std::function<void()> hook);

}  // namespace scalebits
