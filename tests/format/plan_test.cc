// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

LinearPlan linear_plan(const std::string& name, BlockGrid grid, std::vector<uint8_t> bits) {
  LinearPlan linear;
  linear.name = name;
  linear.grid = grid;
  linear.bits = std::move(bits);
  return linear;
}

/// 300 x 200 in blocks of 128 x 128: two columns of three blocks.
LinearPlan example_linear() {
  return linear_plan("model.layers.0.mlp.up_proj", BlockGrid(300, 200, {}), {4, 2, 3, 3, 1, 8});
}

Plan example_plan() {
  Plan plan;
  plan.linears = {example_linear()};
  return plan;
}

TEST(Plan, CountsEveryByteByHand) {
  // Columns: 128 (1 group), 72 (1 group). Rows: 128, 128, 44 stored as 48.
  const int64_t codes = (128 * 128 * 4 + 128 * 72 * 2 + 128 * 128 * 3 + 128 * 72 * 3 + 48 * 128 * 1 + 48 * 72 * 8) / 8;
  const int64_t scales = 2 * (128 + 128 + 48);
  const int64_t zeros = (128 * 5 + 128 * 3 + 128 * 4 + 128 * 4 + 48 * 2 + 48 * 8) / 8;
  LinearPlan linear = example_linear();
  EXPECT_EQ(linear.bytes(), codes + scales + zeros + 6);
  linear.row_perm.resize(300);
  linear.col_perm.resize(200);
  EXPECT_EQ(linear.bytes(), codes + scales + zeros + 6 + 2 * 500);  // I16
  linear.shares_cols = true;
  EXPECT_EQ(linear.bytes(), codes + scales + zeros + 6 + 2 * 300);
  LinearPlan wide = linear_plan("wide", BlockGrid(1, 32769, {}), std::vector<uint8_t>(257, 1));
  const int64_t without = wide.bytes();
  wide.col_perm.resize(32769);
  EXPECT_EQ(wide.bytes(), without + 4 * 32769);  // I32
  // Widths are averaged over real weights, not padding.
  EXPECT_EQ(linear.code_bits(), 128 * 128 * 4 + 128 * 72 * 2 + 128 * 128 * 3 + 128 * 72 * 3 + 44 * 128 + 44 * 72 * 8);
}

TEST(Plan, TotalsAreSumsAndRatiosOverRealWeights) {
  Plan plan = example_plan();
  plan.linears.push_back(linear_plan("b", BlockGrid(128, 128, {}), {2}));
  EXPECT_EQ(plan.n_weights(), 60000 + 16384);
  EXPECT_EQ(plan.bytes(), example_linear().bytes() + 4096 + 128 + 48 + 1);
  EXPECT_DOUBLE_EQ(plan.bpw(), 8.0 * static_cast<double>(plan.bytes()) / 76384);
  EXPECT_DOUBLE_EQ(plan.code_bits(), static_cast<double>(example_linear().code_bits() + 32768) / 76384);
  EXPECT_EQ(Plan().bpw(), 0);
  EXPECT_EQ(Plan().code_bits(), 0);
}

void expect_refused(const Plan& plan, const std::string& message) {
  try {
    check_plan(plan);
    ADD_FAILURE() << "accepted, expected: " << message;
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr(message));
  }
}

TEST(Plan, CheckAcceptsAGoodPlan) {
  Plan plan = example_plan();
  EXPECT_NO_THROW(check_plan(plan));
  plan.order.residual = {2, 0, 1};
  plan.order.layers = {
      {.mlp = {1, 0}, .experts = {}, .value = {{0, 1}, {}}, .kv_heads = {0}, .query_heads = {{2, 1, 0}}}};
  plan.linears[0].col_perm.resize(200);
  for (int32_t i = 0; i < 200; ++i) plan.linears[0].col_perm[static_cast<size_t>(i)] = 199 - i;
  plan.reorder_mode = "fused";
  plan.tie = "fused";
  EXPECT_NO_THROW(check_plan(plan));
  plan.linears.push_back(plan.linears[0]);
  plan.linears[1].name = "shares";
  plan.linears[1].shares_cols = true;
  EXPECT_NO_THROW(check_plan(plan));
}

TEST(Plan, CheckRefusesOrdersThatAReaderWouldNotApply) {
  Plan plan = example_plan();
  plan.linears[0].row_perm = identity_permutation(300);
  expect_refused(plan, "[model.layers.0.mlp.up_proj] order of its own: got one in reorder mode folded");
  plan.reorder_mode = "fused";
  plan.linears[0].shares_cols = true;
  expect_refused(plan, "shared col_perm: got another than that of no layer before it");
  plan.linears[0].shares_cols = false;
  plan.linears[0].col_perm = identity_permutation(200);
  plan.linears.push_back(plan.linears[0]);
  plan.linears[1].name = "shares";
  plan.linears[1].shares_cols = true;
  std::swap(plan.linears[1].col_perm[3], plan.linears[1].col_perm[4]);
  expect_refused(plan, "[shares] shared col_perm: got another than that of model.layers.0.mlp.up_proj");
  plan = example_plan();
  plan.reorder_mode = "sorted";
  expect_refused(plan, "reorder_mode: got \"sorted\"");
  plan = example_plan();
  plan.tie = "loose";
  expect_refused(plan, "tie: got \"loose\"");
}

TEST(Plan, CheckNamesTheLinearLayerAtFault) {
  const std::string where = "[model.layers.0.mlp.up_proj] ";
  Plan plan = example_plan();
  plan.linears[0].bits[4] = 0;
  expect_refused(plan, where + "width of block 4: got 0, expected 1..8");
  plan.linears[0].bits[4] = 9;
  expect_refused(plan, where + "width of block 4: got 9, expected 1..8");
  plan = example_plan();
  plan.linears[0].bits.pop_back();
  expect_refused(plan, where + "widths: got 5, expected 6");
  plan = example_plan();
  plan.linears[0].row_perm.resize(299);
  expect_refused(plan, where + "row_perm: got 299 entries, expected 300 or none");
  plan = example_plan();
  plan.linears[0].col_perm.resize(200);
  expect_refused(plan, where + "col_perm[1]: got 0 a second time");
  plan = example_plan();
  plan.linears[0].grid = BlockGrid(300, 200, {.rows = 64});
  expect_refused(plan, where + "blocks: got 64 x 128");
  plan = example_plan();
  plan.linears.push_back(plan.linears[0]);
  expect_refused(plan, where + "linear layer: got it twice");
  plan = example_plan();
  plan.linears[0].grid = BlockGrid();
  expect_refused(plan, where + "shape");
}

TEST(Plan, CheckRefusesOrdersThatAreNoPermutations) {
  const std::vector<Permutation> bad = {{0, 0}, {0, 2}, {-1, 0}, {1}};
  for (const Permutation& perm : bad) {
    Plan plan = example_plan();
    plan.order.residual = perm;
    expect_refused(plan, "order.residual");
    for (int which = 0; which < 4; ++which) {
      FoldedOrder::Layer layer;
      if (which == 0) layer.mlp = perm;
      if (which == 1) layer.kv_heads = perm;
      if (which == 2) layer.value = {{0}, perm};
      if (which == 3) layer.query_heads = {perm};
      plan = example_plan();
      plan.order.layers = {{}, layer};
      expect_refused(plan, "order of layer 1");
    }
  }
}

}  // namespace
}  // namespace scalebits
