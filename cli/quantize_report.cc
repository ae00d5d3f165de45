// SPDX-License-Identifier: Apache-2.0
/// What quantize prints and records.
#include <algorithm>
#include <array>
#include <map>

#include "cli/command.h"
#include "cli/quantize_job.h"
#include "scalebits/calibrate/coverage.h"
#include "scalebits/search/state_file.h"

namespace scalebits::cli {
namespace {

/// Blocks of one layer by width; [0] is not used.
using Histogram = std::array<int64_t, kMaxBits + 1>;

std::map<int64_t, Histogram> histogram_by_layer(const QuantizedLayers& layers, const Plan& plan) {
  std::map<int64_t, Histogram> histogram;
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    for (const uint8_t bits : plan.linears[i].bits) ++histogram[layers.items[i].layer][bits];
  }
  return histogram;
}

}  // namespace

std::string QuantizeJob::gigabytes(int64_t bytes) {
  return bytes < 100'000'000 ? fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6)
                             : fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

double QuantizeJob::bpw_of(int64_t bytes) const {
  return 8.0 * static_cast<double>(bytes) / static_cast<double>(n_weights(layers_));
}

void QuantizeJob::print_sizes() const {
  const ReachableBytes reach = reachable_bytes(layers_);
  int64_t padding = 0;
  for (const auto& item : layers_.items) {
    int64_t stored = 0;
    for (int64_t b = 0; b < item.grid.n_blocks(); ++b) stored += item.grid.code_bytes(b, kMaxBits);
    padding += stored - item.grid.n_weights();
  }
  print_line("model         {}: {} linear layers, {} weights, {} on disk", config_.architecture, layers_.items.size(),
             grouped(n_weights(layers_)), gigabytes(checkpoint_->file_bytes()));
  print_overrides();
  print_vocab();
  print_line("blocks        {} x {}, groups of {}; {:.3f} % of the codes are padding", spec_.rows, spec_.cols,
             spec_.group_size, 100.0 * static_cast<double>(padding) / static_cast<double>(n_weights(layers_)));
  if (const int64_t bytes = order_bytes(layers_); bytes > 0) {
    print_line("permutations  {} bytes, {:.4f} bpw, in the budget", grouped(bytes), bpw_of(bytes));
  }
  print_line("reachable     {:.4f} to {:.4f} bpw", bpw_of(reach.least), bpw_of(reach.most));
  const int64_t other = dense_bytes();
  if (!search_.frontier.empty()) {
    print_line("frontier      {} budgets from {:.4f} to {:.4f} bpw", search_.frontier.size(),
               bpw_of(search_.frontier.front()), bpw_of(search_.frontier.back()));
  } else {
    print_line("budget        {:.4f} bpw: {} bytes for the linear layers, at most {} for the weight files",
               bpw_of(budget_), grouped(budget_), gigabytes(budget_ + other));
  }
  if (frontier_) {
    print_line("cut           {:.4f} bpw: {} bytes, {:.3f} % of the budget", plan_->bpw(), grouped(plan_->bytes()),
               100.0 * static_cast<double>(plan_->bytes()) / static_cast<double>(budget_));
  }
  print_line("memory        about {} at the peak, beside the mapped model file", gigabytes(memory_.total()));
  std::fflush(stdout);
}

void QuantizeJob::print_overrides() const {
  std::map<int, int> fixed;
  for (const auto& item : layers_.items) {
    if (item.fixed_bits != 0) ++fixed[item.fixed_bits];
  }
  int64_t dense = -static_cast<int64_t>(layers_.items.size());
  for (int64_t l = 0; l < config_.n_layers; ++l) dense += static_cast<int64_t>(slots(config_, l).size());
  if (dense > 0) print_line("left dense    {} more linear layers, not in the budget", dense);
  for (const auto& [bits, n] : fixed) print_line("fixed         {} linear layers at {} bits", n, bits);
}

void QuantizeJob::print_vocab() const {
  const PackedSize size = widest_size();
  const auto line = [](const char* what, int64_t bytes, int bits, const char* tied) {
    print_line("{:<13} {} bytes{}{}", what, grouped(bytes),
               bits == kDenseBits ? ", as stored" : fmt::format(" at {} bits", bits), tied);
  };
  line("embedding", size.embed_bytes, layers_.vocab.embed, config_.tied_embeddings ? "; it is also the head" : "");
  if (!config_.tied_embeddings) line("head", size.head_bytes, layers_.vocab.head, "");
}

Json QuantizeJob::vocab_json() const {
  const PackedSize size = widest_size();
  return {{"embed_bits", layers_.vocab.embed},
          {"head_bits", layers_.vocab.head},
          {"embed_bytes", size.embed_bytes},
          {"head_bytes", size.head_bytes}};
}

