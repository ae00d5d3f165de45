// SPDX-License-Identifier: Apache-2.0
// Expected prompts are written by hand after the harness's templates; tasks_golden_test.cc compares with the harness.
#include "scalebits/eval/task_items.h"

#include "scalebits/base/errors.h"
#include "scalebits/eval/python_text.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::ElementsAre;
using testing::HasSubstr;

TaskItem item(ItemFormat format, const char* json) { return json_item(format, parse_json(json, "f"), "f:1"); }

std::string refusal(ItemFormat format, const char* json) {
  return error_text<FormatError>([&] { (void)item(format, json); });
}

TEST(PythonText, IsWhatPythonDoes) {
  EXPECT_EQ(python_rstrip("a\u00a0\u3000"), "a");
  EXPECT_EQ(python_strip("\x1f x \u2003"), "x");
  EXPECT_EQ(python_strip(" \n"), "");
  EXPECT_EQ(python_capitalize("the \u00c9MILE"), "The \u00e9mile");
  EXPECT_EQ(python_capitalize(""), "");
  EXPECT_EQ(python_length("a\u00e9\u3000"), 3);
  EXPECT_EQ(replace_all("aaaa b", "aa", "a"), "aa b");
}

TEST(TaskItems, StoredWordingBecomesTheHarnesss) {
  const TaskItem piqa = item(ItemFormat::kPiqa, R"({"query":"Question: How?\n","choices":["By a","By b"],"gold":1})");
  EXPECT_EQ(piqa.question, "Question: How?\nAnswer:");
  EXPECT_THAT(piqa.choices, ElementsAre("By a", "By b"));
  EXPECT_EQ(piqa.gold, 1);
  EXPECT_EQ(item(ItemFormat::kArc, R"({"query":"Question: Why?","choices":["a","b"],"gold":0})").question,
            "Question: Why?\nAnswer:");
  EXPECT_EQ(item(ItemFormat::kBoolq, R"({"query":"Passage: It is.\nQuestion: is it?","choices":["no","yes"],"gold":0})")
                .question,
            "It is.\nQuestion: is it?\nAnswer:");
  const TaskItem lambada = item(ItemFormat::kLambada, R"({"context":"I saw the","continuation":"sun"})");
  EXPECT_EQ(lambada.question, "I saw the");
  EXPECT_EQ(lambada.target, "sun");
  const TaskItem gsm8k = item(ItemFormat::kGsm8k, R"({"question":"2 + 2?","answer":"It is 4.\n#### 4"})");
  EXPECT_EQ(gsm8k.question, "Question: 2 + 2?\nAnswer:");
  EXPECT_EQ(gsm8k.target, "It is 4.\n#### 4");
}

TEST(TaskItems, HellaswagIsCleanedAsTheHarnessDoes) {
  EXPECT_EQ(hellaswag_text("  How to [title] Do it. [step] Then  go   on [substeps] now. "),
            "How to. Do it. Then go  on now.");
  EXPECT_EQ(hellaswag_text("a [b\nc] d]"), "a [b\nc] d]") << "the pattern's dot stops at a line end";
  EXPECT_EQ(hellaswag_text("x [ y"), "x [ y");
  EXPECT_EQ(hellaswag_text("[header] A [title] B"), " A. B");
  const TaskItem h = item(ItemFormat::kHellaswag, R"({"activity_label":"Sport","ctx_a":"He runs.","ctx_b":"then HE",
    "endings":["sits [x] down","runs"],"label":"1"})");
  EXPECT_EQ(h.question, "Sport: He runs. Then he");
  EXPECT_THAT(h.choices, ElementsAre("sits down", "runs"));
  EXPECT_EQ(h.gold, 1) << "a label written as a string";
}

TEST(TaskItems, MmluTakesBothKindsOfAnswers) {
  const TaskItem a = mmlu_item({.fields = {" Which? ", "w", "x", "y", "z", "2"}, .line = 2}, "f.csv");
  EXPECT_EQ(a.question, "Which?\nA. w\nB. x\nC. y\nD. z\nAnswer:");
  EXPECT_THAT(a.choices, ElementsAre("A", "B", "C", "D"));
  EXPECT_EQ(a.gold, 2);
  EXPECT_EQ(mmlu_item({.fields = {"?", "w", "x", "y", "z", "D"}, .line = 2}, "f.csv").gold, 3);
  EXPECT_EQ(error_text<FormatError>([] {
              mmlu_item({.fields = {"?", "w", "x", "y", "z", "E"}, .line = 9}, "f.csv");
            }),
            "[f.csv:9] answer: got \"E\", expected 0..3 or A..D.");
  EXPECT_THAT(error_text<FormatError>([] {
                mmlu_item({.fields = {"?", "w"}, .line = 9}, "f.csv");
              }),
              HasSubstr("[f.csv:9] fields: got 2, expected 6"));
}

TEST(TaskItems, BadLinesNameFileLineAndKey) {
  const auto piqa = ItemFormat::kPiqa;
  EXPECT_EQ(refusal(piqa, R"({"choices":["a","b"],"gold":0})"), "[f:1] query: missing, expected a string.");
  EXPECT_EQ(refusal(piqa, R"({"query":7})"), "[f:1] query: got number, expected a string.");
  EXPECT_EQ(refusal(piqa, "[1]"), "[f:1] line: got array, expected an object.");
  EXPECT_THAT(refusal(piqa, R"({"query":"Q: a","choices":["a","b"],"gold":0})"),
              HasSubstr("expected text that begins with \"Question: \""));
  const auto arc = [](const std::string& rest) {
    return refusal(ItemFormat::kArc, ("{\"query\":\"Question: a\"," + rest + "}").c_str());
  };
  EXPECT_EQ(arc(R"("choices":[],"gold":0)"), "[f:1] choices: got 0 of them, expected at least 2.");
  EXPECT_EQ(arc(R"("choices":["a",""],"gold":0)"),
            "[f:1] choices: entry 1: got an empty one, expected a string that is not empty.");
  EXPECT_EQ(arc(R"("choices":["a",null],"gold":0)"),
            "[f:1] choices: entry 1: got null, expected a string that is not empty.");
  for (const char* bad : {"2", "-1", "1.0", "\"a\"", "null", "true"}) {
    EXPECT_THAT(arc(std::string(R"("choices":["a","b"],"gold":)") + bad), HasSubstr("[f:1] gold: got")) << bad;
  }
  EXPECT_THAT(arc(R"("choices":["a","b"],"gold":2)"),
              HasSubstr("got \"2\", expected the index of the right answer, 0..1"));
}

TEST(TaskItems, CustomKindsAreToldByTheirKeys) {
  const auto kind = [](const char* json) { return custom_kind(parse_json(json, "f"), "f:1"); };
  EXPECT_EQ(kind(R"({"query":"a","choices":["a","b"],"gold":0})"), TaskKind::kChoices);
  EXPECT_EQ(kind(R"({"context_options":["a","b"],"continuation":"c","gold":0})"), TaskKind::kContexts);
  EXPECT_EQ(kind(R"({"context":"a","continuation":"c"})"), TaskKind::kLastWord);
  EXPECT_THAT(error_text<FormatError>([&] { kind(R"({"text":"a"})"); }),
              HasSubstr("[f:1] keys: got none that is known"));
  EXPECT_EQ(item(ItemFormat::kCustom, R"({"query":"As it is","choices":["a","b"],"gold":0})").question, "As it is");
}

}  // namespace
}  // namespace scalebits
