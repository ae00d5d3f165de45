// SPDX-License-Identifier: Apache-2.0
// Which linear layers are quantized, and at which given widths.
#include "scalebits/calibrate/quantized_layers.h"

#include <gtest/gtest.h>

#include <map>

#include "scalebits/base/errors.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

QuantizedLayers tiny_layers(const std::vector<std::string>& rules, const std::vector<std::string>& ignore = {}) {
  std::vector<TypeRule> parsed;
  for (const std::string& rule : rules) parsed.push_back(parse_type_rule(rule));
  return find_quantized_layers(read_hf_config(tiny_gqa()), kSmallBlocks, ignore, parsed);
}

std::map<std::string, int> fixed_bits(const QuantizedLayers& layers) {
  std::map<std::string, int> fixed;
  for (const auto& item : layers.items) fixed[item.name] = item.fixed_bits;
  return fixed;
}

std::vector<std::string> sharing(const QuantizedLayers& layers) {
  std::vector<std::string> names;
  for (const auto& item : layers.items) {
    if (item.shares_cols) names.push_back(fmt::format("{}.{}", item.layer, proj_name(item.slot.proj())));
  }
  return names;
}

TEST(ReserveOrders, TiesTheColumnsOfLayersThatReadTheSameActivations) {
  QuantizedLayers layers = tiny_layers({});
  reserve_orders(layers, true, true, true);
  EXPECT_EQ(sharing(layers),
            (std::vector<std::string>{"0.k_proj", "0.v_proj", "0.up_proj", "1.k_proj", "1.v_proj", "1.up_proj"}));
  // q: 96 rows and 64 columns, k: 48 rows and the columns of q. Two bytes each.
  EXPECT_EQ(layers.items[0].order_bytes(), 2 * (96 + 64));
  EXPECT_EQ(layers.items[1].order_bytes(), 2 * 48);
  EXPECT_EQ(layers.items[1].order.cols, identity_permutation(64));
  // The first that is quantized has it.
  layers = tiny_layers({}, {"0.*q_proj", "1.*gate_proj", "0.*v_proj"});
  reserve_orders(layers, false, true, true);
  EXPECT_EQ(sharing(layers), (std::vector<std::string>{"0.up_proj", "1.k_proj", "1.v_proj"}));
  EXPECT_EQ(layers.items[0].order_bytes(), 2 * 64);
}

TEST(ReserveOrders, GivesEachWhatIsAskedForAndNothingElse) {
  QuantizedLayers layers = tiny_layers({});
  EXPECT_EQ(layers.items[0].order_bytes(), 0);
  reserve_orders(layers, true, false, true);
  EXPECT_TRUE(sharing(layers).empty());
  EXPECT_EQ(layers.items[0].order.rows, identity_permutation(96));
  EXPECT_EQ(layers.items[0].order_bytes(), 2 * 96);
  layers = tiny_layers({});
  reserve_orders(layers, true, true, false);
  EXPECT_TRUE(sharing(layers).empty());
  EXPECT_EQ(layers.items[1].order_bytes(), 2 * (48 + 64));
}

TEST(TypeRule, ReadsEveryWidthAndBothWordsForDense) {
  for (int bits = 1; bits <= 8; ++bits) {
    const TypeRule rule = parse_type_rule("a.b$=" + std::to_string(bits));
    EXPECT_EQ(rule.pattern, "a.b$");
    EXPECT_EQ(rule.bits, bits);
  }
  EXPECT_EQ(parse_type_rule("x=16").bits, 0);
  EXPECT_EQ(parse_type_rule("x=none").bits, 0);
  EXPECT_EQ(parse_type_rule("(?=down)=3").pattern, "(?=down)");
}

TEST(TypeRule, RefusesWhatIsNoWidth) {
  for (const char* bad : {"", "down_proj", "=4", "down_proj=", "down_proj=0", "down_proj=9", "down_proj=12",
                          "down_proj=-1", "down_proj=4 ", "down_proj=q4_k", "down_proj=None"}) {
    EXPECT_THAT(error_text<InvalidArgument>([&] { parse_type_rule(bad); }),
                AllOf(HasSubstr("[--tensor-type]"), HasSubstr("got \"" + std::string(bad) + "\""),
                      HasSubstr("expected REGEX=BITS")));
  }
}

TEST(FixedWidths, AreThoseOfTheLastRuleThatMatches) {
  const auto fixed = fixed_bits(tiny_layers({"down_proj=4", R"(layers\.1\.=3)", "o_proj$=6"}));
  ASSERT_EQ(fixed.size(), 14U);
  EXPECT_EQ(fixed.at("model.layers.0.mlp.down_proj"), 4);
  EXPECT_EQ(fixed.at("model.layers.1.mlp.down_proj"), 3);
  EXPECT_EQ(fixed.at("model.layers.1.self_attn.q_proj"), 3);
  EXPECT_EQ(fixed.at("model.layers.1.self_attn.o_proj"), 6);
  EXPECT_EQ(fixed.at("model.layers.0.self_attn.o_proj"), 6);
  EXPECT_EQ(fixed.at("model.layers.0.self_attn.q_proj"), 0);
}

TEST(FixedWidths, MayBeNoneAtAll) {
  // The last rule takes back the first for one layer.
  const auto fixed = fixed_bits(tiny_layers({"down_proj=none", R"(0\.mlp\.down_proj=5)"}));
  EXPECT_EQ(fixed.size(), 13U);
  EXPECT_EQ(fixed.at("model.layers.0.mlp.down_proj"), 5);
  EXPECT_FALSE(fixed.contains("model.layers.1.mlp.down_proj"));
}

TEST(FixedWidths, GiveWayToIgnore) {
  const auto fixed = fixed_bits(tiny_layers({"down_proj=5"}, {R"(layers\.0\.)"}));
  EXPECT_EQ(fixed.size(), 7U);
  EXPECT_EQ(fixed.at("model.layers.1.mlp.down_proj"), 5);
}

TEST(FixedWidths, RefuseARuleThatMatchesNothingOrLeavesNothing) {
  EXPECT_THAT(error_text<InvalidArgument>([] {
                tiny_layers({"down_proj=5", "dwon_proj=4"});
              }),
              AllOf(HasSubstr("\"dwon_proj\""), HasSubstr("expected at least one")));
  EXPECT_THAT(error_text<InvalidArgument>([] { tiny_layers({"(=5"}); }),
              AllOf(HasSubstr("[--tensor-type]"), HasSubstr("regular expression \"(\"")));
  EXPECT_THAT(error_text<InvalidArgument>([] { tiny_layers({"model=16"}); }), HasSubstr("every linear layer"));
}

}  // namespace
}  // namespace scalebits::test
