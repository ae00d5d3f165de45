// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/chat.h"

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <memory>

#include "cli/chat_input.h"
#include "cli/command.h"
#include "cli/sampler_flags.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/run/generate.h"

namespace scalebits::cli {
namespace {

struct ChatFlags {
  std::string model;
  std::vector<std::string> messages;
  ChatOptions options;
};

void write_text(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

Json record_of(const std::string& message, const Answer& a) {
  return {{"message", message},
          {"answer", a.text},
          {"prompt_tokens", a.prompt_tokens},
          {"kept_tokens", a.kept_tokens},
          {"new_tokens", a.new_tokens},
          {"prefill_tps", a.prefill_tps()},
          {"decode_tps", a.decode_tps()},
          {"stop_reason", stop_reason_name(a.stop_reason)}};
}

Json ask(Conversation& chat, const std::string& message, Session& session) {
  const Answer a = chat.ask(message, write_text);
  write_text("\n");
  session.log.info("read {} of {} tokens, {:.1f} tokens/s; new: {} tokens, {:.1f} tokens/s; stopped by {}",
                   a.prompt_tokens - a.kept_tokens, a.prompt_tokens, a.prefill_tps(), a.new_tokens, a.decode_tps(),
                   a.stop_reason == StopReason::kLength && a.prompt_tokens + a.new_tokens > chat.context()
                       ? "the end of the context"
                       : what_stopped(a.stop_reason));
  return record_of(message, a);
}

/// Ctrl+C has stopped an answer, and that was all it was to stop.
void go_on() {
  if (!end_requested()) clear_stop_request();
}

/// One line of the user. False: the conversation is over.
bool take_line(Conversation& chat, const std::string& line, Json& answers, Session& session) {
  if (line.find_first_not_of(" \t\r") == std::string::npos) return true;
  if (line == "/exit") return false;
  if (line == "/reset") {
    chat.reset();
    session.log.info("a new conversation");
    return true;
  }
  if (line.starts_with('/')) {
    session.log.warn(
        "{} is no command: /reset begins a new conversation, /exit ends. A message that begins with a "
        "slash needs a space before it.",
        line.substr(0, line.find(' ')));
    return true;
  }
  try {
    answers.push_back(ask(chat, line, session));
    if (answers.back()["stop_reason"] == stop_reason_name(StopReason::kInterrupted)) go_on();
  } catch (const Interrupted&) {
    session.log.warn("stopped before an answer began; the message is forgotten");
    go_on();
  } catch (const InvalidArgument& error) {  // it does not fit; the next one may
    session.log.warn("{}", error.what());
  } catch (const FormatError& error) {
    session.log.warn("{}", error.what());
  }
  return true;
}

/// Lines from stdin until they end, or someone ends it.
void converse(Conversation& chat, Json& answers, Session& session) {
  ChatInput input;
  for (;;) {
    const std::optional<std::string> line = input.next();
    if (!line || !take_line(chat, *line, answers, session)) break;
  }
  if (stop_requested()) session.failure = std::make_exception_ptr(Interrupted("[interrupt] stopped on request"));
}

Json run(const ChatFlags& flags, Session& session) {
  ChatTemplate chat_template{std::filesystem::path(flags.model)};  // before the model is loaded
  const auto model = open_for_generation(flags.model);
  const Tokenizer tokenizer(flags.model);
  Conversation chat(*model, tokenizer, std::move(chat_template), flags.options);
  Json answers = Json::array();
  if (flags.messages.empty()) {
    session.log.info("a conversation of up to {} tokens; /reset begins a new one, /exit ends", chat.context());
    converse(chat, answers, session);
  }
  for (const std::string& message : flags.messages) {
    throw_if_stopped();
    answers.push_back(ask(chat, message, session));
  }
  return {{"context", chat.context()}, {"answers", answers}};
}

}  // namespace

void add_chat(CLI::App& app, Invocation& invocation) {
  const auto flags = std::make_shared<ChatFlags>();
  CLI::App* command = add_command(app, "chat",
                                  "Talk with a model through its own chat template: a line of stdin is a message, the "
                                  "answers go to stdout as they come. /reset begins a new conversation; /exit, the end "
                                  "of stdin, or Ctrl+C at the prompt ends; Ctrl+C during an answer stops the answer.",
                                  invocation);
  command->add_option("MODEL", flags->model, "Directory of a dense or packed checkpoint")->required();
  command->add_option("--system", flags->options.system, "System message, which every conversation begins with")
      ->type_name("TEXT");
  command->add_option("-m,--message", flags->messages, "Send this in place of stdin; may be given several times")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command->add_option("-n,--max-new-tokens", flags->options.max_new_tokens, "Stop an answer after so many tokens")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--context", flags->options.context,
                   fmt::format("Most tokens of a conversation; 0 = the model's context, at most {}", kDefaultContext))
      ->type_name("N")
      ->capture_default_str();
  add_sampler_options(command, flags->options.sampler);
  add_stop_option(command, flags->options.stop);
  on_run(command, invocation, [flags](Session& session) { return run(*flags, session); });
}

}  // namespace scalebits::cli
