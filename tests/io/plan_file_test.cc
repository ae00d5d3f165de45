// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/plan_file.h"

#include <gmock/gmock.h>

#include <functional>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

using testing::HasSubstr;

Plan small_plan() {
  Plan plan;
  plan.spec = {16, 4, 4};
  plan.model_fingerprint = "f";
  plan.calib_hash = "c";
  plan.seed = 18446744073709551615ULL;
  plan.vocab = {5, 6};
  plan.order.residual = {2, 0, 1};
  plan.order.layers.push_back({.mlp = {1, 0},
                               .experts = {{1, 0}, {0, 1}},
                               .value = {{0, 1}, {1, 0}},
                               .kv_heads = {1, 0},
                               .query_heads = {{0}, {0}}});
  plan.linears.push_back({"a", BlockGrid(20, 6, plan.spec), {1, 8, 3, 4}, {}, {}});
  return plan;
}

TEST(PlanFile, ReadsBackWhatItWrote) {
  const Plan plan = small_plan();
  const Plan again = parse_plan(plan_to_json(plan, {{"trace", {1, 2}}}), "plan");
  EXPECT_EQ(again.linears, plan.linears);
  EXPECT_EQ(again.order, plan.order);
  EXPECT_EQ(again.vocab, plan.vocab);
  EXPECT_EQ(again.spec, plan.spec);
  EXPECT_EQ(again.seed, plan.seed);
  EXPECT_EQ(again.quantizer, plan.quantizer);
}

TEST(PlanFile, AnOlderPlanLeftEmbeddingAndHeadDense) {
  Json json = Json::parse(plan_to_json(small_plan()));
  EXPECT_EQ(json["embed_bits"], 5);
  EXPECT_EQ(json["head_bits"], 6);
  json.erase("embed_bits");
  json.erase("head_bits");
  EXPECT_EQ(parse_plan(json.dump(), "plan").vocab, (VocabBits{kDenseBits, kDenseBits}));
}

