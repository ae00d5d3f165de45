// SPDX-License-Identifier: Apache-2.0
// A frontier read back is the one that was written, and one that does not add up is refused.
#include "scalebits/search/frontier_file.h"

#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/plan_file.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Two matrices of two blocks each, the second fixed, at 2, 3 and 4 bits.
Frontier small_frontier() {
  Frontier frontier;
  frontier.plan.spec = {16, 32, 32};
  frontier.plan.order.residual = {1, 0};
  for (const char* name : {"free", "given"}) {
    frontier.plan.linears.push_back({name, BlockGrid(16, 64, frontier.plan.spec), {2, 2}, {}, {}});
  }
  frontier.fixed = {false, true};
  for (const uint8_t bits : {2, 3, 4}) {
    Plan plan = frontier.plan;
    plan.linears[0].bits = {bits, bits};
    FrontierPoint point;
    point.bytes = plan.bytes();
    point.budget_bytes = point.bytes + 7;
    point.widths = {{bits, bits}, {2, 2}};
    if (bits > 2) point.rank = {{8, 4}, {1, 1}};
    point.heldout_loss = 0.5 / bits;
    point.heldout_kl = 0.4 / bits;
    point.certificate = {0.1, 0.2};
    point.trace.push_back({.iteration = bits, .heldout_after = 0.5, .seconds = 3.5});
    frontier.points.push_back(point);
  }
  return frontier;
}

TEST(FrontierFile, ReadsBackWhatWasWritten) {
  const Frontier written = small_frontier();
  const std::string text = frontier_to_json(written, {{"calibration", "some.txt"}});
  const Frontier read = parse_frontier(text, "f");
  EXPECT_EQ(plan_to_json(read.plan), plan_to_json(written.plan));
  EXPECT_EQ(read.fixed, written.fixed);
  ASSERT_EQ(read.points.size(), 3U);
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(read.points[k].budget_bytes, written.points[k].budget_bytes);
    EXPECT_EQ(read.points[k].bytes, written.points[k].bytes);
    EXPECT_EQ(read.points[k].widths, written.points[k].widths);
    EXPECT_EQ(read.points[k].rank, written.points[k].rank);
    EXPECT_EQ(read.points[k].heldout_loss, written.points[k].heldout_loss);
    EXPECT_EQ(read.points[k].heldout_kl, written.points[k].heldout_kl);
    EXPECT_EQ(read.points[k].certificate.bound, 0.2);
  }
  EXPECT_THAT(text, AllOf(HasSubstr("\"calibration\":\"some.txt\""), testing::Not(HasSubstr("seconds"))));
}

TEST(FrontierFile, IsFoundInItsDirectoryAndToldFromAPlan) {
  const TempDir dir;
  write_text_file(dir / "frontier.json", frontier_to_json(small_frontier()));
  write_text_file(dir / "plan.json", plan_to_json(small_frontier().plan));
  EXPECT_EQ(plan_path(dir.path()), dir / "frontier.json");
  EXPECT_EQ(plan_path(dir / "plan.json"), dir / "plan.json");
  const TempDir packed, empty;
  write_text_file(packed / "plan.json", plan_to_json(small_frontier().plan));
  EXPECT_EQ(plan_path(packed.path()), packed / "plan.json");
  EXPECT_THAT(error_text<InvalidArgument>([&] { (void)plan_path(empty.path()); }),
              HasSubstr("a directory without a plan"));
  EXPECT_TRUE(is_frontier(dir / "frontier.json"));
  EXPECT_FALSE(is_frontier(dir / "plan.json"));
  EXPECT_EQ(read_frontier(dir / "frontier.json").points.size(), 3U);
}

TEST(FrontierFile, IsRefusedWhereItDoesNotAddUp) {
  const std::string text = frontier_to_json(small_frontier());
  const auto refusal = [&](const std::function<void(Json&)>& edit) {
    Json json = Json::parse(text);
    edit(json);
    return error_text<FormatError>([&] { (void)parse_frontier(json.dump(), "frontier.json"); });
  };
  const auto in_point = [](const char* what) { return AllOf(HasSubstr("frontier.json: points[1]"), HasSubstr(what)); };
  EXPECT_THAT(refusal([](Json& j) { j["format"] = "scalebits-plan"; }), HasSubstr("Is this a frontier?"));
  EXPECT_THAT(refusal([](Json& j) { j["version"] = 2; }), HasSubstr("Is this a frontier?"));
  EXPECT_THAT(refusal([](Json& j) { j["points"] = Json::array(); }), HasSubstr("points: got none"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1]["bytes"] = 5; }), in_point("but the widths take"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1]["budget_bytes"] = 5; }), in_point("but the widths take"));
  EXPECT_THAT(refusal([](Json& j) { std::swap(j["points"][1], j["points"][2]); }), HasSubstr("expected rising"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1] = j["points"][2]; }), HasSubstr("expected rising"));
  EXPECT_THAT(refusal([](Json& j) { j["points"].erase(0); }), HasSubstr("others than the plan's"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1].erase("rank"); }), in_point("rank: missing"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1]["rank"][0][0] = "98"; }), in_point("expected digits 1 to 8"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1]["widths"][0][0] = "09"; }), in_point("expected digits 1 to 8"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1]["widths"][0][0] = "333"; }), in_point("a row of 3 digits"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1]["widths"].erase(1); }), in_point("got 1 matrices, expected 2"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1]["widths"][1][0] = "33"; }), in_point("it is fixed"));
  EXPECT_THAT(refusal([](Json& j) { j["points"][1]["heldout_loss"] = nullptr; }), HasSubstr("frontier.json"));
  EXPECT_THAT(refusal([](Json& j) { j["fixed"][0] = "other"; }), HasSubstr("expected a layer of the plan"));
  const std::string endless = refusal([](Json& j) { j["fixed"][0] = std::string(100'000, 'x'); });
  EXPECT_LT(endless.size(), 300U);
  EXPECT_THAT(endless, HasSubstr("expected a layer of the plan"));
  EXPECT_THAT(refusal([](Json& j) { j["plan"]["linears"][0]["bits"][0] = "2"; }), HasSubstr("frontier.json"));
  EXPECT_THAT(refusal([](Json& j) { j["plan"]["linears"][0]["out_features"] = -1; }), HasSubstr("frontier.json"));
  for (const char* key : {"format", "plan", "fixed", "points"}) {
    EXPECT_THAT(refusal([&](Json& j) { j.erase(key); }), HasSubstr("frontier.json")) << key;
  }
  for (const char* bad : {"", "{", "[]", "7", "{\"format\":\"scalebits-frontier\",\"version\":1}"}) {
    EXPECT_THAT(error_text<FormatError>([&] { (void)parse_frontier(bad, "frontier.json"); }),
                HasSubstr("frontier.json"));
  }
}

}  // namespace
}  // namespace scalebits::test
