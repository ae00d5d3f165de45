// SPDX-License-Identifier: Apache-2.0
/// The choice of instruction set, and packed matrices as its kernels take them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "scalebits/format/packed.h"
#include "scalebits/kernels/kernels.h"

namespace scalebits {

/// Names of the tables that this machine can run, best first.
std::vector<std::string_view> available_kernels();
/// The table called `name`; "" is the best one.
/// @throws DeviceError listing the available ones when there is no such table or this machine cannot run it
const KernelTable& select_kernels(std::string_view name);
/// The table in use: the one named by the environment variable SCALEBITS_ISA, else the best.
/// Looked up once. @throws DeviceError as select_kernels
const KernelTable& active_kernels();

/// What the kernels take, over the memory of a view that check_packed accepted. Must not outlive either argument.
PackedPanels packed_panels(const PackedView& view, const PanelOffsets& panels);

/// Bounds of `n_parts` runs of whole panels with nearly equal bytes: part i is panels [result[i], result[i + 1]), maybe
/// empty. By bytes, not rows, because reordering makes the top panels heavy.
std::vector<int64_t> split_panels(const PanelOffsets& panels, int64_t n_parts);

}  // namespace scalebits
