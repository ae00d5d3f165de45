// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/eval/task.h"

namespace scalebits {
namespace {

struct Subject {
  const char *name, *category;
};

/// Subjects of MMLU (arXiv 2009.03300) and the harness's categories.
constexpr std::array<Subject, 57> kSubjects = {{
    {"abstract_algebra", "stem"},
    {"anatomy", "stem"},
    {"astronomy", "stem"},
    {"business_ethics", "other"},
    {"clinical_knowledge", "other"},
    {"college_biology", "stem"},
    {"college_chemistry", "stem"},
    {"college_computer_science", "stem"},
    {"college_mathematics", "stem"},
    {"college_medicine", "other"},
    {"college_physics", "stem"},
    {"computer_security", "stem"},
    {"conceptual_physics", "stem"},
    {"econometrics", "social_sciences"},
    {"electrical_engineering", "stem"},
    {"elementary_mathematics", "stem"},
    {"formal_logic", "humanities"},
    {"global_facts", "other"},
    {"high_school_biology", "stem"},
    {"high_school_chemistry", "stem"},
    {"high_school_computer_science", "stem"},
    {"high_school_european_history", "humanities"},
    {"high_school_geography", "social_sciences"},
    {"high_school_government_and_politics", "social_sciences"},
    {"high_school_macroeconomics", "social_sciences"},
    {"high_school_mathematics", "stem"},
    {"high_school_microeconomics", "social_sciences"},
    {"high_school_physics", "stem"},
    {"high_school_psychology", "social_sciences"},
    {"high_school_statistics", "stem"},
    {"high_school_us_history", "humanities"},
    {"high_school_world_history", "humanities"},
    {"human_aging", "other"},
    {"human_sexuality", "social_sciences"},
    {"international_law", "humanities"},
    {"jurisprudence", "humanities"},
    {"logical_fallacies", "humanities"},
    {"machine_learning", "stem"},
    {"management", "other"},
    {"marketing", "other"},
    {"medical_genetics", "other"},
    {"miscellaneous", "other"},
    {"moral_disputes", "humanities"},
    {"moral_scenarios", "humanities"},
    {"nutrition", "other"},
    {"philosophy", "humanities"},
    {"prehistory", "humanities"},
    {"professional_accounting", "other"},
    {"professional_law", "humanities"},
    {"professional_medicine", "other"},
    {"professional_psychology", "social_sciences"},
    {"public_relations", "social_sciences"},
    {"security_studies", "social_sciences"},
    {"sociology", "social_sciences"},
    {"us_foreign_policy", "social_sciences"},
    {"virology", "other"},
    {"world_religions", "humanities"},
}};

TaskSpec simple(std::string name, TaskKind kind, ItemFormat format, const std::string& file, bool norm,
                ExampleSampler sampler) {
  TaskSpec spec;
  spec.name = std::move(name);
  spec.kind = kind;
  spec.format = format;
  spec.items = file;
  const std::string extension = ".jsonl";
  spec.examples = file.substr(0, file.size() - extension.size()) + "_train" + extension;
  spec.norm = norm;
  spec.sampler = sampler;
  return spec;
}

TaskSpec gsm8k() {
  TaskSpec spec =
      simple("gsm8k", TaskKind::kGenerate, ItemFormat::kGsm8k, "gsm8k/test.jsonl", false, ExampleSampler::kRandom);
  spec.examples = "gsm8k/train.jsonl";
  spec.examples_required = true;
  spec.default_examples = 5;
  return spec;
}

TaskSpec mmlu(const Subject& subject) {
  TaskSpec spec;
  const std::string name = subject.name;
  spec.name = "mmlu_" + name;
  spec.format = ItemFormat::kMmlu;
  spec.items = "mmlu/test/" + name + "_test.csv";
  spec.examples = "mmlu/dev/" + name + "_dev.csv";
  spec.examples_required = true;
  std::string title = name;
  std::replace(title.begin(), title.end(), '_', ' ');
  spec.description = "The following are multiple choice questions (with answers) about " + title + ".\n\n";
  spec.group = "mmlu";
  spec.category = subject.category;
  spec.default_examples = 5;
  spec.sampler = ExampleSampler::kFirst;
  return spec;
}

std::vector<TaskSpec> single_tasks() {
  using enum ExampleSampler;
  const auto choices = TaskKind::kChoices;
  // Whether one more example is drawn follows from the harness's splits: it does so where it knows of no test split.
  return {
      simple("winogrande", TaskKind::kContexts, ItemFormat::kWinogrande, "llm-foundry/winogrande.jsonl", false,
             kRandomSpareOne),
      simple("piqa", choices, ItemFormat::kPiqa, "llm-foundry/piqa.jsonl", true, kRandomSpareOne),
      simple("hellaswag", choices, ItemFormat::kHellaswag, "hellaswag/hellaswag_val_750.jsonl", true, kRandomSpareOne),
      simple("arc_easy", choices, ItemFormat::kArc, "llm-foundry/arc_easy.jsonl", true, kRandom),
      simple("arc_challenge", choices, ItemFormat::kArc, "llm-foundry/arc_challenge.jsonl", true, kRandom),
      simple("boolq", choices, ItemFormat::kBoolq, "llm-foundry/boolq.jsonl", false, kRandomSpareOne),
      simple("lambada_openai", TaskKind::kLastWord, ItemFormat::kLambada, "llm-foundry/lambada_openai.jsonl", false,
             kRandom),
      gsm8k()};
}

TaskSpec custom(const std::filesystem::path& path) {
  TaskSpec spec = simple(path.stem().string(), TaskKind::kChoices, ItemFormat::kCustom, path.string(), true,
                         ExampleSampler::kRandomSpareOne);
  return spec;
}

/// Letters to insert, remove or replace until a is b.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const TaskSpec& spec : single_tasks()) names.push_back(spec.name);
  names.insert(names.end() - 1, "mmlu");
  for (const Subject& subject : kSubjects) names.push_back(mmlu(subject).name);
  return names;
}

std::vector<TaskSpec> find_tasks(std::string_view name) {
  if (name.ends_with(".jsonl")) return {custom(name)};
  for (const TaskSpec& spec : single_tasks()) {
    if (spec.name == name) return {spec};
  }
  std::vector<TaskSpec> found;
  for (const Subject& subject : kSubjects) {
    const TaskSpec spec = mmlu(subject);
    if (name == "mmlu" || name == spec.name || name == "mmlu_" + spec.category) found.push_back(spec);
  }
  if (!found.empty()) return found;

  const std::vector<std::string> names = task_names();
  const auto nearest = std::min_element(names.begin(), names.end(), [&](const auto& a, const auto& b) {
    return edit_distance(name, a) < edit_distance(name, b);
  });
  std::string list;
  for (const TaskSpec& spec : single_tasks()) list += spec.name + ", ";
  fail<InvalidArgument>("--tasks",
                        "got \"{}\", expected {}mmlu, mmlu_SUBJECT, mmlu_stem, mmlu_humanities, mmlu_social_sciences, "
                        "mmlu_other or a path that ends in .jsonl. The nearest is {}.",
                        name, list, *nearest);
}

}  // namespace scalebits
