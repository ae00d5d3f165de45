// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fstream>
#include <set>

#include "scalebits/base/errors.h"
#include "scalebits/eval/task.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::AllOf;
using testing::HasSubstr;

TEST(FindTasks, NamesGroupsAndPaths) {
  EXPECT_EQ(find_tasks("mmlu").size(), 57U);
  EXPECT_EQ(find_tasks("mmlu_stem").size(), 19U);
  EXPECT_EQ(find_tasks("mmlu_other").size(), 13U);
  EXPECT_EQ(find_tasks("mmlu_social_sciences").size(), 12U);
  EXPECT_EQ(find_tasks("mmlu_humanities").size(), 13U);
  EXPECT_EQ(find_tasks("mmlu_us_foreign_policy").front().description,
            "The following are multiple choice questions (with answers) about us foreign policy.\n\n");
  EXPECT_EQ(find_tasks("some/where/own.jsonl").front().name, "own");
  std::set<std::string> names;
  for (const std::string& name : task_names()) {
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_GE(find_tasks(name).size(), 1U);
  }
}

TEST(FindTasks, AnUnknownNameListsTheKnownAndTheNearest) {
  EXPECT_THAT(error_text<InvalidArgument>([] { find_tasks("helaswag"); }),
              AllOf(HasSubstr("[--tasks] got \"helaswag\", expected winogrande, piqa, hellaswag"),
                    HasSubstr("The nearest is hellaswag.")));
  EXPECT_THAT(error_text<InvalidArgument>([] { find_tasks("mmlu_anatomie"); }), HasSubstr("nearest is mmlu_anatomy."));
}

class ReadTask : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((dir_ / name).parent_path());
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }
  Task read(const std::string& name, int64_t n_examples = 0) const {
    return read_task(find_tasks(name).front(), dir_.path(), n_examples);
  }
  test::TempDir dir_;
};

constexpr const char* kPiqaLine = "{\"query\":\"Question: a\\n\",\"choices\":[\"b\",\"c\"],\"gold\":0}\n";

TEST_F(ReadTask, SkipsBlankLinesAndCountsThem) {
  write("llm-foundry/piqa.jsonl", std::string("\n") + kPiqaLine + "  \r\n" + kPiqaLine);
  EXPECT_EQ(read("piqa").items.size(), 2U);
  write("llm-foundry/piqa.jsonl", std::string("\n") + kPiqaLine + "\n{\"query\": \n");
  EXPECT_THAT(error_text<FormatError>([&] { read("piqa"); }),
              AllOf(HasSubstr("llm-foundry/piqa.jsonl:4]"), HasSubstr("not well-formed JSON")));
  write("llm-foundry/piqa.jsonl", "\n \n");
  EXPECT_THAT(error_text<FormatError>([&] { read("piqa"); }), HasSubstr("items: got none, expected at least one."));
  write("llm-foundry/piqa.jsonl", "caf\xe9");
  EXPECT_THAT(error_text<FormatError>([&] { read("piqa"); }), HasSubstr("byte 3: got 0xe9"));
}

TEST_F(ReadTask, AMissingFileIsNamed) {
  EXPECT_THAT(error_text<IoError>([&] { read("piqa"); }),
              HasSubstr("[piqa] data: looked for " + (dir_ / "llm-foundry/piqa.jsonl").string()));
}

TEST_F(ReadTask, MmluFilesMayHaveAHeader) {
  write("mmlu/test/anatomy_test.csv", "question,choice0,choice1,choice2,choice3,answer\nq,a,b,c,d,1\n");
  EXPECT_EQ(read("mmlu_anatomy").items.size(), 1U);
  write("mmlu/test/anatomy_test.csv", "q,a,b,c,d,B\nr,a,b,c,d,C\n");
  EXPECT_EQ(read("mmlu_anatomy").items.size(), 2U);
  write("mmlu/test/anatomy_test.csv", "q,a,b,c,d,B\nr,a,b,c,d\n");
  EXPECT_THAT(error_text<FormatError>([&] { read("mmlu_anatomy"); }), HasSubstr("anatomy_test.csv:2] fields: got 5"));
}

TEST_F(ReadTask, ExamplesComeFromTheTrainFileOrElseFromTheItems) {
  write("llm-foundry/piqa.jsonl", std::string(kPiqaLine) + kPiqaLine + kPiqaLine);
  EXPECT_TRUE(read("piqa", 2).examples_are_items);
  EXPECT_EQ(read("piqa", 2).examples.size(), 3U);
  EXPECT_THAT(error_text<InvalidArgument>([&] { read("piqa", 3); }),
              HasSubstr("[--num-fewshot] got 3, expected at most 2"));
  write("llm-foundry/piqa_train.jsonl", std::string(kPiqaLine) + kPiqaLine);
  const Task task = read("piqa", 1);
  EXPECT_FALSE(task.examples_are_items);
  EXPECT_EQ(task.examples.size(), 2U);
  write("gsm8k/test.jsonl", "{\"question\":\"q\",\"answer\":\"#### 1\"}\n");
  EXPECT_THAT(error_text<IoError>([&] { read("gsm8k", 5); }), HasSubstr("gsm8k/train.jsonl"));
}

TEST_F(ReadTask, ACustomFileHasItemsOfOneKind) {
  write("own.jsonl", "{\"context\":\"a\",\"continuation\":\"b\"}\n");
  const auto own = [&] { return read_task(find_tasks((dir_ / "own.jsonl").string()).front(), "/nowhere", 0); };
  EXPECT_EQ(own().spec.kind, TaskKind::kLastWord);
  EXPECT_EQ(own().spec.name, "own");
  write("own.jsonl", std::string("{\"context\":\"a\",\"continuation\":\"b\"}\n") + kPiqaLine);
  EXPECT_THAT(error_text<FormatError>([&] { own(); }), HasSubstr("own.jsonl:2] keys: got those of another kind"));
}

}  // namespace
}  // namespace scalebits
