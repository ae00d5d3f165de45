// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/compensate.h"

#include <algorithm>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/base/heap.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/activation_store.h"
#include "scalebits/calibrate/hessian.h"
#include "scalebits/kernels/products.h"
#include "scalebits/model/experts.h"
#include "scalebits/model/gemm.h"
#include "scalebits/pack/gptq.h"
#include "scalebits/quantize/pack_linear.h"

namespace scalebits {
namespace {

/// Matrices whose inputs are known once those of the stages before are rounded.
struct Stage {
  std::vector<Slot> slots;
  bool attention;        ///< they are of the layer's first half
  bool adds;             ///< their output is added to the residual stream
  bool ends_half;        ///< no later stage is of the same half
  bool experts = false;  ///< they are experts'
};

std::vector<Stage> stages(const ModelConfig& config, int64_t layer) {
  std::vector<Stage> all = {{{Proj::kQ, Proj::kK, Proj::kV}, true, false, false}, {{Proj::kO}, true, true, true}};
  if (!config.has_experts(layer)) {
    all.push_back({{Proj::kGate, Proj::kUp}, false, false, false});
    all.push_back({{Proj::kDown}, false, true, true});
    return all;
  }
  // All gates and ups before the first down, some experts at a time: which does not matter to the result.
  const int64_t at_once = experts_at_once(config), n = config.experts.n_experts;
  for (const bool down : {false, true}) {
    for (int64_t first = 0; first < n; first += at_once) {
      Stage stage{{}, false, down, down && first + at_once >= n, true};
      for (int64_t e = first; e < std::min(n, first + at_once); ++e) {
        if (down) {
          stage.slots.emplace_back(Proj::kDown, e);
        } else {
          stage.slots.emplace_back(Proj::kGate, e);
          stage.slots.emplace_back(Proj::kUp, e);
        }
      }
      all.push_back(std::move(stage));
    }
  }
  return all;
}

class Compensation {
 public:
  Compensation(const QuantizedWeights& weights, const Plan& plan, const CalibSet& calib, const TokenWeights& roots,
               const PassOptions& pass, Log& log)
      : weights_(weights),
        config_(weights.config()),
        plan_(plan),
        calib_(calib),
        roots_(roots),
        every_expert_(pass.every_expert),
        log_(log),
        length_(std::max(longest(calib.gradient), longest(calib.heldout))),
        rope_(config_, length_),
        states_(n_all(), length_ * config_.d_model * 4, pass.activation_bytes, pass.spill_dir),
        exact_states_(n_all(), length_ * config_.d_model * 4, pass.activation_bytes, pass.spill_dir) {}

  CompensatedModel run() {
    const DenseWeights dense(weights_.shared_checkpoint(), config_);
    const std::vector<at::Tensor> reference = reference_hidden(dense, calib_.heldout);
    CompensatedModel model;
    model.matrices.resize(plan_.linears.size());
    parallel_for(n_all(), [&](int64_t s) { states_.put(s, weights_.embed(sequence(s))); });
    parallel_for(n_all(), [&](int64_t s) { exact_states_.put(s, weights_.dense().embed(sequence(s))); });
    for (int64_t l = 0; l < config_.n_layers; ++l) {
      log_.progress("rounding layers", l, config_.n_layers);
      round_layer(l, model);
      release_free_heap();
    }
    log_.progress("rounding layers", config_.n_layers, config_.n_layers);
    model.heldout_kl = heldout_kl(reference);
    return model;
  }

 private:
  [[nodiscard]] int64_t n_gradient() const { return static_cast<int64_t>(calib_.gradient.size()); }
  [[nodiscard]] int64_t n_all() const { return n_gradient() + static_cast<int64_t>(calib_.heldout.size()); }
  [[nodiscard]] const Sequence& sequence(int64_t s) const {
    return s < n_gradient() ? calib_.gradient[static_cast<size_t>(s)]
                            : calib_.heldout[static_cast<size_t>(s - n_gradient())];
  }

