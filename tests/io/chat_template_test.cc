// SPDX-License-Identifier: Apache-2.0
/// Where chat templates come from, what is refused by name, and what hostile ones can do.
#include "scalebits/io/chat_template.h"

#include <gmock/gmock.h>

#include <fstream>

#include "scalebits/base/errors.h"
#include "scalebits/io/generation_config.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;
using testing::StartsWith;

const std::vector<ChatMessage> kMessages = {{"system", "Be brief."}, {"user", "Hello"}};

std::string render(const std::string& text) {
  return ChatTemplate(text, "file", Json::object()).apply(kMessages, true);
}

template <class E>
std::string refusal(const std::string& text) {
  return error_text<E>([&] { render(text); });
}

using Files = std::vector<std::pair<std::string, std::string>>;

void write(const test::TempDir& dir, const Files& files) {
  for (const auto& [name, text] : files) std::ofstream(dir / name) << text;
}

/// What the template of a model with these files gives.
std::string rendered(const Files& files) {
  const test::TempDir dir;
  write(dir, files);
  return ChatTemplate(dir.path()).apply(kMessages, true);
}

TEST(ChatTemplate, ComesFromTheFilesThatTransformersReads) {
  const std::string config = R"({"bos_token": {"content": "<b>"}, "eos_token": "<e>", "chat_template": )";
  const Files one = {{"tokenizer_config.json", config + R"("{{ bos_token }}1{{ eos_token }}"})"}};
  EXPECT_EQ(rendered(one), "<b>1<e>");
  const std::string list =
      R"([{"name": "tool_use", "template": "x"}, {"name": "default", "template": "2{{ bos_token }}"}]})";
  const Files named = {{"tokenizer_config.json", config + list}};
  EXPECT_EQ(rendered(named), "2<b>");
  const Files both = {{"tokenizer_config.json", config + R"("x"})"}, {"chat_template.jinja", "3{{ bos_token }}\n"}};
  EXPECT_EQ(rendered(both), "3<b>");
  const Files other = {{"chat_template.json", R"({"chat_template": "4{{ bos_token is defined }}"})"}};
  EXPECT_EQ(rendered(other), "4False");
  const Files map = {{"special_tokens_map.json", R"({"bos_token": "<m>"})"},
                     {"chat_template.jinja", "{{ bos_token }}"}};
  EXPECT_EQ(rendered(map), "<m>");
}

TEST(ChatTemplate, AModelWithoutOneIsRefusedWithAHint) {
  const auto error = [](const Files& files) { return error_text<FormatError>([&] { rendered(files); }); };
  EXPECT_THAT(error({}),
              testing::AllOf(HasSubstr("tokenizer_config.json] chat_template: missing"), HasSubstr("generate")));
  EXPECT_THAT(error({{"tokenizer_config.json", R"({"chat_template": []})"}}), HasSubstr("expected one named default"));
  EXPECT_THAT(error({{"tokenizer_config.json", R"({"chat_template": 7})"}}),
              HasSubstr("chat_template: got 7, expected a template or a list"));
}

TEST(ChatTemplate, ErrorsNameFileAndLine) {
  EXPECT_THAT(refusal<FormatError>("a\n\n{{ x y }}"), StartsWith("[file:3] syntax: got \"y\""));
  EXPECT_THAT(refusal<FormatError>("a\n{{ 1 + 'x' }}"), StartsWith("[file:2] +: got int and str"));
  EXPECT_THAT(refusal<FormatError>("{% if 1 %}\n\n"), StartsWith("[file:2] syntax: got the end of the template"));
  EXPECT_THAT(refusal<FormatError>("\n{{ 'x }}"), StartsWith("[file:2] string: got no end"));
  EXPECT_THAT(refusal<FormatError>("{% macro m() %}\n{{ 1 // 0 }}{% endmacro %}\n\n{{ m() }}"), StartsWith("[file:2]"));
  EXPECT_THAT(refusal<FormatError>("\xff"), HasSubstr("not part of UTF-8"));
  const Files files = {{"tokenizer_config.json", R"({"chat_template": "a\n{{ nothing.x }}"})"}};
  EXPECT_THAT(error_text<FormatError>([&] { rendered(files); }),
              HasSubstr("tokenizer_config.json: chat_template:2] undefined: \"nothing\" is undefined"));
}

