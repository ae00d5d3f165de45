// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/json.h"
#include "tests/cli/run_program.h"
#include "tests/report/packed_model.h"

namespace scalebits {
namespace {

using test::Outcome;
using test::run_program;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string demo() { return test::demo_model().string(); }

class EvalTasks : public testing::Test {
 protected:
  EvalTasks() {
    write("llm-foundry/piqa.jsonl",
          R"({"query":"Question: How do I dry a coat?\n","choices":["Hang it up.","Put it into the river."],"gold":0})"
          "\n"
          R"({"query":"Question: What is bread made of?\n","choices":["Of stone.","Of flour."],"gold":1})"
          "\n"
          R"({"query":"Question: How do I light a fire?\n","choices":["With water.","With a match."],"gold":1})"
          "\n");
    write("llm-foundry/winogrande.jsonl",
          R"({"context_options":["The dog saw the cat, so the dog","The dog saw the cat, so the cat"],)"
          R"("continuation":"ran away.","gold":1})"
          "\n");
    write("llm-foundry/lambada_openai.jsonl", "{\"context\":\"He looked up at the blue\",\"continuation\":\"sky\"}\n");
    for (const char* subject : {"anatomy", "astronomy", "virology"}) {
      const std::string name = subject;
      write("mmlu/test/" + name + "_test.csv", "Which?,a,b,c,d,1\nWhere?,e,f,g,h,C\n");
      write("mmlu/dev/" + name + "_dev.csv",
            "What?,a,b,c,d,A\nWho?,e,f,g,h,B\nWhy?,e,f,g,h,B\nX?,a,b,c,d,D\nY?,a,b,c,d,A\n");
    }
    write("gsm8k/test.jsonl", "{\"question\":\"What is 1 + 1?\",\"answer\":\"#### 2\"}\n");
    std::string train;
    for (int i = 0; i < 9; ++i) {
      train += fmt::format("{{\"question\":\"What is {0} + 0?\",\"answer\":\"It is {0}.\\n#### {0}\"}}\n", i);
    }
    write("gsm8k/train.jsonl", train);
  }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((dir_ / name).parent_path());
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }
  [[nodiscard]] Outcome run(const std::string& tasks, std::vector<std::string> more = {},
                            const std::string& model = demo()) const {
    std::vector<std::string> arguments = {"eval", "tasks", model, "--data", dir_.path().string(), "--tasks", tasks};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  test::TempDir dir_;
};

TEST_F(EvalTasks, ShowsTheFirstPromptAndTheFigures) {
  const Outcome outcome = run("piqa,winogrande,lambada_openai", {"--limit", "2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(
      outcome.err,
      AllOf(HasSubstr("piqa: 2 of 3 items of"), HasSubstr("Question: How do I dry a coat?\nAnswer: Hang it up.\n"),
            HasSubstr("The dog saw the cat, so the dog ran away."), HasSubstr("He looked up at the blue sky")));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("acc_norm"), HasSubstr("perplexity"), HasSubstr("stderr")));
  EXPECT_EQ(run("piqa", {"--quiet"}).err, "");
}

TEST_F(EvalTasks, RecordAndSamplesAgree) {
  const std::string samples = dir_ / "samples.jsonl";
  const Outcome outcome = run("piqa,lambada_openai", {"--json", dir_ / "r.json", "--log-samples", samples});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json result = read_json(dir_ / "r.json")["result"];
  EXPECT_EQ(result["tasks"]["piqa"]["items"], 3);
  EXPECT_EQ(result["tasks"]["piqa"]["num_fewshot"], 0);
  EXPECT_LT(result["tokens"].get<int64_t>(), result["tokens_unshared"].get<int64_t>());
  std::ifstream file(samples);
  double right = 0;
  std::vector<std::string> tasks;
  for (std::string line; std::getline(file, line);) {
    const Json sample = Json::parse(line);
    tasks.push_back(sample["task"]);
    if (tasks.back() != "piqa") continue;
    EXPECT_EQ(sample["log_likelihoods"].size(), 2U);
    right += sample["acc"].get<double>();
  }
  EXPECT_THAT(tasks, testing::ElementsAre("piqa", "piqa", "piqa", "lambada_openai"));
  EXPECT_DOUBLE_EQ(result["tasks"]["piqa"]["acc"], right / 3);
}

TEST_F(EvalTasks, AFolderGetsAFileForEachTask) {
  ASSERT_EQ(run("piqa,winogrande", {"--log-samples", dir_ / "out/"}).exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(dir_ / "out/samples_piqa.jsonl"));
  EXPECT_TRUE(std::filesystem::exists(dir_ / "out/samples_winogrande.jsonl"));
}

TEST_F(EvalTasks, MmluHasFiveExamplesAndGroups) {
  const Outcome outcome =
      run("mmlu_anatomy,mmlu_astronomy,mmlu_virology", {"--json", dir_ / "r.json", "--log-samples", dir_ / "s.jsonl"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json result = read_json(dir_ / "r.json")["result"];
  EXPECT_EQ(result["tasks"]["mmlu_anatomy"]["num_fewshot"], 5);
  EXPECT_THAT(result["tasks"]["mmlu_anatomy"]["first_prompt"].get<std::string>(),
              AllOf(StartsWith("The following are multiple choice questions (with answers) about anatomy.\n\nWhat?\n"
                               "A. a\nB. b\nC. c\nD. d\nAnswer: A\n\nWho?"),
                    HasSubstr("Answer: A\n\nWhich?\nA. a\nB. b\nC. c\nD. d\nAnswer: A")));
  EXPECT_EQ(result["groups"]["mmlu"]["items"], 6);
  EXPECT_EQ(result["groups"]["mmlu_stem"]["tasks"], 2);
  EXPECT_FALSE(result["groups"].contains("mmlu_other")) << "one task is no group";
  EXPECT_THAT(outcome.out, HasSubstr("acc (every task)"));
}

TEST_F(EvalTasks, Gsm8kGeneratesAnswers) {
  const Outcome outcome = run("gsm8k", {"--max-new-tokens", "12", "--log-samples", dir_ / "s.jsonl"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("exact_match,strict-match"), HasSubstr("exact_match,flexible-extract")));
  std::ifstream file(dir_ / "s.jsonl");
  const Json sample = Json::parse(file);
  EXPECT_THAT(sample["contexts"][0].get<std::string>(), testing::EndsWith("\n\nQuestion: What is 1 + 1?\nAnswer:"));
  EXPECT_THAT(sample["answer"].get<std::string>(), Not(HasSubstr("Question:")));
  EXPECT_THAT(run("gsm8k", {"--max-new-tokens", "512"}).err, HasSubstr("[--max-new-tokens] got 512, expected 1..511"));
}

TEST_F(EvalTasks, PackedModelsAndBothActivations) {
  test::pack_model(test::demo_model(), dir_ / "packed", {}, [](int64_t, Slot, int64_t) { return uint8_t{4}; });
  for (const char* activations : {"f32", "int8"}) {
    const Outcome outcome = run("piqa,gsm8k", {"--activations", activations, "--max-new-tokens", "4"}, dir_ / "packed");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  }
}

TEST_F(EvalTasks, CustomFilesAreTasks) {
  write("own.jsonl", "{\"query\":\"The sky is\",\"choices\":[\"blue\",\"a spoon\"],\"gold\":0}\n");
  const Outcome outcome = run(dir_ / "own.jsonl");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("The sky is blue"));
}

TEST_F(EvalTasks, BadInputIsRefusedByName) {
  const Outcome unknown = run("piqua");
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err,
              AllOf(StartsWith("scalebits eval: error: [--tasks] got \"piqua\""), HasSubstr("nearest is piqa")));
  EXPECT_EQ(run("piqa,piqa").exit_code, 2);
  const Outcome missing = run("boolq");
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("looked for " + (dir_ / "llm-foundry/boolq.jsonl").string()));
  write("llm-foundry/boolq.jsonl",
        "{\"query\":\"Passage: a\\nQuestion: b?\",\"choices\":[\"no\",\"yes\"],\"gold\":2}\n");
  const Outcome label = run("boolq");
  EXPECT_EQ(label.exit_code, 3);
  EXPECT_THAT(label.err,
              HasSubstr("llm-foundry/boolq.jsonl:1] gold: got \"2\", expected the index of the right answer, 0..1"));
  EXPECT_EQ(run("piqa", {"--limit", "0"}).exit_code, 2);
  EXPECT_EQ(run("piqa", {"--num-fewshot", "3"}).exit_code, 2);
  EXPECT_EQ(run("piqa", {"--batch", "0"}).exit_code, 2);
}

}  // namespace
}  // namespace scalebits
