// SPDX-License-Identifier: Apache-2.0
/// Which linear layers of a model are quantized, and which of them at a width that is given.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "scalebits/format/plan.h"
#include "scalebits/model/weights.h"

namespace scalebits {

/// In model order; and how wide the vocabulary matrices are beside them.
struct QuantizedLayers {
  struct Item {
    std::string name;
    int64_t layer = 0;
    Proj proj = Proj::kQ;
    BlockGrid grid;
    int fixed_bits = 0;  ///< width of all its blocks, which no search may move; 0 = free

    /// Its width where all free blocks have `bits`.
    [[nodiscard]] int bits_or_fixed(int bits) const { return fixed_bits != 0 ? fixed_bits : bits; }
  };
  std::vector<Item> items;
  VocabBits vocab;
};

/// Width of all linear layers whose name a regular expression is found in.
struct TypeRule {
  std::string pattern;
  int bits = 0;  ///< 1..8; 0 = left dense
};

/// "REGEX=BITS", BITS 1..8, or 16 or "none" for dense. @throws InvalidArgument
TypeRule parse_type_rule(std::string_view text);

/// All linear layers of the decoder, but for those whose name a regular expression of `ignore` is found in, and those
/// that the last rule found in their name leaves dense.
/// @throws InvalidArgument when an expression is malformed, a rule's is found nowhere, or nothing is left
QuantizedLayers find_quantized_layers(const ModelConfig& config, BlockSpec spec,
                                      const std::vector<std::string>& ignore = {},
                                      const std::vector<TypeRule>& rules = {});

}  // namespace scalebits
