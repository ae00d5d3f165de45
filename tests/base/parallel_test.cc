// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace scalebits {
namespace {

/// Runs each test with several sizes of the pool and leaves the default behind.
class Parallel : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
  void TearDown() override {
    set_thread_start_hook(nullptr);
    set_num_threads(0);
  }
};
INSTANTIATE_TEST_SUITE_P(Threads, Parallel, ::testing::Values(1, 2, 3, 8));

TEST_P(Parallel, RunsEachIndexOnce) {
  EXPECT_EQ(num_threads(), GetParam());
  for (const int64_t n : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(n));
    parallel_for(n, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
    for (const auto& count : runs) ASSERT_EQ(count, 1);
  }
}

/// Threads look for news for 0.1 ms; longer waits, between calls and for the last task, are slept through.
TEST_P(Parallel, WakesThreadsThatHaveGoneToSleep) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::this_thread::sleep_for(std::chrono::milliseconds(repeat % 2));
    std::atomic<int> runs = 0;
    parallel_for(9, [&](int64_t i) {
      if (i % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++runs;
    });
    EXPECT_EQ(runs, 9);
  }
}

TEST_P(Parallel, RethrowsTheExceptionOfTheLowestIndexAfterAllHaveRun) {
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::atomic<int> runs = 0;
    std::atomic<bool> later_failed = GetParam() == 1;  // one thread runs 40 first and cannot wait for 41
    std::string caught;
    try {
      parallel_for(100, [&](int64_t i) {
        ++runs;
        if (i == 40) {  // fails after 41 has failed in another thread
          while (!later_failed) std::this_thread::yield();
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        if (i == 41) later_failed = true;
        if (i == 99 || i == 40 || i == 41) throw std::runtime_error(std::to_string(i));
      });
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    EXPECT_EQ(caught, "40");
    EXPECT_EQ(runs, 100);
  }
}

TEST_P(Parallel, WorksAgainAfterAnException) {
  EXPECT_THROW(parallel_for(3, [](int64_t) { throw std::runtime_error("x"); }), std::runtime_error);
  std::atomic<int> runs = 0;
  EXPECT_NO_THROW(parallel_for(10, [&](int64_t) { ++runs; }));
  EXPECT_EQ(runs, 10);
}

TEST_P(Parallel, ANestedCallRunsInOrderInTheSameThread) {
  std::vector<std::vector<int64_t>> order(8);
  parallel_for(8, [&](int64_t i) {
    const auto thread = std::this_thread::get_id();
    parallel_for(5, [&](int64_t j) {
      EXPECT_EQ(std::this_thread::get_id(), thread);
      order[static_cast<size_t>(i)].push_back(j);
    });
  });
  for (const auto& inner : order) EXPECT_EQ(inner, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

TEST_P(Parallel, ResultsDoNotDependOnTheNumberOfThreads) {
  std::vector<double> got(500);
  parallel_for(500, [&](int64_t i) { got[static_cast<size_t>(i)] = std::sqrt(static_cast<double>(i)); });
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], std::sqrt(static_cast<double>(i)));
}

TEST_P(Parallel, TheHookRunsOnceInEveryPoolThread) {
  std::atomic<int> calls = 0;
  set_thread_start_hook([&] { ++calls; });
  for (int repeat = 0; repeat < 3; ++repeat) parallel_for(50, [](int64_t) {});
  EXPECT_EQ(calls, GetParam() - 1);  // the caller is no pool thread
}

TEST(Parallel, ATaskSeesOneThreadAndMayAsk) {
  set_num_threads(3);
  std::vector<int> seen(8);
  parallel_for(8, [&](int64_t i) { seen[static_cast<size_t>(i)] = num_threads(); });
  EXPECT_EQ(seen, std::vector<int>(8, 1));
  EXPECT_EQ(num_threads(), 3);
  set_num_threads(0);
}

}  // namespace
}  // namespace scalebits
