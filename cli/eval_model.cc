// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_model.h"

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>

#include "scalebits/base/errors.h"

namespace scalebits::cli {

void add_arithmetic_options(CLI::App* command, EvalModelFlags& flags) {
  command->add_option("--dtype", flags.dtype, "Arithmetic of dense models: f32 or bf16 (packed ones use f32)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->type_name("NAME")
      ->capture_default_str();
  command
      ->add_option("--activations", flags.activations,
                   "Of MODEL's packed layers: f32 (exact), or rounded to int8 as generation does")
      ->check(CLI::IsMember({"f32", "int8"}))
      ->type_name("NAME")
      ->capture_default_str();
}

std::unique_ptr<ModelWeights> open_for_eval(const EvalModelFlags& flags) {
  const at::ScalarType wanted = flags.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  auto model = open_model(flags.dir, wanted, flags.activations == "int8" ? Activations::kInt8 : Activations::kFloat);
  if (model->dtype() != wanted) {
    fail<InvalidArgument>("--dtype", "got {}, expected f32: {} is packed, and packed models compute in f32.",
                          flags.dtype, flags.dir);
  }
  if (flags.activations == "int8" && model->config().quant_method.empty()) {
    fail<InvalidArgument>("--activations", "got int8, expected f32: {} is dense, and only packed layers round them.",
                          flags.dir);
  }
  return model;
}

}  // namespace scalebits::cli
