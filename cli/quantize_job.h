// SPDX-License-Identifier: Apache-2.0
/// The quantize command from end to end: calibrate, search, pack.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "scalebits/pack/compensate.h"
#include "scalebits/pack/pack.h"
#include "scalebits/search/frontier_file.h"
#include "scalebits/search/memory.h"
#include "scalebits/search/search.h"

namespace scalebits::cli {

struct QuantizeOptions {
  std::string model, output;
  double target_bpw = 0.0;
  std::string target_size, plan;
  std::optional<std::string> frontier;
  std::string block = "32x128";
  int group_size = 128;
  std::string method = "search", score, reorder = "both", quantizer = "gptq", loss = "kl";
  bool quantizer_given = false;  ///< --quantizer was there: it takes the place of a plan's
  std::string reorder_mode = "folded", tie = "none";
  int64_t iterations = 30;
  std::vector<std::string> ignore, tensor_type;
  std::optional<int> embed_bits, head_bits;
  std::string calib = "self";
  int64_t nsamples = 128, seqlen = 2048;
  uint64_t seed = 0;
  std::string stats, work, resume = "auto", max_ram, device = "cpu";
  bool dry_run = false, no_guard = false, all_experts = false;
};

/// "12.5G" -> bytes. @throws InvalidArgument naming the flag
int64_t parse_size(const std::string& text, const char* flag);

/// "FROM:TO:STEP" -> FROM, FROM + STEP, .. and TO, in bits per weight; at most 64. @throws InvalidArgument
std::vector<double> parse_frontier_range(const std::string& text);

class QuantizeJob {
 public:
  /// Opens the model and checks every option before any work is done.
  QuantizeJob(const QuantizeOptions& options, Log& log);

  void print_sizes() const;
  [[nodiscard]] Json sizes_json() const;
  /// @return the record's result, but for time and memory
  Json run();

 private:
  // cli/quantize_budget.cc
  void find_layers();
  /// Widths of embedding and head as the flags ask for them. @throws InvalidArgument
  [[nodiscard]] VocabBits asked_vocab_bits() const;
  void set_budget();
  [[nodiscard]] bool has_target() const { return !o_.target_size.empty() || o_.target_bpw != 0.0; }
  [[nodiscard]] int64_t target_bytes() const;
  void set_frontier();
  /// Replaces plan_ by the frontier's for the budget. @throws InvalidArgument without one
  void cut();
  void plan_memory();
  [[nodiscard]] Plan uniform_plan(int bits) const;
  /// That of the plan, where one is given.
  [[nodiscard]] const std::string& quantizer() const { return plan_ ? plan_->quantizer : o_.quantizer; }
  /// Sizes at the widest: headers are at their longest, so that the file can only be smaller.
  [[nodiscard]] PackedSize widest_size() const;
  /// Most that the weight files hold beside the quantized layers.
  [[nodiscard]] int64_t dense_bytes() const;
  CalibSet calibration();
  /// Counts the tokens of the gradient part for each expert, prints them and warns of experts with few.
  void count_coverage(const CalibSet& calib);
  Json run_frontier();
  /// Rounds the model with error compensation; nothing, where that is worse on held-out text than what a search found.
  /// @param heldout_kl of each group rounded for itself; becomes that of what is packed
  std::vector<PackedMatrix> compensated(const Plan& plan, const CalibSet& calib, Json& heldout_kl);
  CompensatedModel compensate_plan(const Plan& plan, const CalibSet& calib);
  [[nodiscard]] double bpw_of(int64_t bytes) const;
  static std::string gigabytes(int64_t bytes);

  // cli/quantize_search.cc
  Plan search(const CalibSet& calib, SearchResult& result);
  [[nodiscard]] Plan plan_of(const FoldedOrder& order, const FusedOrder& fused, const Widths& widths,
                             const CalibSet& calib) const;
  [[nodiscard]] std::string search_fingerprint(const CalibSet& calib) const;
  std::optional<SearchState> resume_state(const std::string& fingerprint);

  // cli/quantize_report.cc
  void print_overrides() const;
  void print_vocab() const;
  [[nodiscard]] Json vocab_json() const;
  void print_frontier(const Frontier& frontier) const;
  [[nodiscard]] Json frontier_json(const Frontier& frontier) const;
  void print_widths(const Plan& plan) const;
  [[nodiscard]] Json histogram_json(const Plan& plan) const;  ///< of every layer: blocks of 1, 2, .. 8 bits
  void print_found(const SearchResult& result) const;
  [[nodiscard]] static Json found_json(const SearchResult& result);  ///< for the plan and the record
  void print_packed(const Plan& plan, const PackedSize& size) const;

  QuantizeOptions o_;
  Log& log_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  ModelConfig config_;
  std::string fingerprint_;
  BlockSpec spec_;
  QuantizedLayers layers_;
  SearchOptions search_;
  std::optional<Plan> plan_;
  std::optional<std::pair<Widths, CompensatedModel>> best_;  ///< of the plans that the guard compared
  TokenWeights token_roots_;                                 ///< once error compensation has needed them
  std::optional<Frontier> frontier_;                         ///< that plan_ is cut from
  Json coverage_;                                            ///< null where there are no experts, or no calibration
  int64_t seqlen_ = 0;
  int64_t budget_ = 0;
  MemoryEstimate memory_;
  std::filesystem::path work_;
};

}  // namespace scalebits::cli
