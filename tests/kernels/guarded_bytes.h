// SPDX-License-Identifier: Apache-2.0
/// Memory that ends where a page begins that nobody may touch.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <span>

namespace scalebits::test {

class GuardedBytes {
 public:
  explicit GuardedBytes(std::span<const uint8_t> bytes) {
    const size_t size = (bytes.size() + 4095) / 4096 * 4096;
    base_ = mmap(nullptr, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_ = size + 4096;
    EXPECT_EQ(mprotect(static_cast<uint8_t*>(base_) + size, 4096, PROT_NONE), 0);
    begin_ = static_cast<uint8_t*>(base_) + size - bytes.size();
    std::copy(bytes.begin(), bytes.end(), begin_);
  }
  ~GuardedBytes() { munmap(base_, size_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  [[nodiscard]] const uint8_t* begin() const { return begin_; }

 private:
  void* base_;
  size_t size_;
  uint8_t* begin_;
};

}  // namespace scalebits::test
