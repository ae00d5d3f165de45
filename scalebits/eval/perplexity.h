// SPDX-License-Identifier: Apache-2.0
/// Perplexity: exp of the mean negative log-likelihood of the predicted tokens.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/eval/windows.h"

namespace scalebits {

struct Perplexity {
  double nll = 0.0;             ///< mean, nats per predicted token
  double value = 0.0;           ///< exp(nll)
  double standard_error = 0.0;  ///< of `value`, tokens taken as independent: value * sd / sqrt(tokens - 1)
  int64_t tokens = 0;           ///< predicted
};

/// @param nll one entry per predicted token, nats; summed in order
/// @throws Error at the first that is not finite
Perplexity perplexity_of(std::span<const double> nll);

/// Runs the model over all windows, layer by layer, a group of windows at a time.
/// @throws Interrupted between layers
Perplexity measure_perplexity(const ModelWeights& weights, const WindowSet& set, Log& log);

/// Calls body(first, count) for groups of consecutive windows, large enough that loading a layer costs little beside
/// using it and small enough for progress to be seen; reports progress called `what`.
void for_each_window_group(const WindowSet& set, const char* what, Log& log,
                           const std::function<void(int64_t, int64_t)>& body);

/// What the model reads of windows first .. first + count - 1.
std::vector<Sequence> window_inputs(const WindowSet& set, int64_t first, int64_t count);

}  // namespace scalebits
