// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/search/search.h"

namespace scalebits {

Method parse_method(std::string_view name) {
  if (name == "search") return Method::kSearch;
  if (name == "uniform") return Method::kUniform;
  if (name == "matrix") return Method::kMatrix;
  if (name == "threshold") return Method::kThreshold;
  if (name == "random") return Method::kRandom;
  fail<InvalidArgument>("--method", "got \"{}\", expected search, uniform, matrix, threshold or random", name);
}

Score parse_score(std::string_view name) {
  if (name == "exact") return Score::kExact;
  if (name == "paper") return Score::kPaper;
  if (name == "fisher") return Score::kFisher;
  fail<InvalidArgument>("--score", "got \"{}\", expected exact, paper or fisher", name);
}

UnitMoves block_moves(const BlockSensitivity& s, Score score, const BlockGrid& grid, int64_t block, int bits) {
  UnitMoves moves;
  if (bits < kMaxBits) moves.bytes_up = grid.block_bytes(block, bits + 1) - grid.block_bytes(block, bits);
  if (bits > kMinBits) moves.bytes_down = grid.block_bytes(block, bits) - grid.block_bytes(block, bits - 1);
  switch (score) {
    case Score::kExact:
      // The loss along the move to second order, curvature on the diagonal.
      moves.gain_up = -s.up - 0.5 * s.move_up;
      moves.harm_down = s.down + 0.5 * s.move_down;
      break;
    case Score::kPaper:
      // |g^T dw| ranks a block; a bit less is taken to cost what it would gain.
      moves.gain_up = moves.harm_down = std::abs(s.restore);
      break;
    case Score::kFisher:
      moves.gain_up = 0.5 * (s.err - s.err_up);
      moves.harm_down = 0.5 * (s.err_down - s.err);
      break;
  }
  return moves;
}

}  // namespace scalebits
