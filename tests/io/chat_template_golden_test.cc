// SPDX-License-Identifier: Apache-2.0
/// Chat templates against transformers (tools/golden/chat_template_golden.py), byte for byte.
#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "scalebits/io/chat_template.h"
#include "scalebits/io/file.h"
#include "tests/data.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = test::source_dir() / "tests/io/golden";
const Json kTokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};

/// 2024-07-04 09:05:07, a Thursday, as the script's clock.
std::tm fixed_time() {
  std::tm now{};
  now.tm_year = 124;
  now.tm_mon = 6;
  now.tm_mday = 4;
  now.tm_hour = 9;
  now.tm_min = 5;
  now.tm_sec = 7;
  now.tm_wday = 4;
  now.tm_yday = 185;
  return now;
}

/// The text, or null for a refusal, which is of one of the three classes.
Json rendered(const std::string& text, const Json& messages, bool prompt, const Json& variables, std::string& why) {
  try {
    return ChatTemplate(text, "golden", kTokens).apply(messages, prompt, variables, fixed_time());
  } catch (const FormatError& error) {
    why = error.what();
  } catch (const Unsupported& error) {
    why = error.what();
  } catch (const InvalidArgument& error) {
    why = error.what();
  }
  return nullptr;
}

void check(const std::string& text, const Json& cases, const std::string& name) {
  ASSERT_GE(cases.size(), 20U) << name;
  size_t rendered_cases = 0;
  for (const Json& row : cases) {
    std::string why;
    EXPECT_EQ(rendered(text, row[0], row[1].get<bool>(), row[2], why), row[3]) << name << ": " << row << "\n" << why;
    rendered_cases += row[3].is_string() ? 1 : 0;
  }
  EXPECT_GE(rendered_cases, 5U) << name;
}

TEST(ChatTemplateGolden, EveryFamilysTemplateRendersAsInTransformers) {
  const Json golden = read_json(kGolden / "chat_templates.json");
  size_t templates = 0;
  for (const auto& entry : fs::directory_iterator(kGolden / "chat_templates")) {
    if (entry.path().extension() != ".jinja") continue;
    const std::string name = entry.path().filename().string();
    check(read_text_file(entry.path()), golden.at(name), name);
    ++templates;
  }
  EXPECT_GE(templates, 10U);
}

TEST(ChatTemplateGolden, EveryConstructBehavesAsInJinja) {
  const Json golden = read_json(kGolden / "chat_templates.json");
  const Json rows = golden["expressions"], messages = golden["chatml.jinja"][4][0];
  const Json tools = golden["qwen3.jinja"][28][2]["tools"];
  ASSERT_GE(rows.size(), 150U);
  ASSERT_EQ(messages.size(), 4U);
  for (const Json& row : rows) {
    std::string why;
    EXPECT_EQ(rendered(row[0].get<std::string>(), messages, true, {{"tools", tools}}, why), row[1]) << row[0] << "\n"
                                                                                                    << why;
  }
}

TEST(ChatTemplateGolden, TheRealTemplateOfQwen25RendersAsInTransformers) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const Json config = read_json(test::shared_data() / "tokenizers/qwen2.5/tokenizer_config.json");
  check(config["chat_template"].get<std::string>(), read_json(kGolden / "chat_templates.json")["shared"], "Qwen2.5");
}

}  // namespace
}  // namespace scalebits
