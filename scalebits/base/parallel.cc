// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
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

class Pool {
 public:
  explicit Pool(int n, std::function<void()> hook) : hook_(std::move(hook)) {
    for (int i = 1; i < n; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  [[nodiscard]] int size() const { return static_cast<int>(threads_.size()) + 1; }

  void run(int64_t n, const std::function<void(int64_t)>& task) {
    {
      const std::lock_guard lock(mutex_);
      task_ = &task;
      total_ = n;
      next_ = 0;
      failed_index_ = std::numeric_limits<int64_t>::max();
      failure_ = nullptr;
      busy_ = static_cast<int>(threads_.size());
      ++generation_;
    }
    wake_.notify_all();
    drain();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work() {
    if (hook_) hook_();
    uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
        if (stop_) return;
        seen = generation_;
      }
      drain();
      const std::lock_guard lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
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
  std::condition_variable wake_, done_;
  const std::function<void(int64_t)>* task_ = nullptr;
  int64_t total_ = 0;
  std::atomic<int64_t> next_{0};
  int64_t failed_index_ = 0;
  std::exception_ptr failure_;
  int busy_ = 0;
  uint64_t generation_ = 0;
  bool stop_ = false;
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

void parallel_for(int64_t n, const std::function<void(int64_t)>& task) {
  if (n <= 0) return;
  if (t_inside) {
    for (int64_t i = 0; i < n; ++i) task(i);
    return;
  }
  const std::lock_guard lock(g_mutex);
  if (g_threads == 0) g_threads = available_cores();
  if (!g_pool) g_pool = std::make_unique<Pool>(g_threads, g_hook);
  g_pool->run(n, task);
}

}  // namespace scalebits
