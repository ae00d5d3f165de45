// SPDX-License-Identifier: Apache-2.0
/// From a dense model, calibration sequences and a byte budget to a plan.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "scalebits/calibrate/sensitivity.h"
#include "scalebits/calibrate/tokens.h"
#include "scalebits/search/budget.h"
#include "scalebits/search/certificate.h"
#include "scalebits/search/reorder.h"
#include "scalebits/search/select.h"

namespace scalebits {

enum class Method { kSearch, kUniform, kMatrix, kThreshold, kRandom };
/// How the moves of a block are judged (block_moves). kFisher: bits are only spent, on the greatest expected gains.
enum class Score { kExact, kPaper, kFisher };
/// @throws InvalidArgument listing the known names
Method parse_method(std::string_view name);
Score parse_score(std::string_view name);

struct SearchOptions {
  Method method = Method::kSearch;
  Score score = Score::kExact;
  bool compensated = false;  ///< errors will be fed back (quantizer gptq); score kFisher takes what is then left
  LossKind loss = LossKind::kKl;
  Reorder reorder = Reorder::kBoth;
  ReorderMode reorder_mode = ReorderMode::kFolded;  ///< fused: the layers' orders are reserved
  int64_t max_iterations = 30;
  int64_t slice = 24;        ///< sequences for one gradient
  int64_t fisher_slice = 8;  ///< of these, for the curvature
  uint64_t seed = 0;
  bool guard = true;  ///< method search: compare with uniform widths and one width per matrix, and give the best
  /// For the guard: held-out loss of the model as it will be written, where that is not each group rounded for itself.
  std::function<double(const FoldedOrder&, const FusedOrder&, const Widths&)> written_loss = {};
  /// Method search: find widths for all of these budgets, rising from the one that is asked for (search/frontier.h);
  /// empty = for that one. No guard then.
  std::vector<int64_t> frontier = {};
  /// Sensitivities at the starting widths are read from here when the fingerprint fits, else measured and written here;
  /// empty = neither.
  std::filesystem::path stats = {};
  std::string stats_fingerprint = {};
  PassOptions pass = {};
};

/// What happened in one iteration; the record and the plan keep them all.
struct TraceEntry {
  int64_t iteration = 0;
  double gradient_loss = 0;  ///< on the gradient slice before the moves
  double heldout_before = 0, heldout_after = 0;
  int64_t moves_up = 0, moves_down = 0;
  double predicted_gain = 0;
  bool accepted = false;
  int64_t bytes = 0;  ///< of the widths kept
  double seconds = 0;
};

/// Where a batched greedy stands between two iterations.
struct GreedyState {
  Widths widths;
  double heldout = 0;
  int64_t batch = 0;  ///< most up moves at once
  int64_t iteration = 0;
  int64_t fresh_gradient = 0;  ///< iteration whose gradient slice belongs to the current widths
  int64_t stalls = 0;          ///< gradient slices in a row that led to no kept batch
  bool finished = false;
  std::vector<TraceEntry> trace;
};

/// Where the comparison with simpler plans stands; begun once the search itself is over.
struct GuardState {
  std::optional<double> uniform;      ///< held-out loss
  std::optional<GreedyState> matrix;  ///< the search with one width per matrix
  std::vector<double> written;        ///< SearchOptions::written_loss of search, uniform, matrix, as far as known
  double seconds = 0;                 ///< spent so far
};

/// The widths found for one of several budgets.
struct FrontierPoint {
  int64_t budget_bytes = 0, bytes = 0;
  Widths widths;
  /// What order to take the moves from the point below in: 8 for the eighth of the moves up that gain most per byte,
  /// and for that of the moves down that harm least, to 1; 1 in blocks that stay. Empty in the first point.
  Widths rank;
  double heldout_loss = 0, heldout_kl = 0;
  Certificate certificate;
  std::vector<TraceEntry> trace;
};

/// Enough to go on from.
struct SearchState : GreedyState {
  FoldedOrder order;
  FusedOrder fused = {};  ///< empty in mode folded
  std::optional<GuardState> guard = {};
  std::vector<FrontierPoint> frontier = {};  ///< finished ones; the widths above are on the way to the next
};

/// A plan that the guard compared.
struct GuardPlan {
  const char* method = "";
  double heldout_loss = 0;  ///< each group rounded for itself
  int64_t bytes = 0;
  std::optional<double> written_loss = {};  ///< as it will be written, where that differs
};
struct GuardResult {
  std::vector<GuardPlan> plans;  ///< search, uniform, matrix
  size_t written = 0;            ///< index of the best
  double seconds = 0;
};

struct SearchResult {
  FoldedOrder order;
  FusedOrder fused;
  Widths widths;
  double heldout_loss = 0;  ///< nats per position, of the loss searched with
  double heldout_kl = 0;    ///< nats per position, from the full-precision model
  int64_t bytes = 0;
  std::vector<TraceEntry> trace;
  std::optional<GuardResult> guard;        ///< method search, unless it was not asked for
  std::optional<Certificate> certificate;  ///< of these widths, by the score searched with; methods search and matrix
  std::vector<FrontierPoint> frontier;     ///< as SearchOptions::frontier; the rest is then that of the first
};

/// The search. Calls `save` after the reordering and after every iteration.
/// @param resume  a state that `save` got for the same inputs, or nullptr
/// @param layers  in mode fused with their orders reserved (reserve_orders)
/// @throws InvalidArgument for an unreachable budget; Interrupted after a stop request
SearchResult search_plan(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config,
                         const QuantizedLayers& layers, const GroupQuantizer& quantizer, const CalibSet& calib,
                         int64_t budget_bytes, const SearchOptions& options, Log& log,
                         const SearchState* resume = nullptr, const std::function<void(const SearchState&)>& save = {});

/// The width that every free block has before the search for a budget. The widest that fits everywhere; by expected
/// gains, where bits are only spent, one less so that blocks can stay below it, but not less than 2 for that: beginning
/// at 1 bit takes twice the passes and gains nothing (bench/log/2026-11-22-ablations.md).
int start_bits(const QuantizedLayers& layers, int64_t budget_bytes, Score score);

/// Predicted gain of one more bit and harm of one bit less for a block.
UnitMoves block_moves(const BlockSensitivity& s, Score score, const BlockGrid& grid, int64_t block, int bits);

}  // namespace scalebits
