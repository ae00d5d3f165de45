// SPDX-License-Identifier: Apache-2.0
#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <memory>
#include <set>

#include "cli/command.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/report/kernel_speed.h"
#include "scalebits/report/model_speed.h"
#include "scalebits/run/generate.h"

namespace scalebits::cli {
namespace {

struct BenchFlags {
  bool kernel = false;
  std::string model;
  std::vector<int64_t> pp = {512}, tg = {128};
  int64_t n_tokens = 1, rows = 16384, cols = 8192;
  int repetitions = 0;
  std::string activations = "int8";
};

std::string bits_name(int bits) { return bits == 0 ? "mixed" : std::to_string(bits); }

Json run_kernels(const BenchFlags& flags, Session& session, int threads) {
  KernelSpeedOptions options;
  options.rows = flags.rows;
  options.cols = flags.cols;
  options.n_tokens = flags.n_tokens;
  if (flags.repetitions > 0) options.repetitions = flags.repetitions;
  const std::set<int> counts = threads > 0 ? std::set<int>{threads} : std::set<int>{1, num_threads()};
  options.threads.assign(counts.begin(), counts.end());
  const std::vector<KernelSpeed> all = measure_kernels(options, session.log);
  Json kernels = Json::array();
  double read = 0;
  print_line("| bits | threads | GB/s | read GB/s | share | ns/weight |");
  print_line("|---|---|---|---|---|---|");
  for (const KernelSpeed& k : all) {
    print_line("| {} | {} | {:.1f} | {:.1f} | {:.2f} | {:.4f} |", bits_name(k.bits), k.threads, k.gbps, k.read_gbps,
               k.share, k.ns_per_weight);
    Json entry = {{"bits", k.bits == 0 ? Json("mixed") : Json(k.bits)},
                  {"mean_bits", k.mean_bits},
                  {"threads", k.threads},
                  {"gbps", k.gbps},
                  {"read_gbps", k.read_gbps},
                  {"share", k.share},
                  {"ns_per_weight", k.ns_per_weight}};
    kernels.push_back(std::move(entry));
    read = std::max(read, k.read_gbps);
  }
  return {{"read_gbps", read}, {"tokens", flags.n_tokens}, {"kernels", std::move(kernels)}};
}

Json speeds(const char* name, const std::vector<TokenSpeed>& all) {
  Json list = Json::array();
  for (const TokenSpeed& s : all) {
    print_line("| {}{} | {:.1f} | {:.1f} - {:.1f} |", name, s.tokens, s.tps, s.p10, s.p90);
    list.push_back({{"tokens", s.tokens}, {"tps", s.tps}, {"p10", s.p10}, {"p90", s.p90}});
  }
  return list;
}

Json run_model(const BenchFlags& flags, Session& session) {
  ModelSpeedOptions options;
  options.pp = flags.pp;
  options.tg = flags.tg;
  if (flags.repetitions > 0) options.repetitions = flags.repetitions;
  options.decode.activations = flags.activations == "f32" ? Activations::kFloat : Activations::kInt8;
  const auto model = open_for_generation(flags.model);
  const ModelSpeed speed = measure_model(*model, options, session.log);
  print_line("{} threads; {} bytes of weights a token{}; first token after {:.3f} s", num_threads(),
             grouped(speed.bytes_per_token),
             speed.weight_bytes == speed.bytes_per_token ? "" : fmt::format(" of {}", grouped(speed.weight_bytes)),
             speed.first_token_seconds);
  print_line("");
  print_line("| test | tokens/s | 10 % - 90 % |");
  print_line("|---|---|---|");
  Json pp = speeds("pp", speed.pp), tg = speeds("tg", speed.tg);
  return {{"threads", num_threads()},
          {"activations", flags.activations},
          {"pp", std::move(pp)},
          {"tg", std::move(tg)},
          {"bytes_per_token", speed.bytes_per_token},
          {"weight_bytes", speed.weight_bytes},
          {"first_token_seconds", speed.first_token_seconds}};
}

}  // namespace

void add_bench(CLI::App& app, Invocation& invocation) {
  const auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = add_command(
      app, "bench", "Measure a model's speed, or (--kernel) that of products beside the speed of memory", invocation);
  CLI::Option_group* what = command->add_option_group("What", "One of");
  what->add_option("MODEL,--model", flags->model, "Directory of a dense or packed checkpoint");
  what->add_flag("--kernel", flags->kernel, "Every width and a mixed map, on one thread and on all (or --threads)");
  what->require_option(1);
  command->add_option("--pp", flags->pp, "Lengths of prompts")
      ->type_name("N,..")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--tg", flags->tg, "Numbers of tokens, one after the other")
      ->type_name("N,..")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--repetitions", flags->repetitions, "Default: 5 for a model, 15 for kernels")
      ->check(CLI::Range(1, 100000))
      ->type_name("N");
  command
      ->add_option("--activations", flags->activations,
                   "Of a model's packed layers: int8 as in generation, or exact f32")
      ->check(CLI::IsMember({"int8", "f32"}))
      ->type_name("NAME")
      ->capture_default_str();
  command->add_option("--tokens", flags->n_tokens, "--kernel: tokens that are multiplied at once")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--rows", flags->rows, "--kernel: out_features of the matrix")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--cols", flags->cols, "--kernel: in_features")->type_name("N")->capture_default_str();
  on_run(command, invocation, [flags, &invocation](Session& session) {
    return flags->kernel ? run_kernels(*flags, session, invocation.threads) : run_model(*flags, session);
  });
}

}  // namespace scalebits::cli
