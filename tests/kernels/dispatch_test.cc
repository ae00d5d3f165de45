// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/dispatch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

TEST(Dispatch, SplitsPanelsByBytesNotByRows) {
  // Panels of 80, 10, 5, 5 bytes: half of them lie in the first.
  const PanelOffsets heavy = {.codes = {0, 40, 45, 50, 50}, .scales = {0, 40, 45, 45, 50}, .zeros = {0, 0, 0, 0, 0}};
  EXPECT_EQ(split_panels(heavy, 2), (std::vector<int64_t>{0, 1, 4}));
  EXPECT_EQ(split_panels(heavy, 1), (std::vector<int64_t>{0, 4}));
  const PanelOffsets even = {
      .codes = {0, 1, 2, 3, 4, 5, 6}, .scales = {0, 0, 0, 0, 0, 0, 0}, .zeros = {0, 0, 0, 0, 0, 0, 0}};
  EXPECT_EQ(split_panels(even, 3), (std::vector<int64_t>{0, 2, 4, 6}));
  for (int64_t parts = 1; parts < 10; ++parts) {  // always a partition, even with more parts than panels
    const std::vector<int64_t> bounds = split_panels(even, parts);
    EXPECT_EQ(bounds.size(), static_cast<size_t>(parts) + 1);
    EXPECT_EQ(bounds.front(), 0);
    EXPECT_EQ(bounds.back(), 6);
    EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end()));
  }
}

TEST(Dispatch, AnUnknownInstructionSetIsAnErrorThatListsTheKnown) {
  EXPECT_EQ(select_kernels("").name, available_kernels().front());
  EXPECT_STREQ(select_kernels("reference").name, "reference");
  try {
    select_kernels("avx9000");
    FAIL();
  } catch (const DeviceError& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("[SCALEBITS_ISA] instruction set: got 'avx9000'"));
    EXPECT_THAT(e.what(), ::testing::HasSubstr("reference"));
  }
}

}  // namespace
}  // namespace scalebits
