// SPDX-License-Identifier: Apache-2.0
#include <CLI/Option.hpp>
#include <charconv>
#include <iostream>
#include <iterator>
#include <memory>

#include "cli/command.h"
#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits::cli {
namespace {

struct TokenizeFlags {
  std::string model, file, separator;
  bool decode = false, bos = false, plain = false;
};

std::string read_input(const std::string& file) {
  if (!file.empty() && file != "-") return read_text_file(file);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

/// Pieces between the separators, as they stand; all of the text without one.
std::vector<std::string_view> pieces(std::string_view text, std::string_view separator) {
  if (separator.empty()) return {text};
  std::vector<std::string_view> list;
  for (;;) {
    const size_t end = text.find(separator);
    list.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return list;
    text.remove_prefix(end + separator.size());
  }
}

Json encode(const TokenizeFlags& flags, const Tokenizer& tokenizer, std::string_view text) {
  int64_t tokens = 0, count = 0;
  for (const std::string_view piece : pieces(text, flags.separator)) {
    std::vector<TokenId> ids = tokenizer.encode(piece, !flags.plain);
    if (flags.bos && tokenizer.add_bos() && tokenizer.bos()) ids.insert(ids.begin(), *tokenizer.bos());
    print_line("{}", fmt::join(ids, " "));
    tokens += static_cast<int64_t>(ids.size());
    ++count;
  }
  return {{"texts", count}, {"tokens", tokens}};
}

std::vector<TokenId> parse_ids(std::string_view line, const std::string& where) {
  constexpr std::string_view kBetween = " \t\r,[]";
  std::vector<TokenId> ids;
  for (;;) {
    const size_t begin = line.find_first_not_of(kBetween);
    if (begin == std::string_view::npos) return ids;
    line.remove_prefix(begin);
    const std::string_view word = line.substr(0, line.find_first_of(kBetween));
    TokenId id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0) {
      fail<FormatError>(where, "token id: got {}, expected a whole number from 0 to 2147483647.", quote(word));
    }
    ids.push_back(id);
    line.remove_prefix(word.size());
  }
}

Json decode(const TokenizeFlags& flags, const Tokenizer& tokenizer, std::string_view text) {
  int64_t tokens = 0, count = 0;
  if (text.ends_with('\n')) text.remove_suffix(1);
  for (const std::string_view line : pieces(text, "\n")) {
    ++count;
    const auto ids = parse_ids(line, fmt::format("{}:{}", flags.file.empty() ? "stdin" : flags.file, count));
    tokens += static_cast<int64_t>(ids.size());
    const std::string decoded = tokenizer.decode(ids, /*skip_special=*/false);
    std::fwrite(decoded.data(), 1, decoded.size(), stdout);
    const std::string_view end = flags.separator.empty() ? std::string_view("\n") : std::string_view(flags.separator);
    std::fwrite(end.data(), 1, end.size(), stdout);
  }
  return {{"texts", count}, {"tokens", tokens}};
}

}  // namespace

void add_tokenize(CLI::App& app, Invocation& invocation) {
  const auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* command =
      add_command(app, "tokenize", "Turn text into token ids, one line for each text, or back", invocation);
  command
      ->add_option("MODEL", flags->model,
                   "Directory with the files of a tokenizer (tokenizer.json, or vocab.json and merges.txt), or a GGUF "
                   "file")
      ->required();
  command->add_option("--file", flags->file, "Input; - = stdin (default)")->type_name("FILE");
  command
      ->add_option("--separator", flags->separator,
                   "Each piece between these strings is a text of its own (--decode: put behind each text)")
      ->type_name("TEXT");
  command->add_flag("--decode", flags->decode, "The input is lines of ids; print the texts");
  command->add_flag("--bos", flags->bos, "Put BOS before each text where the tokenizer's policy says so");
  command->add_flag("--plain", flags->plain, "Special tokens written in the text are ordinary text");
  on_run(command, invocation, [flags](Session&) {
    const Tokenizer tokenizer(flags->model);
    const std::string text = read_input(flags->file);
    return flags->decode ? decode(*flags, tokenizer, text) : encode(*flags, tokenizer, text);
  });
}

}  // namespace scalebits::cli