Json QuantizeJob::sizes_json() const {
  const ReachableBytes reach = reachable_bytes(layers_);
  const int64_t other = dense_bytes();
  Json json = {{"target_bpw", bpw_of(budget_)},
               {"budget_bytes", budget_},
               {"permutation_bytes", order_bytes(layers_)},
               {"reachable_bpw", {bpw_of(reach.least), bpw_of(reach.most)}},
               {"file_bytes_at_most", budget_ + other},
               {"peak_memory_bytes_estimate", memory_.total()}};
  if (!search_.frontier.empty()) json["frontier_bytes"] = search_.frontier;
  if (frontier_) json["cut_bytes"] = plan_->bytes();
  json.update(vocab_json());
  return json;
}

void QuantizeJob::count_coverage(const CalibSet& calib) {
  if (config_.experts.n_experts == 0) return;
  coverage_ = Json::array();
  for (const LayerCoverage& layer : expert_coverage(DenseWeights(checkpoint_, config_), calib.gradient)) {
    const auto [least, most] = std::minmax_element(layer.tokens.begin(), layer.tokens.end());
    print_line("{:<14}tokens of an expert: mean {:.1f}, least {} (expert {}), most {} (expert {})",
               fmt::format("layer {}", layer.layer), layer.mean(), *least, least - layer.tokens.begin(), *most,
               most - layer.tokens.begin());
    coverage_.push_back({{"layer", layer.layer}, {"tokens", layer.tokens}});
    const std::vector<int64_t> rare = layer.rare();
    if (rare.empty()) continue;
    log_.warn("layer {}: fewer tokens than 10 % of the mean go to expert {}{}", layer.layer, fmt::join(rare, ", "),
              o_.all_experts ? "" : ". More calibration text or --all-experts would help");
  }
}

void QuantizeJob::print_widths(const Plan& plan) const {
  for (const auto& [layer, blocks] : histogram_by_layer(layers_, plan)) {
    std::string line;
    for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
      const int64_t n = blocks[static_cast<size_t>(bits)];
      if (n > 0) line += fmt::format("  {}: {}", bits, n);
    }
    print_line("{:<14}blocks by bits{}", fmt::format("layer {}", layer), line);
  }
}

Json QuantizeJob::histogram_json(const Plan& plan) const {
  Json json = Json::array();
  for (const auto& [layer, blocks] : histogram_by_layer(layers_, plan)) {
    json.push_back({{"layer", layer}, {"blocks_by_bits", std::vector<int64_t>(blocks.begin() + 1, blocks.end())}});
  }
  return json;
}

void QuantizeJob::print_found(const SearchResult& result) const {
  if (result.guard) {
    std::string losses;
    for (const GuardPlan& plan : result.guard->plans) {
      losses += fmt::format("{}{} {:.5f}", losses.empty() ? "" : ", ", plan.method,
                            plan.written_loss.value_or(plan.heldout_loss));
    }
    print_line("guard         held-out loss {}: {} is written ({:.1f} s)", losses,
               result.guard->plans[result.guard->written].method, result.guard->seconds);
  }
  if (result.certificate) {
    print_line("certificate   predicted {:.5f} of at most {:.5f} nats ({:.1f} % apart) by moves of one bit of {}",
               result.certificate->predicted, result.certificate->bound, 100.0 * result.certificate->apart(),
               search_.method == Method::kMatrix ? "a matrix" : "a block");
  }
  print_line("held-out KL   {:.5f} nats per token", result.heldout_kl);
}

Json QuantizeJob::found_json(const SearchResult& result) {
  Json json = {{"heldout_kl", result.heldout_kl},
               {"iterations", static_cast<int64_t>(result.trace.size())},
               {"trace", trace_to_json(result.trace)}};
  if (result.certificate) {
    json["certificate"] = {{"predicted", result.certificate->predicted},
                           {"bound", result.certificate->bound},
                           {"apart", result.certificate->apart()}};
  }
  if (result.guard) {
    Json plans = Json::object();
    for (const GuardPlan& plan : result.guard->plans) {
      plans[plan.method] = {{"heldout_loss", plan.heldout_loss}, {"bytes", plan.bytes}};
      if (plan.written_loss) plans[plan.method]["written_loss"] = *plan.written_loss;
    }
    json["guard"] = {{"plans", plans},
                     {"written", result.guard->plans[result.guard->written].method},
                     {"seconds", result.guard->seconds}};
  }
  return json;
}

void QuantizeJob::print_packed(const Plan& plan, const PackedSize& size) const {
  print_line("packed        {:.4f} bpw ({:.4f} code bits): {} of {} bytes, {:.3f} % of the budget used", plan.bpw(),
             plan.code_bits(), grouped(size.quantized_bytes), grouped(budget_),
             100.0 * static_cast<double>(size.quantized_bytes) / static_cast<double>(budget_));
  print_line("weight files  {} bytes, of which {} for {}, {} for other tensors", grouped(size.file_bytes),
             grouped(size.embed_bytes + size.head_bytes),
             config_.tied_embeddings ? "the embedding" : "embedding and head", grouped(size.dense_bytes));
  print_line("written to    {}", o_.output);
}

}  // namespace scalebits::cli
