// SPDX-License-Identifier: Apache-2.0
/// Sensitivities as a file (safetensors, f64), so that other budgets and other tools can use them again.
#pragma once

#include <optional>

#include "scalebits/calibrate/sensitivity.h"

namespace scalebits {

/// Tensors `<linear>.blocks` [n_blocks, 9] in the order of BlockSensitivity's fields, `<linear>.row_score`,
/// `.col_score`, `.row_fisher`, `.col_fisher`. @param fingerprint of model, calibration, widths and loss
void save_stats(const std::filesystem::path& path, const PassResult& result, const QuantizedLayers& layers,
                const std::string& fingerprint);

/// Nothing when the file is absent or has another fingerprint.
/// @throws FormatError when a tensor is missing or has the wrong shape
std::optional<PassResult> load_stats(const std::filesystem::path& path, const QuantizedLayers& layers,
                                     const std::string& fingerprint);

}  // namespace scalebits