  /// Rounds the quantized matrices of a layer, and takes the sequences through it.
  void round_layer(int64_t l, CompensatedModel& model) {
    const DecoderLayer exact = weights_.dense().layer(l);
    DecoderLayer rounded = exact;  // matrix by matrix
    for (const Stage& stage : stages(config_, l)) {
      throw_if_stopped();
      if (stage.experts && stage.slots.front() == Slot(Proj::kGate, 0)) route_tokens(l, rounded);
      LayerMoments moments = moments_of(l, stage, exact, rounded, 0, n_gradient());
      const LayerMoments unseen = moments_of(l, stage, exact, rounded, n_gradient(), n_all() - n_gradient());
      for (const Slot slot : stage.slots) {
        const int64_t item = weights_.item_of(l, slot);
        if (item < 0) continue;
        const at::Tensor matrix =
            stage.experts && !sees_tokens_[static_cast<size_t>(slot.expert())]
                ? round_plainly(static_cast<size_t>(item), model)
                : round_matrix(static_cast<size_t>(item), std::move(moments[slot]), unseen[slot], model);
        rounded.linear[slot.index()] = std::make_shared<DenseLinear>(matrix, weights_.dense().bias(l, slot));
      }
      if (!stage.ends_half) continue;
      parallel_for(n_all(), [&](int64_t s) {
        const at::NoGradGuard no_grad;
        states_.put(s, half(stage, rounded, states_.get(s), nullptr));
        exact_states_.put(s, half(stage, exact, exact_states_.get(s), nullptr));
      });
    }
  }

  [[nodiscard]] at::Tensor half(const Stage& stage, const DecoderLayer& layer, const at::Tensor& x,
                                LayerTaps* taps) const {
    return stage.attention ? attention_half(config_, layer, rope_, x, 0, nullptr, taps)
                           : mlp_half(config_, layer, x, taps);
  }

  /// Finds the experts of every token, as the rounded model chooses them, and those that none of the text goes to.
  void route_tokens(int64_t l, const DecoderLayer& rounded) {
    routing_.assign(static_cast<size_t>(n_all()), {});
    parallel_for(n_all(), [&](int64_t s) {
      const at::NoGradGuard no_grad;
      const at::Tensor input = rms_norm(states_.get(s), rounded.mlp_norm, config_.norm_eps).squeeze(0);
      routing_[static_cast<size_t>(s)] = route(config_.experts, rounded, input);
    });
    std::string blind;
    sees_tokens_.assign(static_cast<size_t>(config_.experts.n_experts), true);
    for (int64_t e = 0; e < config_.experts.n_experts && !every_expert_; ++e) {
      const auto goes = [&](const Routing& r) { return (r.chosen == e).any().item<bool>(); };
      if (std::any_of(routing_.begin(), routing_.begin() + n_gradient(), goes)) continue;
      sees_tokens_[static_cast<size_t>(e)] = false;
      blind += fmt::format("{}{}", blind.empty() ? "" : ", ", e);
    }
    if (blind.empty()) return;
    log_.warn(
        "layer {}: no token of the calibration text goes to expert {}: rounded without error compensation. More text "
        "or --all-experts would help",
        l, blind);
  }

  /// Tokens of a sequence that count for an expert.
  [[nodiscard]] at::Tensor tokens(int64_t s, int64_t expert) const {
    const at::Tensor& chosen = routing_[static_cast<size_t>(s)].chosen;
    return every_expert_ ? at::arange(chosen.size(0)) : tokens_of(chosen, expert);
  }

  /// What the experts of a stage get. Both models take the rounded one's choice of experts.
  [[nodiscard]] LayerTaps expert_taps(const Stage& stage, const DecoderLayer& layer, const at::Tensor& x,
                                      int64_t s) const {
    LayerTaps taps;
    taps.reserve(layer.linear.size());
    const at::Tensor input = rms_norm(x, layer.mlp_norm, config_.norm_eps).squeeze(0);
    for (const Slot slot : stage.slots) {
      const at::Tensor mine = tokens(s, slot.expert());
      if (mine.numel() == 0) continue;
      const at::Tensor of_expert = input.index_select(0, mine);
      taps[slot].x = stage.adds ? mlp_hidden(config_, layer, slot.expert(), of_expert, nullptr) : of_expert;
    }
    return taps;
  }