TEST(ChatTemplate, ATemplateMayRefuseAConversation) {
  EXPECT_THAT(refusal<InvalidArgument>("{{ raise_exception('System role not supported') }}"),
              StartsWith("[file:1] the template refuses this: System role not supported"));
}

TEST(ChatTemplate, WhatWeDoNotHaveIsRefusedByName) {
  for (const char* statement :
       {"include 'x'", "import 'x' as y", "extends 'x'", "block x", "call m()", "with", "do x"}) {
    EXPECT_THAT(refusal<Unsupported>("{% " + std::string(statement) + " %}"), HasSubstr("[file:1] statement: got {% "));
  }
  EXPECT_THAT(refusal<Unsupported>("{{ 1 | urlize }}"), HasSubstr("filter: got \"urlize\""));
  EXPECT_THAT(refusal<Unsupported>("{{ 1 is escaped }}"), HasSubstr("test: got \"escaped\""));
  EXPECT_THAT(refusal<Unsupported>("{{ 'x'.format(1) }}"), HasSubstr("method: got \"format\""));
  EXPECT_THAT(refusal<Unsupported>("{{ messages.append(1) }}"), HasSubstr("method: got \"append\""));
  EXPECT_THAT(refusal<Unsupported>("{{ messages[0].items }}"),
              HasSubstr("method: got \"items\" of a dict without a call"));
  EXPECT_THAT(refusal<Unsupported>("{{ ''.__class__ }}"), HasSubstr("attribute: got __class__"));
  EXPECT_THAT(refusal<Unsupported>("{{ cycler }}"), HasSubstr("function: got cycler"));
  EXPECT_THAT(refusal<Unsupported>("{% for x in [] recursive %}{% endfor %}"), HasSubstr("recursive loop"));
  EXPECT_THAT(refusal<Unsupported>("{{ '%s' % 1 }}"), HasSubstr("%: got a string to format"));
  EXPECT_THAT(refusal<Unsupported>("{{ messages | map(attribute='role') }}"), HasSubstr("output: got a iterator"));
  EXPECT_THAT(refusal<Unsupported>("{{ 9223372036854775807 + 1 }}"), HasSubstr("64 bits"));
  EXPECT_THAT(refusal<Unsupported>("{{ {1: 2} }}"), HasSubstr("dict: got a key of the type int"));
}

