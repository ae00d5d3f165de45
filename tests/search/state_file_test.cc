// SPDX-License-Identifier: Apache-2.0
// A search interrupted and gone on from its file ends as if it had not been.
#include "scalebits/search/state_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "scalebits/base/errors.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::HasSubstr;

class SearchStateFile : public ::testing::Test {
 protected:
  [[nodiscard]] SearchResult run(const SearchState* resume, const std::function<void(const SearchState&)>& save) const {
    const SearchOptions options{.max_iterations = 6, .slice = 3};
    return search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib_, budget_from_bpw(layers_, 4.5),
                       options, silent_log(), resume, save);
  }
  [[nodiscard]] std::optional<SearchState> load(const std::string& fingerprint) {
    return load_search_state(path_, layers_, fingerprint, why_);
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny_gqa());
  const ModelConfig config_ = read_hf_config(tiny_gqa());
  const QuantizedLayers layers_ = find_quantized_layers(config_, kSmallBlocks);
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
       {"{", "{}", R"({"format":"scalebits-search-state","version":2})", R"({"format":"x","version":1})",
        R"({"format":"scalebits-search-state","version":2,"fingerprint":"print","iteration":"one"})"}) {
    std::ofstream(path_, std::ios::trunc) << text;
    EXPECT_THAT(error_text<FormatError>([&] { (void)load("print"); }), HasSubstr("search.json")) << text;
  }
}

}  // namespace
}  // namespace scalebits::test
