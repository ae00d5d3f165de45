// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/generate.h"

#include <CLI/Option.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/sampler_flags.h"
#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"

namespace scalebits::cli {
namespace {

struct GenerateFlags {
  std::string model, prompt, prompt_file;
  GenerateOptions options;
};

Json run(const GenerateFlags& flags, Session& session) {
  const std::string prompt = flags.prompt_file.empty() ? flags.prompt : read_text_file(flags.prompt_file);
  const auto model = open_for_generation(flags.model);
  const Tokenizer tokenizer(flags.model);
  const auto on_text = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const Generated g = generate(*model, tokenizer, prompt, flags.options, on_text, session.log);
  on_text("\n");
  session.log.info("prompt: {} tokens, {:.1f} tokens/s; new: {} tokens, {:.1f} tokens/s; stopped by {}",
                   g.prompt_tokens, g.prefill_tps(), g.new_ids.size(), g.decode_tps(), what_stopped(g.stop_reason));
  return {{"text", g.prompt + g.completion},
          {"completion", g.completion},
          {"prompt_tokens", g.prompt_tokens},
          {"new_tokens", g.new_ids.size()},
          {"prefill_tps", g.prefill_tps()},
          {"decode_tps", g.decode_tps()},
          {"stop_reason", stop_reason_name(g.stop_reason)}};
}

}  // namespace

void add_generate(CLI::App& app, Invocation& invocation) {
  const auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command =
      add_command(app, "generate", "Continue a prompt; the text goes to stdout as it comes", invocation);
  command->add_option("MODEL", flags->model, "Directory of a dense or packed checkpoint")->required();
  CLI::Option_group* source = command->add_option_group("Prompt", "One of");
  source->add_option("-p,--prompt", flags->prompt, "Text to continue")->type_name("TEXT");
  source->add_option("-f,--prompt-file", flags->prompt_file, "File with the text to continue (UTF-8)")
      ->type_name("FILE");
  source->require_option(1);
  command->add_option("-n,--max-new-tokens", flags->options.max_new_tokens, "Stop after so many new tokens")
      ->type_name("N")
      ->capture_default_str();
  add_sampler_options(command, flags->options.sampler);
  add_stop_option(command, flags->options.stop);
  command->add_flag("--ignore-eos", flags->options.ignore_eos, "Never draw an end-of-text token");
  on_run(command, invocation, [flags](Session& session) { return run(*flags, session); });
}

}  // namespace scalebits::cli
