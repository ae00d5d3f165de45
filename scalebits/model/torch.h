// SPDX-License-Identifier: Apache-2.0
/// The parts of libtorch that the project uses, in one header that is compiled once; and how its threads are tamed.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/csrc/autograd/variable.h>

namespace scalebits {

/// Makes libtorch and oneDNN single-threaded in every thread of the pool and in the caller. All parallelism
/// is parallel_for over sequences, windows or blocks, so results do not depend on the number of threads. Idempotent.
void init_torch();

}  // namespace scalebits
