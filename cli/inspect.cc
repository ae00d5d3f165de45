// SPDX-License-Identifier: Apache-2.0
#include <CLI/Option.hpp>
#include <memory>

#include "cli/command.h"
#include "scalebits/base/errors.h"
#include "scalebits/report/model_report.h"

namespace scalebits::cli {
namespace {

constexpr int64_t kMapRows = 64, kMapCols = 100;

struct InspectFlags {
  std::string model, proj = "q_proj";
  int64_t layer = 0, expert = 0;
};

Proj parse_proj(const std::string& name) {
  std::vector<std::string> known;
  for (const Proj p : kProjections) {
    if (name == proj_name(p)) return p;
    known.emplace_back(proj_name(p));
  }
  fail<InvalidArgument>("--proj", "got \"{}\", expected one of {}.", name, fmt::join(known, ", "));
}

/// "2:40 3:60", in percent of the weights
std::string shares(const MatrixTotal& total) {
  std::string text;
  for (size_t b = 0; b < total.weights.size(); ++b) {
    if (total.weights[b] == 0) continue;
    const double percent = 100.0 * static_cast<double>(total.weights[b]) / static_cast<double>(total.n_weights);
    text += fmt::format("{}{}:{:.1f}%", text.empty() ? "" : "  ", b == 0 ? "dense" : std::to_string(b), percent);
  }
  return text;
}

void print_config(const ModelConfig& c, const ModelReport& report) {
  print_line("architecture  {}{}", c.architecture, report.packed ? ", packed" : ", dense");
  print_line("shape         {} layers, d_model {}, d_ff {}, {} heads, {} KV heads, head_dim {}", c.n_layers, c.d_model,
             c.d_ff, c.n_heads, c.n_kv_heads, c.head_dim);
  if (c.experts.n_experts > 0) {
    int64_t layers = 0;
    for (int64_t l = 0; l < c.n_layers; ++l) layers += c.has_experts(l) ? 1 : 0;
    print_line("experts       {} in {} layers, d_ff {}; a token goes to {}", c.experts.n_experts, layers,
               c.experts.d_ff, c.experts.n_active);
  }
  print_line("vocabulary    {}{}, context {}", c.vocab_size, c.tied_embeddings ? ", head tied to the embedding" : "",
             c.max_context);
  print_line("parameters    {}", grouped(report.parameters));
  print_line("bytes         {} in files, {} in tensors", grouped(report.file_bytes), grouped(report.tensor_bytes));
  for (const auto& [dtype, bytes] : report.dtype_bytes) print_line("  {:<11} {}", dtype, grouped(bytes));
  print_line("file bits     {:.4f} per parameter",
             8.0 * static_cast<double>(report.file_bytes) / static_cast<double>(report.parameters));
}

/// One line for each vocabulary matrix, which no bits per weight of the linear layers count.
void print_vocab(const ModelConfig& c, const ModelReport& report) {
  for (const MatrixReport& m : report.vocab) {
    MatrixTotal total;
    total.add(m);
    const std::string widths =
        m.dense_bytes > 0 ? "dense"
                          : fmt::format("{:g} bits, {:.4f} with everything counted", total.code_bits(), total.bpw());
    print_line("{:<13} {} bytes: {}{}", m.name == kHeadMatrix ? "head" : "embedding", grouped(m.bytes()), widths,
               c.tied_embeddings ? "; it is also the head" : "");
  }
}

void print_packed(const PackedConfig& p, const ModelReport& report, int64_t n_layers) {
  const MatrixTotal total = report.total();
  MatrixReport parts;
  for (const MatrixReport& m : report.matrices) {
    parts.code_bytes += m.code_bytes;
    parts.scale_bytes += m.scale_bytes;
    parts.zero_bytes += m.zero_bytes;
    parts.map_bytes += m.map_bytes;
    parts.perm_bytes += m.perm_bytes;
    parts.dense_bytes += m.dense_bytes;
  }
  print_line(
      "recipe        method {}, quantizer {}, reorder {} {}{}, blocks {}x{}, groups of {}, seed {}, calibration {}",
      p.method, p.quantizer, p.reorder, p.reorder_mode, p.tie == "none" ? "" : ", tied", p.spec.rows, p.spec.cols,
      p.spec.group_size, p.seed, p.calib_hash.empty() ? "none" : p.calib_hash);
  print_line("matrices      {:.4f} bits per weight with everything counted, {:.4f} in the codes alone", total.bpw(),
             total.code_bits());
  print_line("  codes {}, scales {}, zeros {}, width map {}, permutations {}, dense {} bytes",
             grouped(parts.code_bytes), grouped(parts.scale_bytes), grouped(parts.zero_bytes), grouped(parts.map_bytes),
             grouped(parts.perm_bytes), grouped(parts.dense_bytes));
  print_line("");
  print_line("{:<10} {:>7}  share of weights by bits", "", "bpw");
  print_line("{:<10} {:7.4f}  {}", "all", total.bpw(), shares(total));
  for (const Proj proj : kProjections) {
    print_line("{:<10} {:7.4f}  {}", proj_name(proj), report.total(proj).bpw(), shares(report.total(proj)));
  }
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    print_line("{:<10} {:7.4f}  {}", fmt::format("layer {}", layer), report.total(layer).bpw(),
               shares(report.total(layer)));
    for (const auto& [expert, total] : report.experts(layer)) {
      print_line("{:>10} {:7.4f}  {}", fmt::format("expert {}", expert), total.bpw(), shares(total));
    }
  }
}

void print_map(const PackedWeights& model, int64_t layer, Slot slot) {
  const std::string name = linear_name(model.config(), layer, slot);
  print_line("");
  if (!model.is_packed(layer, slot)) {
    print_line("{} is stored dense", name);
    return;
  }
  const PackedView view = model.view(layer, slot);
  const bool shrunk = view.grid.row_blocks() > kMapRows || view.grid.col_blocks() > kMapCols;
  print_line("{}: bits of its {} x {} blocks{}", name, view.grid.row_blocks(), view.grid.col_blocks(),
             shrunk ? ", shrunk: a digit is the mean of several" : "");
  for (const std::string& line : block_map(view.grid, view.bits, kMapRows, kMapCols)) print_line("{}", line);
}

Json run(const InspectFlags& flags) {
  const auto model = open_model(flags.model);
  const ModelConfig& config = model->config();
  const Proj p = parse_proj(flags.proj);
  if (flags.layer < 0 || flags.layer >= config.n_layers) {
    fail<InvalidArgument>("--layer", "got {}, expected 0..{}.", flags.layer, config.n_layers - 1);
  }
  // Attention, and a dense MLP, are of no expert but 0.
  const int64_t experts = p >= Proj::kGate ? n_experts(config, flags.layer) : 1;
  if (flags.expert < 0 || flags.expert >= experts) {
    fail<InvalidArgument>("--expert", "got {}, expected 0..{} for {} of layer {}.", flags.expert, experts - 1,
                          proj_name(p), flags.layer);
  }
  const ModelReport report = report_model(*model);
  Json json = to_json(report, config);
  print_config(config, report);
  print_vocab(config, report);
  if (const auto* packed = dynamic_cast<const PackedWeights*>(model.get())) {
    const PackedConfig& recipe = packed->packed_config();
    print_packed(recipe, report, config.n_layers);
    print_map(*packed, flags.layer, {p, flags.expert});
    json["recipe"] = {{"method", recipe.method},
                      {"quantizer", recipe.quantizer},
                      {"reorder", recipe.reorder},
                      {"reorder_mode", recipe.reorder_mode},
                      {"tie", recipe.tie},
                      {"block", {recipe.spec.rows, recipe.spec.cols}},
                      {"group_size", recipe.spec.group_size},
                      {"seed", recipe.seed},
                      {"calib_hash", recipe.calib_hash}};
  }
  return json;
}

}  // namespace

void add_inspect(CLI::App& app, Invocation& invocation) {
  const auto flags = std::make_shared<InspectFlags>();
  CLI::App* command = add_command(
      app, "inspect", "Show what is in a model: shapes, bytes, and where the bits of a packed one are", invocation);
  command->add_option("MODEL", flags->model, "Directory of a dense or packed checkpoint")->required();
  command->add_option("--layer", flags->layer, "Layer of the matrix whose blocks are drawn, from 0")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--proj", flags->proj,
                   "Which of its matrices: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
                   "down_proj")
      ->type_name("NAME")
      ->capture_default_str();
  command->add_option("--expert", flags->expert, "Which expert's, from 0, in a mixture of experts")
      ->type_name("N")
      ->capture_default_str();
  on_run(command, invocation, [flags](Session&) { return run(*flags); });
}

}  // namespace scalebits::cli
