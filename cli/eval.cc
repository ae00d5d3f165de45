// SPDX-License-Identifier: Apache-2.0
#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <bit>
#include <chrono>
#include <memory>

#include "cli/command.h"
#include "cli/eval_model.h"
#include "scalebits/base/errors.h"
#include "scalebits/calibrate/tokens.h"
#include "scalebits/eval/divergence.h"
#include "scalebits/io/file.h"
#include "scalebits/io/text.h"

namespace scalebits::cli {
namespace {

struct EvalOptions {
  EvalModelFlags model;
  std::string ref, text, protocol = "gptq", separator, dump_tokens;
  int64_t seqlen = 0, windows = 0;
  uint64_t seed = 1;
};

CLI::App* add_eval_command(CLI::App& parent, const std::string& name, const std::string& description,
                           Invocation& invocation, EvalOptions& o) {
  CLI::App* command = add_command(parent, name, description, invocation);
  command->add_option("MODEL", o.model.dir, "Directory of a dense or packed checkpoint")->required();
  command
      ->add_option(
          "--text", o.text,
          "UTF-8 text, .jsonl with a field `text` per line, or self: 64 windows (see --windows) sampled from the "
          "full-precision model at temperature 1")
      ->required()
      ->type_name("FILE|self");
  command->add_option("--seed", o.seed, "Of --text self")->capture_default_str();
  command
      ->add_option("--seqlen", o.seqlen,
                   "Context: tokens that the model reads at once (default: 2048, or the model's "
                   "context where that is shorter)")
      ->check(CLI::PositiveNumber)
      ->type_name("TOKENS");
  CLI::Option* protocol =
      command->add_option("--protocol", o.protocol,
                          "gptq: consecutive windows of the whole text, all tokens but the first of each predicted, "
                          "BOS once before the text; "
                          "llamacpp: consecutive windows with BOS in place of the first token, second half predicted");
  protocol->check(CLI::IsMember({"gptq", "llamacpp"}))->type_name("NAME")->capture_default_str();
  command
      ->add_option("--doc-separator", o.separator,
                   "Evaluate the pieces between these strings (or the lines of a .jsonl) "
                   "each on its own: BOS first, every token predicted, the context empty again every SEQLEN tokens")
      ->type_name("TEXT")
      ->excludes(protocol);
  command->add_option("--windows", o.windows, "Only the first N windows (default: all)")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  add_arithmetic_options(command, o.model);
  command
      ->add_option("--dump-tokens", o.dump_tokens,
                   "Write the windows' token ids: int32, little endian, SEQLEN for each "
                   "window")
      ->type_name("FILE");
  return command;
}

void dump_tokens(const WindowSet& set, const std::string& path) {
  static_assert(std::endian::native == std::endian::little);
  if (set.options.protocol == Protocol::kDocuments) {
    fail<InvalidArgument>("--dump-tokens", "got it with --doc-separator, expected windows of equal length.");
  }
  AtomicFile file(path);
  for (const Window& window : set.windows) file.write(std::as_bytes(std::span(window.ids)));
  file.commit();
}

/// Windows sampled from a dense model: an evaluation text where there is none. The model's own entropy is then the
/// perplexity of full precision.
WindowSet sample_windows(const EvalOptions& o, const ModelWeights& dense, WindowOptions options, Log& log) {
  constexpr int64_t kDefaultWindows = 64;
  if (!dense.config().quant_method.empty()) {
    fail<InvalidArgument>("--text",
                          "self: got a packed model, expected a dense one to sample from. Use eval kl --ref.");
  }
  options.protocol = Protocol::kGptq;
  const CalibOptions sampling{o.windows > 0 ? o.windows : kDefaultWindows, options.seqlen, o.seed};
  const Tokenizer tokenizer(dense.checkpoint().dir());
  const auto sequences = sample_sequences(dense.shared_checkpoint(), dense.config(), tokenizer, sampling, log);
  return windows_of_sequences(sequences, options, "first in each window, as sampled");
}

/// @param sampled_from the full-precision model, for --text self
WindowSet prepare(const EvalOptions& o, const ModelWeights& model, const ModelWeights& sampled_from, Log& log) {
  WindowOptions options;
  options.protocol = o.separator.empty() ? parse_protocol(o.protocol) : Protocol::kDocuments;
  options.seqlen = o.seqlen > 0 ? o.seqlen : default_seqlen(model.config());
  options.max_windows = o.windows;
  check_seqlen(options.seqlen, model.config());
  if (o.text == "self") {
    WindowSet set = sample_windows(o, sampled_from, options, log);
    if (!o.dump_tokens.empty()) dump_tokens(set, o.dump_tokens);
    return set;
  }
  const Tokenizer tokenizer(o.model.dir);
  const std::vector<std::string> documents = read_documents(o.text, o.separator);
  const auto ids = tokenize_documents(tokenizer, documents, options.protocol);
  WindowSet set = cut_windows(ids, tokenizer.add_bos() ? tokenizer.bos() : std::nullopt, options, o.text);
  check_vocabulary(set, model.config());
  if (o.windows > static_cast<int64_t>(set.windows.size())) {
    log.warn("--windows {}: the text has only {}; all are used", o.windows, set.windows.size());
  }
  if (!o.dump_tokens.empty()) dump_tokens(set, o.dump_tokens);
  return set;
}

int64_t tokens_read(const WindowSet& set) {
  int64_t read = 0;
  for (const Window& window : set.windows) read += static_cast<int64_t>(window.ids.size()) - 1;
  return read;
}

const char* what_is_predicted(Protocol protocol) {
  switch (protocol) {
    case Protocol::kGptq:
      return "all tokens of a window but its first";
    case Protocol::kLlamacpp:
      return "the tokens behind the middle of a window";
    case Protocol::kDocuments:
      return "all tokens of each document";
  }
  check_failed(__FILE__, __LINE__, "known protocol");
}

void print_protocol(const WindowSet& set) {
  const WindowOptions& o = set.options;
  print_line("protocol      {}: predicts {}", protocol_name(o.protocol), what_is_predicted(o.protocol));
  print_line("context       {} tokens, stride {}", o.seqlen, o.seqlen);
  print_line("BOS           {}", set.bos_policy);
  print_line("tokens        {} in the text, {} windows, {} predicted", set.text_tokens, set.windows.size(),
             set.predicted);
  std::fflush(stdout);  // what is being measured shall be seen before the result
}

/// What the records of both commands begin with.
Json protocol_json(const EvalOptions& o, const WindowSet& set, double seconds) {
  return {{"activations", o.model.activations},
          {"protocol", protocol_name(set.options.protocol)},
          {"seqlen", set.options.seqlen},
          {"stride", set.options.seqlen},
          {"bos", set.bos_policy},
          {"text_tokens", set.text_tokens},
          {"windows", set.windows.size()},
          {"tokens", set.predicted},
          {"seconds", seconds},
          {"tokens_per_second", static_cast<double>(tokens_read(set)) / seconds}};
}

/// Seconds that `measure` takes.
template <class Measure>
double timed(Measure measure) {
  const auto start = std::chrono::steady_clock::now();
  measure();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Json run_ppl(const EvalOptions& o, Session& session) {
  const auto model = open_for_eval(o.model);
  const WindowSet set = prepare(o, *model, *model, session.log);
  print_protocol(set);
  Perplexity p;
  const double seconds = timed([&] { p = measure_perplexity(*model, set, session.log); });
  print_line("nll           {:.5f} nats per token", p.nll);
  print_line("perplexity    {:.4f} +- {:.4f}", p.value, p.standard_error);
  print_line("speed         {:.0f} tokens/s", static_cast<double>(tokens_read(set)) / seconds);
  Json json = protocol_json(o, set, seconds);
  json.update({{"nll", p.nll}, {"perplexity", p.value}, {"perplexity_standard_error", p.standard_error}});
  return json;
}

Json run_kl(const EvalOptions& o, Session& session) {
  const auto model = open_for_eval(o.model);
  const auto reference = open_for_eval({o.ref, o.model.dtype, "f32"});
  check_comparable(*model, *reference);
  const WindowSet set = prepare(o, *model, *reference, session.log);
  check_seqlen(set.options.seqlen, reference->config());
  print_protocol(set);
  Divergence d;
  const double seconds = timed([&] { d = measure_divergence(*model, *reference, set, session.log); });
  print_line("kl            {:.6f} +- {:.6f} nats per token, from the reference to the model", d.mean,
             d.standard_error);
  print_line("percentiles   90 %: {:.6f}, 99 %: {:.6f}, 99.9 %: {:.6f}, largest: {:.6f}", d.p90, d.p99, d.p999, d.max);
  print_line("same top      {:.3f} % of tokens", 100 * d.same_top);
  print_line("delta p       RMS {:.4f} +- {:.4f} %, mean {:+.4f} % (probability of the text's tokens)",
             100 * d.rms_delta_p, 100 * d.rms_delta_p_standard_error, 100 * d.mean_delta_p);
  print_line("perplexity    {:.4f} +- {:.4f}", d.model.value, d.model.standard_error);
  print_line("reference     {:.4f} +- {:.4f}", d.reference.value, d.reference.standard_error);
  print_line("speed         {:.0f} tokens/s through both models", static_cast<double>(tokens_read(set)) / seconds);
  Json json = protocol_json(o, set, seconds);
  json.update({{"kl_mean", d.mean},
               {"kl_standard_error", d.standard_error},
               {"kl_p90", d.p90},
               {"kl_p99", d.p99},
               {"kl_p999", d.p999},
               {"kl_max", d.max},
               {"same_top", d.same_top},
               {"rms_delta_p", d.rms_delta_p},
               {"rms_delta_p_standard_error", d.rms_delta_p_standard_error},
               {"mean_delta_p", d.mean_delta_p},
               {"nll", d.model.nll},
               {"nll_ref", d.reference.nll},
               {"perplexity", d.model.value},
               {"perplexity_ref", d.reference.value}});
  return json;
}

}  // namespace

void add_eval(CLI::App& app, Invocation& invocation) {
  CLI::App* eval = app.add_subcommand("eval", "Measure the quality of a model on a text or on tasks");
  eval->require_subcommand(1);

  const auto ppl = std::make_shared<EvalOptions>();
  on_run(add_eval_command(*eval, "ppl", "Perplexity: exp of the mean negative log-likelihood of the predicted tokens",
                          invocation, *ppl),
         invocation, [ppl](Session& session) { return run_ppl(*ppl, session); });

  const auto kl = std::make_shared<EvalOptions>();
  CLI::App* command = add_eval_command(
      *eval, "kl", "Divergence of the next-token distributions from those of a reference model, in nats", invocation,
      *kl);
  command->add_option("--ref", kl->ref, "Directory of the reference model, with the same tokenizer")
      ->required()
      ->type_name("DIR");
  on_run(command, invocation, [kl](Session& session) { return run_kl(*kl, session); });

  add_eval_tasks(*eval, invocation);
}

}  // namespace scalebits::cli
