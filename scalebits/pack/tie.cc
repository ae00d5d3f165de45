// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/tie.h"

#include <map>

#include "scalebits/base/errors.h"
#include "scalebits/model/names.h"

namespace scalebits {

void check_tie(const Plan& plan, const ModelConfig& config) {
  std::map<std::string, const LinearPlan*> linears;
  for (const LinearPlan& linear : plan.linears) linears[linear.name] = &linear;
  for (int64_t l = 0; l < config.n_layers; ++l) {
    const LinearPlan* first = nullptr;
    for (const Slot slot : slots(config, l)) {
      if (slot == same_input(slot).front()) first = nullptr;
      const auto found = linears.find(linear_name(config, l, slot));
      if (found == linears.end()) continue;
      const LinearPlan& linear = *found->second;
      if (first == nullptr) first = &linear;
      const bool shares = plan.tie == "fused" && first != &linear && !first->col_perm.empty();
      if (linear.shares_cols == shares) continue;
      fail<FormatError>("plan", "{}: got a col_perm {}, expected {} by tie \"{}\"", linear.name,
                        shares ? "of its own" : "shared with an earlier layer",
                        shares ? "that of " + first->name : "its own", plan.tie);
    }
  }
}

}  // namespace scalebits
