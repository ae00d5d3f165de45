// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/quantized_layers.h"

#include <algorithm>
#include <regex>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

std::regex compile(const char* flag, const std::string& pattern) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error& error) {
    fail<InvalidArgument>(flag, "regular expression \"{}\": {}", pattern, error.what());
  }
}

/// Rules as regular expressions, and whether each was found in any name.
class TypeRules {
 public:
  explicit TypeRules(const std::vector<TypeRule>& rules) : rules_(rules), found_(rules.size(), false) {
    for (const TypeRule& rule : rules) patterns_.push_back(compile("--tensor-type", rule.pattern));
  }

  /// The last rule found in the name, or nullptr.
  const TypeRule* of(const std::string& name) {
    const TypeRule* last = nullptr;
    for (size_t i = 0; i < rules_.size(); ++i) {
      if (!std::regex_search(name, patterns_[i])) continue;
      found_[i] = true;
      last = &rules_[i];
    }
    return last;
  }

  void check_all_found(const ModelConfig& config) const {
    for (size_t i = 0; i < rules_.size(); ++i) {
      if (found_[i]) continue;
      fail<InvalidArgument>("--tensor-type",
                            "regular expression \"{}\": got no linear layer, expected at least one, such as {}.",
                            rules_[i].pattern, linear_name(config, 0, Proj::kDown));
    }
  }

 private:
  const std::vector<TypeRule>& rules_;
  std::vector<std::regex> patterns_;
  std::vector<bool> found_;
};

}  // namespace

TypeRule parse_type_rule(std::string_view text) {
  // The last '=': an expression may hold one ((?=x)), a width cannot.
  const size_t at = text.rfind('=');
  if (at != std::string_view::npos && at > 0) {
    const std::string_view bits = text.substr(at + 1);
    const std::string pattern(text.substr(0, at));
    if (bits == "16" || bits == "none") return {pattern, 0};
    if (bits.size() == 1 && bits[0] >= '0' + kMinBits && bits[0] <= '0' + kMaxBits) return {pattern, bits[0] - '0'};
  }
  fail<InvalidArgument>("--tensor-type",
                        "got \"{}\", expected REGEX=BITS with BITS {} to {}, or 16 or none to leave dense, for example "
                        "down_proj=5.",
                        text, kMinBits, kMaxBits);
}

QuantizedLayers find_quantized_layers(const ModelConfig& config, BlockSpec spec, const std::vector<std::string>& ignore,
                                      const std::vector<TypeRule>& rules) {
  std::vector<std::regex> ignored;
  for (const std::string& pattern : ignore) ignored.push_back(compile("--ignore", pattern));
  TypeRules types(rules);
  QuantizedLayers layers;
  for (int64_t l = 0; l < config.n_layers; ++l) {
    for (const Slot slot : slots(config, l)) {
      const std::string name = linear_name(config, l, slot);
      const TypeRule* rule = types.of(name);
      const auto matches = [&](const std::regex& r) { return std::regex_search(name, r); };
      if (std::any_of(ignored.begin(), ignored.end(), matches) || (rule != nullptr && rule->bits == 0)) continue;
      const LinearShape shape = linear_shape(config, l, slot);
      const int fixed_bits = rule != nullptr ? rule->bits : 0;
      layers.items.push_back({name, l, slot, BlockGrid(shape.out_features, shape.in_features, spec), fixed_bits});
    }
  }
  types.check_all_found(config);
  if (layers.items.empty()) {
    fail<InvalidArgument>(rules.empty() ? "--ignore" : "--ignore, --tensor-type",
                          "got patterns that match every linear layer, expected one left to quantize");
  }
  return layers;
}

void reserve_orders(QuantizedLayers& layers, bool rows, bool cols, bool tie) {
  const QuantizedLayers::Item* owner = nullptr;
  for (QuantizedLayers::Item& item : layers.items) {
    if (rows) item.order.rows = identity_permutation(item.grid.out_features());
    if (!cols) continue;
    item.order.cols = identity_permutation(item.grid.in_features());
    item.shares_cols =
        tie && owner != nullptr && owner->layer == item.layer && same_input(owner->slot) == same_input(item.slot);
    if (!item.shares_cols) owner = &item;
  }
}

QuantizedLayers with_orders(QuantizedLayers layers, const FusedOrder& orders) {
  if (orders.empty()) return layers;
  SCALEBITS_CHECK(orders.size() == layers.items.size());
  for (size_t i = 0; i < orders.size(); ++i) {
    RowColOrder& order = layers.items[i].order;
    SCALEBITS_CHECK(orders[i].rows.size() == order.rows.size() && orders[i].cols.size() == order.cols.size());
    order = orders[i];
  }
  return layers;
}

}  // namespace scalebits
