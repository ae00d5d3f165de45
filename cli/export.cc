// SPDX-License-Identifier: Apache-2.0
#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <memory>

#include "cli/command.h"
#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/pack/pack.h"

namespace scalebits::cli {
namespace {

struct ExportOptions {
  std::string model, output, format = "hf", dtype = "f32";
};

DType parse_dtype(const std::string& name) {
  return name == "f32" ? DType::kF32 : name == "f16" ? DType::kF16 : DType::kBF16;
}

Json run_export(const ExportOptions& o, Session& session) {
  if (read_hf_config(o.model).quant_method.empty()) {
    fail<Unsupported>(o.model,
                      "quantization_config: missing, expected a packed checkpoint. A dense one needs no export.");
  }
  AtomicDirectory out(o.output, /*replaceable=*/false);
  write_dense(o.model, parse_dtype(o.dtype), out.staging(), session.log);
  const int64_t bytes = Checkpoint(out.staging()).file_bytes();
  out.commit();
  print_line("written to    {}: {} bytes, {}", o.output, grouped(bytes), o.dtype);
  return {{"format", o.format}, {"dtype", o.dtype}, {"file_bytes", bytes}};
}

}  // namespace

void add_export(CLI::App& app, Invocation& invocation) {
  const auto o = std::make_shared<ExportOptions>();
  CLI::App* command = add_command(app, "export", "Write the dequantized weights for other tools", invocation);
  command->add_option("MODEL", o->model, "Directory of a packed checkpoint")->required();
  command->add_option("-o,--output", o->output, "Directory to write; must not exist or be empty")
      ->required()
      ->type_name("OUT");
  command->add_option("--format", o->format, "hf: an ordinary Hugging Face checkpoint")
      ->check(CLI::IsMember({"hf"}))
      ->type_name("NAME")
      ->capture_default_str();
  command->add_option("--dtype", o->dtype, "f32 (exact), f16 or bf16 (rounded)")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->type_name("NAME")
      ->capture_default_str();
  on_run(command, invocation, [o](Session& session) { return run_export(*o, session); });
}

}  // namespace scalebits::cli
