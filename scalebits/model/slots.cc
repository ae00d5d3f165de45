// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/slots.h"

#include "scalebits/base/errors.h"

namespace scalebits {

const char* proj_name(Proj p) {
  switch (p) {
    case Proj::kQ:
      return "q_proj";
    case Proj::kK:
      return "k_proj";
    case Proj::kV:
      return "v_proj";
    case Proj::kO:
      return "o_proj";
    case Proj::kGate:
      return "gate_proj";
    case Proj::kUp:
      return "up_proj";
    case Proj::kDown:
      return "down_proj";
  }
  check_failed(__FILE__, __LINE__, "known projection");
}

std::vector<Slot> slots(const ModelConfig& config, int64_t layer) {
  std::vector<Slot> all = {Proj::kQ, Proj::kK, Proj::kV, Proj::kO};
  for (int64_t e = 0; e < n_experts(config, layer); ++e) {
    for (const Proj p : {Proj::kGate, Proj::kUp, Proj::kDown}) all.emplace_back(p, e);
  }
  return all;
}

std::vector<Slot> same_input(Slot slot) {
  const int64_t expert = slot.expert();
  switch (slot.proj()) {
    case Proj::kQ:
    case Proj::kK:
    case Proj::kV:
      return {Proj::kQ, Proj::kK, Proj::kV};
    case Proj::kGate:
    case Proj::kUp:
      return {{Proj::kGate, expert}, {Proj::kUp, expert}};
    case Proj::kO:
    case Proj::kDown:
      return {slot};
  }
  check_failed(__FILE__, __LINE__, "known projection");
}

}  // namespace scalebits
