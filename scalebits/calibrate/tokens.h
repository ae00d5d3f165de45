// SPDX-License-Identifier: Apache-2.0
/// Calibration sequences: cut from text, or sampled from the model itself; split into a part for gradients and a
/// held-out part that only decides which moves are kept.
#pragma once

#include <string>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/calibrate/forward.h"
#include "scalebits/calibrate/quantized_layers.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits {

struct CalibSet {
  std::vector<Sequence> gradient, heldout;
  std::string hash;            ///< of all ids, in order, and of --all-experts
  std::string source;          ///< for the record: file name or "self"
  ColumnMoments moments = {};  ///< of the layers to be quantized, where the quantizer weighs errors
};

struct CalibOptions {
  int64_t nsamples = 128;
  int64_t seqlen = 2048;  ///< clipped to the model's context by the caller
  uint64_t seed = 0;
};

/// Windows of `seqlen` ids: documents are tokenized and joined, cut into consecutive windows (BOS first in each where
/// the tokenizer puts it there), and `nsamples` of them are drawn by the seed. A tail shorter than a window is dropped.
/// Fewer windows than asked for: all are used, with a warning.
/// @throws FormatError when the text is too short for two windows; InvalidArgument for nsamples or seqlen below 2
std::vector<Sequence> sequences_from_documents(const Tokenizer& tokenizer, const std::vector<std::string>& documents,
                                               const CalibOptions& options, const std::string& where, Log& log);

/// Sequences sampled from the model at temperature 1, from BOS (or a random id where there is none); EOS starts a new
/// document inside the sequence. Data-free calibration as in LLM-QAT (arXiv 2305.17888, section 3.1).
/// The weights are read where they lie in the mapped file when it holds bf16 or f32.
std::vector<Sequence> sample_sequences(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config,
                                       const Tokenizer& tokenizer, const CalibOptions& options, Log& log);

/// Every fourth sequence is held out (at least one of each kind).
CalibSet split_calibration(std::vector<Sequence> sequences, std::string source);

}  // namespace scalebits
