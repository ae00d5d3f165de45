// SPDX-License-Identifier: Apache-2.0
/// Reads one component of tokenizer.json (normalizer, pre_tokenizer, decoder, ...) with errors that name its key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/base/errors.h"
#include "scalebits/io/json.h"

namespace scalebits {

/// A JSON value together with its place in the file. Refers to the document, which must outlive it.
class Component {
 public:
  Component(const Json& json, std::string file, std::string path)
      : json_(&json), file_(std::move(file)), path_(std::move(path)) {}

  [[nodiscard]] const Json& json() const { return *json_; }
  [[nodiscard]] const std::string& file() const { return file_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool is_null() const { return json_->is_null(); }
  [[nodiscard]] bool is_text() const { return json_->is_string(); }
  [[nodiscard]] bool is_object() const { return json_->is_object(); }

  /// The value itself. @throws FormatError when it is of another kind
  [[nodiscard]] const std::string& text() const;
  [[nodiscard]] bool flag() const;
  [[nodiscard]] int64_t integer(int64_t lowest, int64_t highest) const;
  /// Elements of an array of at most `max_count`.
  [[nodiscard]] std::vector<Component> items(size_t max_count = 1024) const;

  /// A member; null when it is missing. @throws FormatError when this is not an object
  [[nodiscard]] Component child(std::string_view key) const;
  /// A boolean member; `absent` when it is missing or null, an error when there is no such default.
  [[nodiscard]] bool flag(std::string_view key, std::optional<bool> absent = std::nullopt) const;
  [[nodiscard]] const std::string& text(std::string_view key) const { return child(key).text(); }
  /// The member `type`, which names the component.
  [[nodiscard]] const std::string& type() const { return text("type"); }

  /// @throws FormatError `[file] path: got <what is there>, expected <expected>.`
  [[noreturn]] void malformed(std::string_view expected) const;
  /// @throws Unsupported `[file] path: got <got>, expected <known>.`
  [[noreturn]] void unsupported(std::string_view got, std::string_view known) const;

 private:
  const Json* json_;
  std::string file_, path_;
};

}  // namespace scalebits
