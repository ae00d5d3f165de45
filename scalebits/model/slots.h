// SPDX-License-Identifier: Apache-2.0
/// The linear layers of a decoder layer, and how they are told apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "scalebits/io/hf_config.h"

namespace scalebits {

/// Kinds of linear layers, in this order everywhere.
enum class Proj : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr std::array kProjections = {Proj::kQ,    Proj::kK,  Proj::kV,   Proj::kO,
                                            Proj::kGate, Proj::kUp, Proj::kDown};

/// One linear layer of a decoder layer: its kind, and which expert's it is. A dense MLP is expert 0, alone.
class Slot {
 public:
  constexpr Slot(Proj proj, int64_t expert = 0) : proj_(proj), expert_(expert) {}  // a kind alone names one, if dense

  [[nodiscard]] constexpr Proj proj() const { return proj_; }
  [[nodiscard]] constexpr int64_t expert() const { return expert_; }
  /// Place within the layer: q k v o, then gate up down of every expert.
  [[nodiscard]] constexpr size_t index() const {
    return static_cast<size_t>(proj_) + kOfExpert * static_cast<size_t>(expert_);
  }
  constexpr bool operator==(const Slot&) const = default;

 private:
  static constexpr size_t kOfExpert = 3;
  Proj proj_;
  int64_t expert_;
};

/// Of a layer; 1 where its MLP is dense.
inline int64_t n_experts(const ModelConfig& config, int64_t layer) {
  return config.has_experts(layer) ? config.experts.n_experts : 1;
}

/// All of a layer, in order of their index.
std::vector<Slot> slots(const ModelConfig& config, int64_t layer);

/// Whether the slot is an expert's, which sees some of the tokens.
inline bool is_experts(const ModelConfig& config, int64_t layer, Slot slot) {
  return config.has_experts(layer) && slot.proj() >= Proj::kGate;
}

/// Those of the layer that multiply the same activations as `slot`, itself included, in order: q k v, or gate up. An
/// engine may compute them as one product if their columns are in one order (`--tie fused`).
std::vector<Slot> same_input(Slot slot);

const char* proj_name(Proj p);  ///< "q_proj" ...

}  // namespace scalebits
