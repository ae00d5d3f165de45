// SPDX-License-Identifier: Apache-2.0
/// quantize --frontier, and --plan FRONTIER with a target.
#include <charconv>
#include <cmath>

#include "cli/command.h"
#include "cli/quantize_job.h"
#include "scalebits/base/errors.h"
#include "scalebits/search/cut.h"
#include "scalebits/search/state_file.h"

namespace scalebits::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostPoints = 64;

/// Whether a frontier may replace a directory: it holds a frontier and nothing else.
bool is_only_a_frontier(const fs::path& dir) {
  try {
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(dir, absent)) {
      if (entry.path().filename() != "frontier.json" || !is_frontier(entry.path())) return false;
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<double> parse_frontier_range(const std::string& text) {
  double from = 0, to = 0, step = 0;
  const char *at = text.data(), *const end = text.data() + text.size();
  const auto number = [&](double& value, bool last) {
    const auto [rest, error] = std::from_chars(at, end, value);
    const bool good =
        error == std::errc() && std::isfinite(value) && (last ? rest == end : rest != end && *rest == ':');
    at = good && !last ? rest + 1 : rest;
    return good;
  };
  if (!number(from, false) || !number(to, false) || !number(step, true) || !(from > 0 && from <= to && step > 0)) {
    fail<InvalidArgument>("--frontier",
                          "got \"{}\", expected FROM:TO:STEP in bits per weight with FROM <= TO and STEP > 0, for "
                          "example 2.25:4.5:0.25.",
                          text);
  }
  std::vector<double> bpw;
  // The last step is left out where it would end within a thousandth of itself of TO, which rounding decides.
  for (size_t i = 0; i <= kMostPoints && from + static_cast<double>(i) * step < to - 1e-3 * step; ++i) {
    bpw.push_back(from + static_cast<double>(i) * step);
  }
  bpw.push_back(to);
  if (bpw.size() <= kMostPoints) return bpw;
  fail<InvalidArgument>("--frontier",
                        "got \"{}\", which are more than {} budgets, expected at most that. Budgets "
                        "between two of them are cut without a search.",
                        text, kMostPoints);
}

void QuantizeJob::set_frontier() {
  for (const double bpw : parse_frontier_range(*o_.frontier)) {
    search_.frontier.push_back(bytes_from_bpw(layers_, bpw, "--frontier"));
    check_reachable(layers_, search_.frontier.back(), fmt::format("--frontier {}: {}", *o_.frontier, bpw));
    const size_t n = search_.frontier.size();
    if (n > 1 && search_.frontier[n - 2] >= search_.frontier[n - 1]) {
      fail<InvalidArgument>("--frontier",
                            "got \"{}\", of which two budgets are the same {} bytes, expected a larger "
                            "STEP.",
                            *o_.frontier, search_.frontier[n - 1]);
    }
  }
  budget_ = search_.frontier.front();
}

void QuantizeJob::cut() {
  if (!has_target()) {
    std::string stored;
    for (const FrontierPoint& point : frontier_->points) {
      stored += fmt::format("{}{:.4f}", stored.empty() ? "" : ", ", frontier_->bpw(point.budget_bytes));
    }
    fail<InvalidArgument>("--plan",
                          "got a frontier, expected --target-bpw or --target-size beside it. It holds {} bpw and "
                          "gives any budget between.",
                          stored);
  }
  budget_ = target_bytes();
  plan_ = cut_frontier(*frontier_, budget_,
                       o_.target_size.empty() ? fmt::format("--target-bpw {}", o_.target_bpw)
                                              : fmt::format("--target-size {}", o_.target_size));
}

Json QuantizeJob::run_frontier() {
  AtomicDirectory out(o_.output, is_only_a_frontier(o_.output));  // refuses before any work is done
  fingerprint_ = model_fingerprint(*checkpoint_);
  fs::create_directories(work_);
  const CalibSet calib = calibration();
  SearchResult result;
  Frontier frontier;
  frontier.plan = search(calib, result);
  frontier.points = std::move(result.frontier);
  for (const auto& item : layers_.items) frontier.fixed.push_back(item.fixed_bits != 0);
  const Json extra = {{"calibration", calib.source}, {"ignore", o_.ignore}, {"tensor_type", o_.tensor_type}};
  write_text_file(out.staging() / "frontier.json", frontier_to_json(frontier, extra));
  out.commit();
  if (o_.work.empty()) fs::remove_all(work_);
  print_frontier(frontier);
  Json record = {{"frontier", frontier_json(frontier)}};
  if (!coverage_.is_null()) record["expert_coverage"] = coverage_;
  return record;
}

void QuantizeJob::print_frontier(const Frontier& frontier) const {
  print_line("frontier      bpw           bytes    held-out KL   iterations    seconds");
  double seconds = 0;
  const FrontierPoint* before = nullptr;
  for (const FrontierPoint& point : frontier.points) {
    for (const TraceEntry& entry : point.trace) seconds += entry.seconds;
    print_line(
        "              {:.4f} {:>14}        {:.5f} {:>12} {:>10.1f}{}", frontier.bpw(point.bytes), grouped(point.bytes),
        point.heldout_kl, point.trace.size(), seconds,
        before != nullptr && point.heldout_loss >= before->heldout_loss ? "  no better than the one before" : "");
    before = &point;
  }
  print_line("written to    {}", o_.output);
}

Json QuantizeJob::frontier_json(const Frontier& frontier) const {
  Json json = Json::array();
  for (const FrontierPoint& point : frontier.points) {
    double seconds = 0;
    for (const TraceEntry& entry : point.trace) seconds += entry.seconds;
    json.push_back({{"target_bpw", frontier.bpw(point.budget_bytes)},
                    {"bpw", frontier.bpw(point.bytes)},
                    {"budget_bytes", point.budget_bytes},
                    {"quantized_bytes", point.bytes},
                    {"heldout_loss", point.heldout_loss},
                    {"heldout_kl", point.heldout_kl},
                    {"iterations", static_cast<int64_t>(point.trace.size())},
                    {"seconds", seconds},
                    {"certificate",
                     {{"predicted", point.certificate.predicted},
                      {"bound", point.certificate.bound},
                      {"apart", point.certificate.apart()}}},
                    {"trace", trace_to_json(point.trace)}});
  }
  return json;
}

}  // namespace scalebits::cli
