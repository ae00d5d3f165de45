// SPDX-License-Identifier: Apache-2.0
/// Any bytes as plan.json: they are refused with a short error of the library, or give a plan whose account adds up and
/// that is the same once it is written and read again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "scalebits/base/errors.h"
#include "scalebits/io/plan_file.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const scalebits::Plan& plan) {
  int64_t bytes = 0;
  for (const scalebits::LinearPlan& linear : plan.linears) {
    require(linear.bytes() > 0 && linear.code_bits() >= linear.grid.n_weights());
    bytes += linear.bytes();
    require(bytes > 0);
  }
  require(plan.bytes() == bytes && plan.bpw() >= 0);
  const scalebits::Plan again = scalebits::parse_plan(scalebits::plan_to_json(plan), "again");
  require(again.linears == plan.linears && again.order == plan.order && again.spec == plan.spec);
  require(again.vocab == plan.vocab && again.seed == plan.seed && again.method == plan.method);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(scalebits::parse_plan({reinterpret_cast<const char*>(data), size}, "plan.json"));
  } catch (const scalebits::FormatError& error) {
    require(std::string_view(error.what()).size() < 2000);
  }
  return 0;
}
