// SPDX-License-Identifier: Apache-2.0
// The float64 decoder that other tests take their gradients from is itself right.
#include "tests/model/plain_decoder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace scalebits::test {
namespace {

/// Golden values are float64 results stored as f32: half a unit in the last place of the largest.
double storage_error(const at::Tensor& golden) { return max_magnitude(golden) * 0x1p-24; }

TEST(PlainDecoder, LogitsAndGradientsEqualTheGoldenValues) {
  const GoldenFile golden(tiny_gqa() / "golden.safetensors");
  PlainDecoder plain(tiny_gqa());
  plain.track();
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (int64_t i = 0; i < 2; ++i) {
    const at::Tensor logits = plain.logits(golden.sequences()[static_cast<size_t>(i)]);
    EXPECT_LT(max_error(logits.detach(), golden["logits"][i]), 1.01 * storage_error(golden["logits"]));
    const at::Tensor targets = golden["tokens"][i].narrow(0, 1, 23).unsqueeze(1);
    loss = loss - at::log_softmax(logits.narrow(0, 0, 23), -1).gather(1, targets).sum() / 46.0;
  }
  EXPECT_NEAR(loss.item<double>(), golden.number("loss"), 1e-12);
  loss.backward();
  for (int l = 0; l < 2; ++l) {
    const GoldenFile layer(tiny_gqa() / fmt::format("golden-gradients-{}.safetensors", l));
    for (const std::string& name : layer.names("grad.")) {
      const at::Tensor expected = layer["grad." + name];
      EXPECT_LT(max_error(plain.gradient(name), expected), 1.01 * storage_error(expected)) << name;
    }
  }
}

}  // namespace
}  // namespace scalebits::test
