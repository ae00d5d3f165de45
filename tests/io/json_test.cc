// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/json.h"

#include "scalebits/base/errors.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

std::string refusal(const std::string& text) {
  return error_text<FormatError>([&] { parse_json(text, "some.json"); });
}

TEST(Json, KeepsEveryKindOfValueAndTheOrderOfKeys) {
  const Json json = parse_json(R"({"z": [1, -2, 2.5, "x\u00e9", true, null, [], {}], "a": {"b": {"c": 3}}})", "w");
  EXPECT_EQ(json.begin().key(), "z");
  EXPECT_TRUE(json["z"][0].is_number_unsigned());
  EXPECT_EQ(json["z"][1].get<int>(), -2);
  EXPECT_EQ(json["z"][2].get<double>(), 2.5);
  EXPECT_EQ(json["z"][3].get<std::string>(), "x\xc3\xa9");
  EXPECT_TRUE(json["z"][4].get<bool>());
  EXPECT_TRUE(json["z"][5].is_null());
  EXPECT_TRUE(json["z"][6].is_array() && json["z"][6].empty());
  EXPECT_TRUE(json["z"][7].is_object() && json["z"][7].empty());
  EXPECT_EQ(json["a"]["b"]["c"].get<int>(), 3);
  EXPECT_EQ(parse_json("17", "w").get<int>(), 17);
}

TEST(Json, IntegersAreReadWholeOrRefused) {
  EXPECT_EQ(to_integer<int>(Json(-2147483648LL), "n", "w"), -2147483648LL);
  EXPECT_EQ(to_integer<int64_t>(parse_json("9223372036854775807", "w"), "n", "w"), INT64_MAX);
  EXPECT_EQ(to_integer<uint64_t>(parse_json("18446744073709551615", "w"), "n", "w"), UINT64_MAX);
  EXPECT_EQ(to_integers<int32_t>(Json({3, -1}), "n", "w"), (std::vector<int32_t>{3, -1}));
  EXPECT_EQ(integer_at<int>(Json({{"a", 7}}), "a", "w"), 7);
  // Each is another integer to the library: 4, 0, 2, 1, -1.
  for (const char* text : {"4294967300", "9223372036854775808", "2.0", "true", "18446744073709551615", "-2147483649"}) {
    const Json json = parse_json(text, "w");
    EXPECT_THAT(error_text<FormatError>([&] { to_integer<int>(json, "n", "some.json"); }),
                HasSubstr("[some.json] n: got " + json.dump() + ", expected an integer in -2147483648..2147483647"));
  }
  EXPECT_THAT(error_text<FormatError>([&] { to_integer<uint64_t>(Json(-1), "n", "w"); }),
              HasSubstr("got -1, expected"));
  EXPECT_THROW(to_integer<int64_t>(Json(UINT64_MAX), "n", "w"), FormatError);
  EXPECT_THROW(to_integers<int32_t>(Json({1, 2.5}), "n", "w"), FormatError);
}

TEST(Json, ValuesInMessagesAreShort) {
  EXPECT_EQ(short_text(Json("a\n")), "\"a\\n\"");
  EXPECT_LT(short_text(Json(std::string(5000, 'x'))).size(), 100U);
  EXPECT_EQ(short_text(Json(Json::array_t(5000))), "an array");
  EXPECT_EQ(short_text(Json(2.5)), "2.5");
}

TEST(Json, RefusesDuplicateKeysAtAnyDepth) {
  EXPECT_THAT(refusal(R"({"a": 1, "b": 2, "a": 1})"), HasSubstr("[some.json] JSON key \"a\": got it twice"));
  EXPECT_THAT(refusal(R"([{"x": {"k": 1, "\u006b": 2}}])"), HasSubstr("\"k\": got it twice"));
  EXPECT_NO_THROW(parse_json(R"([{"a": 1}, {"a": 1, "b": {"a": 2}}])", "w"));
}

TEST(Json, RefusesNestingDeeperThan64) {
  EXPECT_NO_THROW(parse_json(std::string(64, '[') + std::string(64, ']'), "w"));
  EXPECT_THAT(refusal(std::string(65, '[') + std::string(65, ']')), HasSubstr("more than 64 levels"));
  EXPECT_THAT(refusal(std::string(1'000'000, '[')), HasSubstr("more than 64 levels"));
}

TEST(Json, RefusesMalformedTextWithItsPlace) {
  EXPECT_THAT(refusal("{\"a\": }"), HasSubstr("[some.json] not well-formed JSON at byte 7"));
  EXPECT_THAT(refusal(""), HasSubstr("not well-formed JSON"));
  EXPECT_THAT(refusal("{} x"), HasSubstr("not well-formed JSON"));
  EXPECT_THAT(refusal("\"\\ud800\""), HasSubstr("surrogate"));
  EXPECT_THAT(refusal("\"\xff\""), HasSubstr("not well-formed JSON"));
  EXPECT_THAT(refusal("1e999"), HasSubstr("not well-formed JSON"));
}

TEST(Json, MessagesStayShortAndPrintable) {
  const std::string message = refusal("\"" + std::string(100'000, 'x') + "\x01");
  EXPECT_LT(message.size(), 500U);
  for (const char c : message) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << static_cast<int>(c);
}

TEST(Json, ParsesALargeObjectInLinearTime) {
  // Quadratic insertion would take 2 * 10^10 string comparisons: minutes, and the test's time limit.
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("\"key{}\":{},", i, i);
  text.back() = '}';
  EXPECT_EQ(parse_json(text, "w").size(), 200'000U);
}

TEST(Json, ReadsAFileUpToItsCap) {
  EXPECT_EQ(read_json(test::demo_model() / "config.json")["hidden_size"].get<int>(), 256);
  const auto capped = [] { read_json(test::demo_model() / "config.json", 100); };
  EXPECT_THAT(error_text<FormatError>(capped), HasSubstr("got 674 bytes, expected at most 100"));
  EXPECT_THAT(error_text<IoError>([] { read_json("/nowhere/x.json"); }),
              HasSubstr("[/nowhere/x.json] cannot open: No such"));
}

}  // namespace
}  // namespace scalebits
