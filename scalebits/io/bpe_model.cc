// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/bpe_model.h"

#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr size_t kMaxMerges = 1 << 24;

void refuse_text(const Component& model, std::string_view key) {
  const Component option = model.child(key);
  if (!option.is_null() && !option.text().empty()) option.unsupported(option.text(), "none");
}

void read_merges(const Component& merges, BpeModel& model) {
  if (!merges.json().is_array()) merges.malformed("an array of pairs");
  if (merges.json().size() > kMaxMerges) merges.malformed(fmt::format("at most {} merges", kMaxMerges));
  model.merges.reserve(merges.json().size());
  for (const Json& merge : merges.json()) {
    const auto here = [&] {
      return Component(merge, model.file, fmt::format("{}[{}]", merges.path(), model.merges.size()));
    };
    if (merge.is_string()) {
      const std::string_view text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;  // the first line of a merges.txt
      const size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        here().malformed("two tokens with a space between");
      }
      model.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else {
      if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) {
        here().malformed("a pair of tokens");
      }
      model.merges.emplace_back(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    }
  }
}

}  // namespace

Vocabulary read_vocabulary(const Component& vocab) {
  if (!vocab.is_object() || vocab.json().empty()) vocab.malformed("an object of tokens and ids");
  const auto& members = vocab.json().get_ref<const Json::object_t&>();
  if (members.size() > static_cast<size_t>(kMaxTokenId)) {
    vocab.malformed(fmt::format("at most {} tokens", kMaxTokenId));
  }
  std::vector<Vocabulary::Entry> entries;
  entries.reserve(members.size());
  for (const auto& [text, value] : members) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)) {
      Component(value, vocab.file(), fmt::format("{}[{}]", vocab.path(), quote(text)))
          .malformed(fmt::format("an integer in [0, {}]", kMaxTokenId));
    }
    entries.emplace_back(text, value.get<TokenId>());
  }
  return {entries, vocab.file(), vocab.path()};
}

BpeModel read_bpe_model(const Component& model, bool byte_level) {
  BpeModel result;
  result.file = model.file();
  result.byte_level = byte_level;
  const Component type = model.child("type");  // files of the first releases leave it out
  if (!type.is_null() && type.text() != "BPE") type.unsupported(type.text(), "BPE or Unigram");
  refuse_text(model, "continuing_subword_prefix");
  refuse_text(model, "end_of_word_suffix");
  const Component dropout = model.child("dropout");
  if (!dropout.is_null() && dropout.json() != 0.0) dropout.unsupported(dropout.json().dump(), "none");
  result.byte_fallback = model.flag("byte_fallback", false);
  result.fuse_unknown = model.flag("fuse_unk", false);
  result.ignore_merges = model.flag("ignore_merges", false);
  const Component unknown = model.child("unk_token");
  if (!unknown.is_null()) result.unknown = unknown.text();
  result.vocabulary = read_vocabulary(model.child("vocab"));
  read_merges(model.child("merges"), result);
  return result;
}

}  // namespace scalebits