/// Each ends soon, within the stack and in little memory.
TEST(ChatTemplate, HostileTemplatesEndInAnError) {
  const auto times = [](int n, const std::string& text) {
    std::string out;
    for (int i = 0; i < n; ++i) out += text;
    return out;
  };
  const std::string endless = "{% for i in range(90000) %}{% for j in range(90000) %}";
  const std::string ends = "{% endfor %}{% endfor %}";
  const std::string twice = "{% set n = namespace(x='abcdefgh') %}{% for i in range(99) %}{% set n.x = ";
  EXPECT_THAT(refusal<Unsupported>(endless + ends), HasSubstr("work: got more than"));
  EXPECT_THAT(refusal<Unsupported>(endless + "xxxxxxxxxxxxxxxx" + ends), HasSubstr("got more than"));
  EXPECT_THAT(refusal<Unsupported>(twice + "n.x ~ n.x %}{% endfor %}"), HasSubstr("work: got more than"));
  EXPECT_THAT(refusal<Unsupported>(twice + "[n.x, n.x] %}{% endfor %}"), HasSubstr("more than 64 levels"));
  EXPECT_THAT(refusal<Unsupported>(twice + "[n.x, n.x] if i < 50 else n.x %}{% endfor %}{{ n.x }}"), HasSubstr("work"));
  EXPECT_THAT(refusal<Unsupported>(
                  twice + "[n.x, n.x] if i < 50 else n.x %}{% endfor %}{{ n.x == [n.x, n.x] }}{{ n.x | tojson }}"),
              HasSubstr("work"));
  EXPECT_THAT(refusal<Unsupported>("{{ 'x' * 99999999999 }}"), HasSubstr("work"));
  EXPECT_THAT(refusal<Unsupported>("{{ [1] * 99999999999 }}"), HasSubstr("work"));
  EXPECT_THAT(refusal<Unsupported>("{{ ('x' * 100000).replace('', 'y' * 100000) }}"), HasSubstr("work"));
  EXPECT_THAT(refusal<Unsupported>("{% set a = 'a' * 2000000 %}{% set b = 'a' * 1000000 ~ 'b' %}{{ b in a }}"),
              HasSubstr("work"));
  EXPECT_THAT(refusal<Unsupported>("{% set a = 'a' * 2000000 %}{% set b = 'b' * 1000000 ~ 'a' %}{{ a.strip(b) }}"),
              HasSubstr("work"));
  std::string names;
  for (int i = 0; i < 20000; ++i) names += fmt::format("{{% set a{} = 1 %}}", i);
  EXPECT_THAT(refusal<Unsupported>(names), HasSubstr("work"));  // each is looked up among all
  EXPECT_THAT(refusal<Unsupported>("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
              HasSubstr("nesting: got more than"));
  EXPECT_THAT(refusal<Unsupported>("{{ " + times(5000, "(") + "1" + times(5000, ")") + " }}"), HasSubstr("nesting"));
  EXPECT_THAT(refusal<Unsupported>("{{ 1" + times(5000, "+1") + " }}"), HasSubstr("expression: got more than"));
  EXPECT_THAT(refusal<Unsupported>("{{ x" + times(5000, ".x") + " }}"), HasSubstr("expression: got more than"));
  EXPECT_THAT(refusal<Unsupported>(times(5000, "{% if 1 %}")), HasSubstr("nesting"));
  EXPECT_THAT(refusal<Unsupported>("{{ " + times(5000, "not ") + "1 }}"), HasSubstr("nesting"));
  EXPECT_THAT(refusal<FormatError>(std::string((1 << 20) + 1, 'x')), HasSubstr("size: got 1048577 bytes"));
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.n = n %}{% macro m() %}{% endmacro %}{% set n.m = m %}x"), "x");
  EXPECT_EQ(render("{% if 0 %}" + times(5000, "{% elif 0 %}") + "{% else %}x{% endif %}"), "x");
}

TEST(ChatTemplate, ContentIsNeverReadAsATemplate) {
  const std::vector<ChatMessage> messages = {{"user", "{{ 7 * 7 }}{% raw %}"}};
  EXPECT_EQ(ChatTemplate("{{ messages[0].content }}", "file", Json::object()).apply(messages, true),
            messages[0].content);
  const std::vector<ChatMessage> broken = {{"user", "a\xff"}};
  EXPECT_THAT(error_text<FormatError>(
                  [&] { static_cast<void>(ChatTemplate("x", "file", Json::object()).apply(broken, true)); }),
              HasSubstr("[message] byte 1: got 0xff"));
}

TEST(GenerationConfig, NamesOneOrSeveralEndTokens) {
  const auto ids = [](const std::string& text) {
    const test::TempDir dir;
    write(dir, {{"generation_config.json", text}});
    return read_generation_eos(dir.path());
  };
  EXPECT_EQ(read_generation_eos(test::TempDir().path()), std::vector<int64_t>());
  EXPECT_EQ(ids("{}"), std::vector<int64_t>());
  EXPECT_EQ(ids(R"({"eos_token_id": 7})"), std::vector<int64_t>({7}));
  EXPECT_EQ(ids(R"({"eos_token_id": [128001, 128008, 128009]})"), std::vector<int64_t>({128001, 128008, 128009}));
  EXPECT_THAT(error_text<FormatError>([&] { ids(R"({"eos_token_id": [-1]})"); }),
              HasSubstr("generation_config.json] eos_token_id[0]: got -1"));
  EXPECT_THAT(error_text<FormatError>([&] { ids("[]"); }), HasSubstr("expected an object"));
}

}  // namespace
}  // namespace scalebits
