// SPDX-License-Identifier: Apache-2.0
/// Do the scores rank moves as the loss does? For blocks drawn at random at a uniform width, the true change of the
/// loss by one bit more and by one bit less of that block alone, against what each score predicts. Prints JSON lines,
/// one for each block; tools/ablate/score_rank runs it and computes the correlations.
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <cstring>

#include "scalebits/base/errors.h"
#include "scalebits/base/log.h"
#include "scalebits/base/rng.h"
#include "scalebits/calibrate/column_moments.h"
#include "scalebits/io/text.h"
#include "scalebits/search/search.h"

namespace scalebits {
namespace {

constexpr struct {
  const char* name;
  Score score;
} kScores[] = {{"exact", Score::kExact}, {"paper", Score::kPaper}, {"fisher", Score::kFisher}};

int64_t number(const char* text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
  if (error != std::errc() || *end != '\0') fail<InvalidArgument>("score_rank", "got {}, expected a number", text);
  return value;
}

/// Blocks without repetition, all equally likely, in model order.
std::vector<BlockRef> draw_blocks(const QuantizedLayers& layers, size_t n) {
  std::vector<BlockRef> blocks = all_blocks(layers), drawn;
  Rng rng(7);
  for (size_t i = 0; i < blocks.size() && drawn.size() < n; ++i) {
    if (rng.below(blocks.size() - i) < n - drawn.size()) drawn.push_back(blocks[i]);
  }
  return drawn;
}

class Ranking {
 public:
  Ranking(const std::string& model, const std::string& text, BlockSpec spec, int64_t sequences, int64_t length)
      : config_(read_hf_config(model)),
        dense_(std::make_shared<DenseWeights>(open_checkpoint(model, config_), config_)),
        layers_(find_quantized_layers(config_, spec)),
        sequences_(sequences_from_documents(Tokenizer(model), read_documents(text), {sequences, length, 0}, text,
                                            silent_log())),
        weights_(dense_, layers_, group_quantizer("clip"), column_moments(*dense_, layers_, {sequences_, {}, "", ""})) {
    reference_ = reference_hidden(*dense_, sequences_);
  }

  void print(int bits, size_t n_blocks) {
    Widths widths = uniform_widths(layers_, bits);
    for (size_t i = 0; i < widths.size(); ++i) weights_.set_bits(i, widths[i]);
    const PassResult scores =
        sensitivity_pass(weights_, sequences_, reference_, {}, static_cast<int64_t>(sequences_.size()));
    const PassResult expected =
        gradient_pass(weights_, sequences_, {}, {.loss = LossKind::kSampled, .full_precision = true});
    const double before = loss();
    for (const BlockRef& ref : draw_blocks(layers_, n_blocks)) {
      std::string line;
      for (const int by : {1, -1}) {
        std::vector<uint8_t> moved = widths[ref.item];
        moved[static_cast<size_t>(ref.block)] = static_cast<uint8_t>(bits + by);
        weights_.set_bits(ref.item, moved);
        line += fmt::format(", \"{}\": {}", by > 0 ? "gain" : "harm", by > 0 ? before - loss() : loss() - before);
      }
      weights_.set_bits(ref.item, widths[ref.item]);
      for (const auto& [name, score] : kScores) {
        const PassResult& from = score == Score::kFisher ? expected : scores;  // as the search takes them
        const UnitMoves m = block_moves(from.linears[ref.item].blocks[static_cast<size_t>(ref.block)], score,
                                        layers_.items[ref.item].grid, ref.block, bits);
        line += fmt::format(", \"{0}_gain\": {1}, \"{0}_harm\": {2}", name, m.gain_up, m.harm_down);
      }
      fmt::print("{{\"bits\": {}, \"linear\": \"{}\", \"block\": {}{}}}\n", bits, layers_.items[ref.item].name,
                 ref.block, line);
      std::fflush(stdout);
    }
  }

 private:
  double loss() { return mean_loss(LossKind::kKl, weights_, sequences_, reference_); }

  ModelConfig config_;
  std::shared_ptr<const DenseWeights> dense_;
  QuantizedLayers layers_;
  std::vector<Sequence> sequences_;
  QuantizedWeights weights_;
  std::vector<at::Tensor> reference_;
};

}  // namespace
}  // namespace scalebits

int main(int argc, char** argv) {
  using namespace scalebits;
  if (argc != 7) {
    fmt::print(stderr, "score_rank MODEL TEXT BITS BLOCKS SEQUENCES LENGTH\n");
    return 2;
  }
  try {
    const BlockSpec spec{.rows = 32, .cols = 128, .group_size = 128};
    Ranking(argv[1], argv[2], spec, number(argv[5]), number(argv[6]))
        .print(static_cast<int>(number(argv[3])), static_cast<size_t>(number(argv[4])));
  } catch (const Error& error) {
    fmt::print(stderr, "score_rank: error: {}\n", error.what());
    return 1;
  }
  return 0;
}
