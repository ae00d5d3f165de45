// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

thread_local bool t_inside = false;

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// How long a waiting thread looks for news before it sleeps.
constexpr std::chrono::microseconds kSpin{100};

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Whether done() became true within kSpin.
template <class Done>
bool spin_until(const Done& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause_briefly();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

class Pool {
 public:
  explicit Pool(int n, std::function<void()> hook) : hook_(std::move(hook)) {
    for (int i = 1; i < n; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Pool() {
    stop_ = true;
    ++generation_;
    wake_sleepers();
    for (auto& thread : threads_) thread.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  [[nodiscard]] int size() const { return static_cast<int>(threads_.size()) + 1; }

  void run(int64_t n, IndexTask task) {
    task_ = &task;
    total_ = n;
    next_ = 0;
    failed_index_ = std::numeric_limits<int64_t>::max();
    failure_ = nullptr;
    busy_ = static_cast<int>(threads_.size());
    ++generation_;  // workers read the above after they have seen this
    wake_sleepers();
    drain();
    const auto all_done = [this] { return busy_ == 0; };
    if (!spin_until(all_done)) {
      std::unique_lock lock(mutex_);
      ++sleepers_;
      news_.wait(lock, all_done);
      --sleepers_;
    }
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work() {
    if (hook_) hook_();
    uint64_t seen = 0;
    for (;;) {
      const auto called = [&] { return generation_ != seen; };
      if (!spin_until(called)) {
        std::unique_lock lock(mutex_);
        ++sleepers_;
        news_.wait(lock, called);
        --sleepers_;
      }
      if (stop_) return;
      seen = generation_;
      drain();
      if (--busy_ == 0) wake_sleepers();
    }
  }

  /// After a change of what sleepers wait for. One who counts itself among them looks once more before it sleeps, with
  /// the mutex held, so it either sees the change or is seen here.
  void wake_sleepers() {
    if (sleepers_ == 0) return;
    { const std::lock_guard lock(mutex_); }
    news_.notify_all();
  }

  void drain() {
    t_inside = true;
    for (int64_t i = next_++; i < total_; i = next_++) {
      try {
        (*task_)(i);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (i < failed_index_) {
          failed_index_ = i;
          failure_ = std::current_exception();
        }
      }
    }
    t_inside = false;
  }

  std::function<void()> hook_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable news_;
  std::atomic<int> sleepers_{0};
  const IndexTask* task_ = nullptr;
  int64_t total_ = 0;
  std::atomic<int64_t> next_{0};
  int64_t failed_index_ = 0;
  std::exception_ptr failure_;
  std::atomic<int> busy_{0};
  std::atomic<uint64_t> generation_{0};
  std::atomic<bool> stop_{false};
};

std::mutex g_mutex;  // guards the three below; held for a whole parallel_for of an outside thread
std::unique_ptr<Pool> g_pool;
std::function<void()> g_hook;
int g_threads = 0;

}  // namespace

void set_num_threads(int n) {
  SCALEBITS_CHECK(!t_inside);
  const std::lock_guard lock(g_mutex);
  g_threads = n > 0 ? n : available_cores();
  if (g_pool && g_pool->size() != g_threads) g_pool.reset();
}

int num_threads() {
  if (t_inside) return 1;  // what a nested parallel_for runs on; and the mutex below is held by the outer one
  const std::lock_guard lock(g_mutex);
  if (g_threads == 0) g_threads = available_cores();
  return g_threads;
}

void set_thread_start_hook(std::function<void()> hook) {
  const std::lock_guard lock(g_mutex);
  g_hook = std::move(hook);
  g_pool.reset();
}

void parallel_for(int64_t n, IndexTask task) {
  if (n <= 0) return;
  if (t_inside || n == 1) {
    for (int64_t i = 0; i < n; ++i) task(i);
    return;
  }
  const std::lock_guard lock(g_mutex);
  if (g_threads == 0) g_threads = available_cores();
  if (!g_pool) g_pool = std::make_unique<Pool>(g_threads, g_hook);
  g_pool->run(n, task);
}

}  // namespace scalebits