TEST(PlanFile, KeepsOrdersOfTheirOwnAndSharedOnesOnce) {
  Plan plan = small_plan();
  plan.reorder = "both";
  plan.reorder_mode = "fused";
  plan.tie = "fused";
  plan.linears[0].row_perm = identity_permutation(20);
  plan.linears[0].col_perm = {5, 3, 1, 0, 2, 4};
  plan.linears.push_back(plan.linears[0]);
  plan.linears[1].name = "b";
  plan.linears[1].row_perm.clear();
  plan.linears[1].shares_cols = true;
  const std::string text = plan_to_json(plan);
  const Plan again = parse_plan(text, "plan");
  EXPECT_EQ(again.linears, plan.linears);
  EXPECT_EQ(again.reorder_mode, "fused");
  EXPECT_EQ(again.tie, "fused");
  EXPECT_EQ(Json::parse(text)["linears"][1].count("col_perm"), 0U);
  const auto refusal = [&](const std::function<void(Json&)>& edit) -> std::string {
    Json json = Json::parse(text);
    edit(json);
    try {
      (void)parse_plan(json.dump(), "p.json");
    } catch (const FormatError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal([](Json& j) { j["linears"].erase(0); }), HasSubstr("shares_cols in the first layer"));
  EXPECT_THAT(refusal([](Json& j) { j["linears"][1]["col_perm"] = {0}; }), HasSubstr("beside a col_perm"));
  EXPECT_THAT(refusal([](Json& j) { j["linears"][0].erase("col_perm"); }), HasSubstr("shared col_perm"));
  EXPECT_THAT(refusal([](Json& j) { j["linears"][0]["col_perm"][0] = 6; }), HasSubstr("col_perm[0]: got 6"));
  EXPECT_THAT(refusal([](Json& j) { j["linears"][0]["row_perm"][1] = 0; }), HasSubstr("row_perm[1]: got 0 a second"));
  EXPECT_THAT(refusal([](Json& j) { j["reorder_mode"] = "folded"; }), HasSubstr("reorder mode folded"));
  EXPECT_THAT(refusal([](Json& j) { j.erase("tie"); }), HasSubstr("tie"));
}

TEST(PlanFile, WidthsAreOneStringOfDigitsPerRowOfBlocks) {
  const Json json = Json::parse(plan_to_json(small_plan()));
  EXPECT_EQ(json["linears"][0]["bits"], Json({"18", "34"}));
}

/// The plan's JSON after `edit`, read again: the error's text.
template <class Edit>
std::string error_of(Edit edit) {
  Json json = Json::parse(plan_to_json(small_plan()));
  edit(json);
  try {
    (void)parse_plan(json.dump(), "p.json");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "accepted";
}

/// 2^32 + n is n where an integer is cut off.
TEST(PlanFile, IntegersAreNotCutOff) {
  constexpr int64_t kWrap = int64_t{1} << 32;
  EXPECT_THAT(error_of([&](Json& j) { j["group_size"] = kWrap + 4; }), HasSubstr("group_size: got 4294967300"));
  EXPECT_THAT(error_of([&](Json& j) { j["block"] = {kWrap + 16, 4}; }), HasSubstr("block: got 4294967312"));
  EXPECT_THAT(error_of([](Json& j) { j["block"] = {16, 4, 4}; }), HasSubstr("block: got 3 numbers"));
  EXPECT_THAT(error_of([](Json& j) { j["seed"] = -1; }), HasSubstr("seed: got -1"));
  EXPECT_THAT(error_of([](Json& j) { j["linears"][0]["in_features"] = 6.5; }), HasSubstr("a] in_features: got 6.5"));
  EXPECT_THAT(error_of([&](Json& j) {
                j["order"]["residual"] = {2, kWrap, 1};
              }),
              HasSubstr("residual: got 4294967296"));
  EXPECT_THAT(error_of([](Json& j) {
                j["order"]["layers"][0]["value"][0] = {0, kWrap + 1};
              }),
              HasSubstr("value: got 4294967297"));
}

TEST(PlanFile, SumsOverAPlanCannotOverflow) {
  const auto large = [](int count) {
    return error_of([&](Json& j) {
      j["block"] = {2147483632, 16384};
      j["group_size"] = 16384;
      j["order"] = {{"residual", Json::array()}, {"layers", Json::array()}};
      const Json layer = {{"out_features", 1 << 24}, {"in_features", 1 << 23}, {"bits", {std::string(512, '8')}}};
      j["linears"] = Json::array();
      for (int i = 0; i < count; ++i) {
        j["linears"].push_back(layer);
        j["linears"].back()["name"] = std::to_string(i);
      }
    });
  };
  EXPECT_EQ(large(2), "accepted");
  EXPECT_THAT(large(3), HasSubstr("expected at most 281474976710656 weights in all"));
}

TEST(PlanFile, MessagesStayShortWhateverTheFileSays) {
  const std::string longest(5000, 'x');
  for (const char* key : {"quantizer", "reorder_mode", "tie", "model_fingerprint"}) {
    const std::string error = error_of([&](Json& j) { j[key] = longest; });
    EXPECT_THAT(error, HasSubstr("5000 bytes"));
    EXPECT_LT(error.size(), 300U);
  }
  EXPECT_THAT(error_of([&](Json& j) { j["linears"][0]["name"] = longest; }), HasSubstr("5000 bytes"));
  EXPECT_THAT(error_of([&](Json& j) { j["method"] = "a\nb"; }), HasSubstr("a\\nb"));
  EXPECT_LT(error_of([&](Json& j) {
              j["linears"][0]["in_features"] = 20000;
              j["linears"][0]["bits"] = {longest, longest};
            }).size(),
            300U);
}

TEST(PlanFile, RefusesWhatIsNoPlan) {
  EXPECT_THAT(error_of([](Json& j) { j["format"] = "other"; }), HasSubstr("Is this a plan file?"));
  EXPECT_THAT(error_of([](Json& j) { j.erase("linears"); }), HasSubstr("linears"));
  EXPECT_THAT(error_of([](Json& j) { j["linears"][0]["bits"][0] = "1"; }), HasSubstr("row of 1 digits, expected 2"));
  EXPECT_THAT(error_of([](Json& j) { j["linears"][0]["bits"][0] = "19"; }), HasSubstr("expected digits 1 to 8"));
  EXPECT_THAT(error_of([](Json& j) { j["linears"][0]["bits"].push_back("11"); }),
              HasSubstr("3 rows of blocks, expected 2"));
  EXPECT_THAT(error_of([](Json& j) { j["linears"][0]["out_features"] = -1; }), HasSubstr("p.json"));
  EXPECT_THAT(error_of([](Json& j) { j["block"] = {17, 4}; }), HasSubstr("p.json"));
  EXPECT_THAT(error_of([](Json& j) { j["order"]["residual"] = {0, 0, 1}; }), HasSubstr("second time"));
  EXPECT_THAT(error_of([](Json& j) {
                j["order"]["layers"][0]["mlp"] = {0, 2};
              }),
              HasSubstr("expected an index in 0..1"));
  EXPECT_THAT(error_of([](Json& j) { j["seed"] = "x"; }), HasSubstr("p.json"));
  // 2^32 + 6 is 6 where an integer is cut off.
  for (const Json& bad :
       {Json(1), Json(9), Json(15), Json(-6), Json(6.5), Json("6"), Json(4294967302), Json(nullptr)}) {
    EXPECT_THAT(error_of([&](Json& j) { j["head_bits"] = bad; }),
                HasSubstr("[p.json] head_bits: got " + bad.dump() + ", expected 2..8 or 16"));
    EXPECT_THAT(error_of([&](Json& j) { j["embed_bits"] = bad; }), HasSubstr("embed_bits"));
  }
}

}  // namespace
}  // namespace scalebits
