// SPDX-License-Identifier: Apache-2.0
// A search interrupted and gone on from its file ends as if it had not been.
#include "scalebits/search/state_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "scalebits/base/errors.h"
#include "scalebits/io/json.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::HasSubstr;

class SearchStateFile : public ::testing::Test {
 protected:
  [[nodiscard]] SearchResult run(const SearchState* resume, const std::function<void(const SearchState&)>& save) const {
    const SearchOptions options{.reorder_mode = mode_, .max_iterations = 6, .slice = 3};
    return search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib_, budget_from_bpw(layers_, 4.5),
                       options, silent_log(), resume, save);
  }
  void use_fused_orders() {
    mode_ = ReorderMode::kFused;
    reserve_orders(layers_, true, true, true);
  }
  [[nodiscard]] std::optional<SearchState> load(const std::string& fingerprint) {
    return load_search_state(path_, layers_, fingerprint, why_);
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny_gqa());
  const ModelConfig config_ = read_hf_config(tiny_gqa());
  QuantizedLayers layers_ = find_quantized_layers(config_, kSmallBlocks);
  ReorderMode mode_ = ReorderMode::kFolded;
  const CalibSet calib_ = split_calibration(random_sequences(8, 20, 1), "test");
  const TempDir dir_;
  const std::filesystem::path path_ = dir_ / "search.json";
  std::string why_;
};

TEST_F(SearchStateFile, LetsASearchGoOnToTheSameResult) {
  const SearchResult whole = run(nullptr, [&](const SearchState& state) {
    if (state.iteration == 3) save_search_state(path_, state, layers_, "print");
  });
  const std::optional<SearchState> state = load("print");
  ASSERT_TRUE(state) << why_;
  EXPECT_EQ(state->iteration, 3);
  const SearchResult resumed = run(&*state, {});
  EXPECT_EQ(resumed.widths, whole.widths);
  EXPECT_EQ(resumed.order, whole.order);
  EXPECT_EQ(resumed.heldout_loss, whole.heldout_loss);
  ASSERT_EQ(resumed.trace.size(), whole.trace.size());
  for (size_t i = 0; i < whole.trace.size(); ++i) {
    EXPECT_EQ(resumed.trace[i].gradient_loss, whole.trace[i].gradient_loss);
    EXPECT_EQ(resumed.trace[i].predicted_gain, whole.trace[i].predicted_gain);
  }
}

TEST_F(SearchStateFile, KeepsFusedOrders) {
  use_fused_orders();
  const SearchResult whole = run(nullptr, [&](const SearchState& state) {
    if (state.iteration == 3) save_search_state(path_, state, layers_, "print");
  });
  const std::optional<SearchState> state = load("print");
  ASSERT_TRUE(state) << why_;
  ASSERT_EQ(whole.fused.size(), 14U);
  EXPECT_EQ(state->fused, whole.fused);
  EXPECT_EQ(state->order, FoldedOrder{});
  const SearchResult resumed = run(&*state, {});
  EXPECT_EQ(resumed.widths, whole.widths);
  EXPECT_EQ(resumed.fused, whole.fused);
  EXPECT_EQ(resumed.heldout_loss, whole.heldout_loss);
}

TEST_F(SearchStateFile, WithOrdersThatAreNoneIsRefused) {
  use_fused_orders();
  (void)run(nullptr, [&](const SearchState& state) { save_search_state(path_, state, layers_, "print"); });
  const Json good = read_json(path_);
  const auto refusal = [&](const std::function<void(Json&)>& edit) {
    Json json = good;
    edit(json["fused"]);
    std::ofstream(path_, std::ios::trunc) << json.dump();
    return error_text<FormatError>([&] { (void)load("print"); });
  };
  EXPECT_THAT(refusal([](Json& j) { j.erase(0); }), HasSubstr("orders: got 13, expected 14"));
  EXPECT_THAT(refusal([](Json& j) { j[2]["rows"].push_back(48); }), HasSubstr("got 49 rows"));
  EXPECT_THAT(refusal([](Json& j) { j[0]["cols"][3] = 64; }), HasSubstr("q_proj.col_perm[3]: got 64"));
  EXPECT_THAT(refusal([](Json& j) { j[0]["rows"][3] = -1; }), HasSubstr("q_proj.row_perm[3]: got -1"));
  EXPECT_THAT(refusal([](Json& j) { j[0]["rows"][1] = j[0]["rows"][0]; }), HasSubstr("a second time"));
  EXPECT_THAT(refusal([](Json& j) { j[0].erase("cols"); }), HasSubstr("search state"));
}

TEST_F(SearchStateFile, IsNotUsedForOtherInputsOrWhenAbsent) {
  EXPECT_FALSE(load("print"));
  EXPECT_THAT(why_, HasSubstr("there is no"));
  (void)run(nullptr, [&](const SearchState& state) { save_search_state(path_, state, layers_, "print"); });
  EXPECT_TRUE(load("print"));
  EXPECT_FALSE(load("other"));
  EXPECT_THAT(why_, HasSubstr("another model"));
}

TEST_F(SearchStateFile, IsRefusedWhenMalformed) {
  for (const char* text :
       {"{", "{}", R"({"format":"scalebits-search-state","version":3})", R"({"format":"x","version":1})",
        R"({"format":"scalebits-search-state","version":3,"fingerprint":"print","iteration":"one"})"}) {
    std::ofstream(path_, std::ios::trunc) << text;
    EXPECT_THAT(error_text<FormatError>([&] { (void)load("print"); }), HasSubstr("search.json")) << text;
  }
}

}  // namespace
}  // namespace scalebits::test
