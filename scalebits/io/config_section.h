// SPDX-License-Identifier: Apache-2.0
/// Typed access to the keys of one object of config.json, with errors that name file and key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/json.h"

namespace scalebits {

/// A null counts as absent. Refers to the document and to `where`, which must outlive it. All reading functions throw
/// FormatError.
class ConfigSection {
 public:
  /// @param prefix  of the keys in messages: "rope_scaling."
  ConfigSection(const Json& json, const std::string& where, std::string prefix = "")
      : json_(json), where_(where), prefix_(std::move(prefix)) {}

  [[nodiscard]] const Json* find(const char* key) const;
  [[nodiscard]] bool has_null(const char* key) const;
  /// A positive integer up to `max`; without a default the key must be there.
  [[nodiscard]] int64_t positive(const char* key, int64_t max, std::optional<int64_t> fallback = {}) const;
  [[nodiscard]] double positive_number(const char* key, std::optional<double> fallback = {}) const;
  /// `n` positive numbers.
  [[nodiscard]] std::vector<double> positive_numbers(const char* key, size_t n) const;
  [[nodiscard]] bool boolean(const char* key, bool fallback) const;
  [[nodiscard]] std::string text(const char* key, std::optional<std::string> fallback = {}) const;
  /// An object, or nothing.
  [[nodiscard]] const Json* object(const char* key) const;
  /// An array of at most `max` values, or nothing.
  [[nodiscard]] const Json* list(const char* key, size_t max) const;
  /// Ids below `end`: one, or a list of at most 1024.
  [[nodiscard]] std::vector<int64_t> token_ids(const char* key, int64_t end) const;

  [[noreturn]] void wrong(const char* key, std::string_view expected) const;
  /// A value as it stands in the file, shortened.
  [[nodiscard]] static std::string shown(const Json& json);
  [[nodiscard]] const std::string& where() const { return where_; }
  [[nodiscard]] const Json& json() const { return json_; }

 private:
  const Json& json_;
  const std::string& where_;
  std::string prefix_;
};

}  // namespace scalebits