  /// What the output of a matrix should add to the full-precision model's: what the residual stream lacks. Outputs of
  /// experts are added times their weights, so that each of a token's experts may give all of it.
  [[nodiscard]] at::Tensor owed(const Stage& stage, Slot slot, int64_t s) const {
    const at::Tensor lack = (exact_states_.get(s) - states_.get(s)).squeeze(0);
    if (!stage.experts) return lack;
    const Routing& routing = routing_[static_cast<size_t>(s)];
    const at::Tensor goes = (routing.chosen == slot.expert()).any(1, /*keepdim=*/true);
    const at::Tensor each = lack / routing.weights.sum(1, /*keepdim=*/true) * goes;
    return each.index_select(0, tokens(s, slot.expert()));
  }

  /// Of `n` sequences from `first` on.
  [[nodiscard]] LayerMoments moments_of(int64_t l, const Stage& stage, const DecoderLayer& exact,
                                        const DecoderLayer& rounded, int64_t first, int64_t n) const {
    const auto tapped = [&](const DecoderLayer& layer, const at::Tensor& x, int64_t s) {
      if (stage.experts) return expert_taps(stage, layer, x, s);
      LayerTaps taps;
      taps.reserve(layer.linear.size());
      if (stage.adds) {
        (void)half(stage, layer, x, &taps);
        return taps;
      }
      // Nothing but a norm lies before these.
      const at::Tensor norm = stage.attention ? layer.attn_norm : layer.mlp_norm;
      const at::Tensor input = rms_norm(x, norm, config_.norm_eps).squeeze(0);
      for (const Slot slot : stage.slots) taps[slot].x = input;
      return taps;
    };
    MomentSource source{.layer = l,
                        .slots = stage.slots,
                        .n_sequences = n,
                        .length = length_,
                        .taps = [&](int64_t s) { return tapped(rounded, states_.get(first + s), first + s); },
                        .should_be = [&](int64_t s) { return tapped(exact, exact_states_.get(first + s), first + s); },
                        .root_weight = [&](Slot slot, int64_t s) -> at::Tensor {
                          const auto item = static_cast<size_t>(weights_.item_of(l, slot));
                          const at::Tensor& roots = roots_[item][static_cast<size_t>(first + s)];
                          return stage.experts ? roots.index_select(0, tokens(first + s, slot.expert())) : roots;
                        }};
    // Behind a norm what is added to the stream is no linear function of the output: nothing is owed there.
    const bool added_as_it_is = !(stage.attention ? exact.attn_post_norm : exact.mlp_post_norm).defined();
    if (stage.adds && added_as_it_is) {
      source.owed = [&](Slot slot, int64_t s) { return owed(stage, slot, first + s); };
    }
    return sum_moments(weights_, source);
  }

  /// Each group for itself, with nothing to compensate.
  at::Tensor round_plainly(size_t item, CompensatedModel& model) {
    const LinearPlan& linear = plan_.linears[item];
    const at::Tensor weight = weights_.stored_weight(item).contiguous();
    at::Tensor decoded = at::empty_like(weight);
    model.matrices[item] = pack_linear(linear, {weight.data_ptr<float>(), static_cast<size_t>(weight.numel())},
                                       weights_.quantizer(), weights_.importance(item));
    const PackedView view = model.matrices[item].view();
    decode_packed(view, check_packed(view, linear.name.c_str()),
                  {decoded.data_ptr<float>(), static_cast<size_t>(decoded.numel())});
    return undo_order(decoded, linear.order());
  }

