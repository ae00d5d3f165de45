// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <chrono>
#include <memory>

#include "cli/command.h"
#include "cli/quantize_job.h"
#include "scalebits/base/errors.h"

namespace scalebits::cli {
namespace {

int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

Json run_quantize(const QuantizeOptions& o, Session& session) {
  const auto start = std::chrono::steady_clock::now();
  QuantizeJob job(o, session.log);
  job.print_sizes();
  if (o.dry_run) return job.sizes_json();
  Json result = job.run();
  result["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result["peak_rss_bytes"] = peak_rss_bytes();
  print_line("time          {:.1f} s, peak memory {:.2f} GB", result["seconds"].get<double>(),
             static_cast<double>(peak_rss_bytes()) / 1e9);
  return result;
}

void add_budget_flags(CLI::App* command, QuantizeOptions& o) {
  CLI::Option_group* budget = command->add_option_group("Budget", "one of these; a target beside a --plan too");
  CLI::Option* bpw =
      budget
          ->add_option(
              "--target-bpw,--avg-bits", o.target_bpw,
              "Bits per weight of the quantized linear layers, every byte counted (codes, scales, zeros, width "
              "map, permutations, padding); never exceeded")
          ->type_name("BPW");
  CLI::Option* size =
      budget
          ->add_option("--target-size", o.target_size,
                       "Bytes of all weight files together, with suffix k, M, G (powers of 1000) or Ki, Mi, Gi; never "
                       "exceeded")
          ->type_name("SIZE")
          ->excludes(bpw);
  CLI::Option* plan =
      budget
          ->add_option(
              "--plan", o.plan,
              "Apply a plan made before for the same model (plan.json, or a packed model), or, with a target, the plan "
              "that is cut for it from a directory that --frontier wrote; no search. Quantizers gptq and "
              "clip calibrate and round again: give the same calibration flags for the same bytes, or --quantizer rtn, "
              "which needs no calibration and gives a worse model")
          ->type_name("PATH");
  budget
      ->add_option("--frontier", o.frontier,
                   "One search for all budgets FROM, FROM + STEP, .. TO (bits per weight, 64 at most). OUT then holds "
                   "frontier.json, and --plan OUT with any target from FROM to TO needs no search. No guard")
      ->type_name("FROM:TO:STEP")
      ->excludes(bpw)
      ->excludes(size)
      ->excludes(plan);
  budget->require_option(1, 2);
}

void add_method_flags(CLI::App* command, QuantizeOptions& o) {
  command->add_option("--block", o.block, "Rows x columns that share one width: multiples of 16 and of the group size")
      ->type_name("RxC")
      ->capture_default_str();
  command
      ->add_option("--group-size", o.group_size,
                   "Columns that share one scale and zero point; a multiple of 4 up to 16384")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--method", o.method,
                   "search: per block, by gradients at the quantized weights; matrix: the same with one width per "
                   "matrix; uniform: two neighbouring widths in model order; threshold: the same by squared gradient "
                   "at full precision; random")
      ->type_name("NAME")
      ->capture_default_str();
  command
      ->add_option(
          "--score", o.score,
          "exact: signed gain of the exact move, with curvature; paper: |g (W - Q(W))|; fisher: expected gain, "
          "curvature times squared error; bits are then only spent, not moved (default: fisher with gptq, exact "
          "with clip and rtn)")
      ->type_name("NAME");
  command->add_option("--reorder", o.reorder, "Channels that are sorted by sensitivity: none, rows, cols, both")
      ->type_name("NAME")
      ->capture_default_str();
  command
      ->add_option("--reorder-mode", o.reorder_mode,
                   "folded: orders shared with neighbouring weights, so that nothing is stored or done at run time; "
                   "fused: an order of its own for every matrix, stored with it (2 bytes a channel, in the budget) and "
                   "applied by the kernels")
      ->type_name("NAME")
      ->capture_default_str();
  command
      ->add_option("--tie", o.tie,
                   "fused: q k v share one order of columns and so do gate up, for engines that compute each as one "
                   "product; of --reorder-mode folded always true; none")
      ->type_name("NAME")
      ->capture_default_str();
  command
      ->add_option("--quantizer", o.quantizer,
                   "gptq: clip, then rounded again with error compensation where held-out text agrees; clip: least "
                   "squared error of each group, weighted by how large its inputs are; rtn: min-max")
      ->type_name("NAME")
      ->capture_default_str();
  command->add_option("--loss", o.loss, "kl: divergence from the full-precision model; ce: cross-entropy of the text")
      ->type_name("NAME")
      ->capture_default_str();
  command->add_option("--iterations", o.iterations, "Most iterations of the search")
      ->check(CLI::Range(0, 10000))
      ->capture_default_str();
  command->add_flag("--no-guard", o.no_guard,
                    "Method search: write its plan without comparing it, on held-out text, with uniform widths and one "
                    "width per matrix within the same bytes");
  command
      ->add_option(
          "--ignore", o.ignore,
          "Leave linear layers whose name matches this regular expression dense, outside the budget (repeatable)")
      ->type_name("REGEX")
      ->allow_extra_args(false);
  command
      ->add_option("--tensor-type", o.tensor_type,
                   "Give linear layers whose name matches the regular expression this width, 1 to 8, which no method "
                   "moves; 16 or none leaves them dense; the last match wins (repeatable)")
      ->type_name("REGEX=BITS")
      ->allow_extra_args(false);
}

void add_vocab_flags(CLI::App* command, QuantizeOptions& o) {
  command
      ->add_option("--embed-bits", o.embed_bits,
                   "Width of the embedding, 2 to 8, or 16 to leave it as stored (default); not in the bits per weight, "
                   "but in the file size. Where the head is tied to it, this sets both")
      ->type_name("BITS");
  command
      ->add_option("--head-bits", o.head_bits,
                   "The same for the output head. Where it is tied to the embedding, this sets both, and must agree "
                   "with --embed-bits if that is given too")
      ->type_name("BITS");
}

void add_calibration_flags(CLI::App* command, QuantizeOptions& o) {
  command
      ->add_option("--calib", o.calib,
                   "Calibration text: a UTF-8 file, a .jsonl with a field `text`, or self: sampled from the model")
      ->type_name("FILE|self")
      ->capture_default_str();
  command->add_option("--nsamples", o.nsamples, "Calibration sequences; a quarter of them is held out for acceptance")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--seqlen", o.seqlen, "Tokens of each, clipped to the model's context")
      ->check(CLI::Range(8, 1 << 24))
      ->capture_default_str();
  command->add_option("--seed", o.seed, "Of the sampling, and of --method random")->capture_default_str();
  command->add_flag("--all-experts", o.all_experts,
                    "Mixtures of experts: every calibration token counts for every expert, for those that it is not "
                    "routed to as if their output were added with the router's probability. What experts see little "
                    "of is then measured; takes n_experts / n_active of the time");
  command->add_option("--stats", o.stats, "Keep the first sensitivities here and use them again when they fit")
      ->type_name("FILE");
}

void add_running_flags(CLI::App* command, QuantizeOptions& o) {
  command->add_option("--work", o.work, "Where a stopped run leaves its state (default: OUT.work, removed at the end)")
      ->type_name("DIR");
  command->add_option("--resume", o.resume, "auto: go on from a state that fits; required: or fail; never")
      ->check(CLI::IsMember({"auto", "required", "never"}))
      ->type_name("MODE")
      ->capture_default_str();
  command
      ->add_option("--max-ram", o.max_ram,
                   "Keep the estimated peak memory below this; activations go to a file in the work directory first")
      ->type_name("SIZE");
  command->add_option("--device", o.device, "cpu")
      ->check(CLI::IsMember({"cpu"}))
      ->type_name("NAME")
      ->capture_default_str();
  command->add_flag("--dry-run", o.dry_run, "Print sizes, the reachable interval and the memory estimate, and stop");
}

/// No value of this command may be "".
void refuse_empty_values(CLI::App* command) {
  std::vector<CLI::App*> groups = command->get_subcommands([](const CLI::App* a) { return a->get_name().empty(); });
  groups.push_back(command);
  for (CLI::App* group : groups) {
    for (CLI::Option* option : group->get_options()) {
      if (option->get_expected_min() > 0) option->check(not_empty());
    }
  }
}

/// Those of the search's flags that were given: a plan is made already.
std::vector<std::string> flags_of_a_search(const CLI::App& command) {
  std::vector<std::string> given;
  for (const char* flag : {"--block", "--group-size", "--method", "--score", "--reorder", "--reorder-mode", "--tie",
                           "--loss", "--iterations", "--no-guard", "--stats", "--resume"}) {
    if (command.count(flag) > 0) given.emplace_back(flag);
  }
  return given;
}

}  // namespace

void add_quantize(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<QuantizeOptions>();
  CLI::App* command =
      add_command(app, "quantize", "Find the best widths for a budget and write a packed checkpoint", invocation);
  command->add_option("MODEL", options->model, "Directory of a dense Hugging Face checkpoint")->required();
  command->add_option("-o,--output", options->output, "Directory to write; replaced if scalebits wrote it before")
      ->type_name("OUT");
  add_budget_flags(command, *options);
  add_method_flags(command, *options);
  add_vocab_flags(command, *options);
  add_calibration_flags(command, *options);
  add_running_flags(command, *options);
  refuse_empty_values(command);
  on_run(command, invocation, [options, command](Session& session) {
    options->quantizer_given = command->count("--quantizer") > 0;
    const std::vector<std::string> idle =
        options->plan.empty() ? std::vector<std::string>() : flags_of_a_search(*command);
    if (!idle.empty()) {
      session.log.warn("{}: without effect beside --plan, which is the result of a search", fmt::join(idle, ", "));
    }
    if (options->output.empty() && !options->dry_run)
      fail<InvalidArgument>("-o", "missing, expected an output directory.");
    return run_quantize(*options, session);
  });
}

}  // namespace scalebits::cli