  /// @param unseen of the held-out tokens
  /// @return the rounded matrix in the model's own order; its packed form is left in `model`
  at::Tensor round_matrix(size_t item, InputMoments moments, const InputMoments& unseen, CompensatedModel& model) {
    const LinearPlan& linear = plan_.linears[item];
    const Feedback feedback = error_feedback(std::move(moments.second), linear.name, log_);
    const at::Tensor weight = weights_.stored_weight(item);
    at::Tensor change = wanted(weight, moments);
    solve_rows(feedback, change);
    const at::Tensor target = weight + change * share_of(change, weight, unseen);
    at::Tensor decoded;
    model.matrices[item] = pack_compensated(linear, target, feedback, weights_.quantizer(), &decoded);
    return undo_order(decoded, linear.order());
  }

  /// W sum (x' - x) x^T + sum y x^T. Its product with H^-1 takes W to the weights whose outputs, from the inputs that
  /// come, are nearest to what W gives from those that should come (GPTAQ, arXiv 2504.02692), with what the residual
  /// stream lacks before the output is added to it.
  static at::Tensor wanted(const at::Tensor& weight, const InputMoments& moments) {
    at::Tensor sum = moments.owed.defined() ? moments.owed.clone() : at::zeros_like(weight);
    add_product(sum, 1.0F, weight, false, moments.drift, false);
    return sum;
  }

  /// How far, from 0 to 1, to go along `change` for the least squared output error on tokens that it was not fitted to:
  /// the minimum of a parabola. With little text all of the change is worse than none
  /// (bench/log/2026-11-22-error-compensation.md).
  static double share_of(const at::Tensor& change, const at::Tensor& weight, const InputMoments& unseen) {
    const at::Tensor upper = unseen.second.triu();
    at::Tensor product = at::zeros_like(change);
    add_product(product, 2.0F, change, false, upper, false);
    product -= change * upper.diagonal();  // was added twice
    const double square = (product * change).sum(at::kDouble).item<double>();
    const double along = (wanted(weight, unseen) * change).sum(at::kDouble).item<double>();
    return square > 0 ? std::clamp(along / square, 0.0, 1.0) : 0.0;
  }

  double heldout_kl(const std::vector<at::Tensor>& reference) {
    std::vector<SequenceLoss> losses(calib_.heldout.size());
    parallel_for(static_cast<int64_t>(losses.size()), [&](int64_t i) {
      const at::NoGradGuard no_grad;
      const auto k = static_cast<size_t>(i);
      const at::Tensor hidden = weights_.final_hidden(states_.get(n_gradient() + i)).squeeze(0);
      losses[k] = sequence_loss(LossKind::kKl, weights_, hidden, reference[k], calib_.heldout[k], nullptr);
    });
    SequenceLoss sum;
    for (const SequenceLoss& loss : losses) {
      sum.nats += loss.nats;
      sum.positions += loss.positions;
    }
    return sum.nats / static_cast<double>(sum.positions);
  }

  const QuantizedWeights& weights_;
  const ModelConfig& config_;
  const Plan& plan_;
  const CalibSet& calib_;
  const TokenWeights& roots_;
  bool every_expert_;
  Log& log_;
  int64_t length_;
  RopeTable rope_;
  ActivationStore states_, exact_states_;  ///< of the rounded and of the full-precision model
  std::vector<Routing> routing_;           ///< of the layer at hand, by sequence
  std::vector<bool> sees_tokens_;          ///< by expert
};

}  // namespace

CompensatedModel compensate(const QuantizedWeights& weights, const Plan& plan, const CalibSet& calib,
                            const TokenWeights& roots, const PassOptions& pass, Log& log) {
  SCALEBITS_CHECK(plan.linears.size() == weights.layers().items.size() && roots.size() == plan.linears.size());
  SCALEBITS_CHECK(weights.dtype() == at::kFloat);
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    SCALEBITS_CHECK(roots[i].size() == calib.gradient.size() + calib.heldout.size());
    SCALEBITS_CHECK(plan.linears[i].order() == weights.layers().items[i].order);
  }
  return Compensation(weights, plan, calib, roots, pass, log).run();
}

}  // namespace scalebits
