// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/io/safetensors.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

template <class T>
TensorView view_of(const std::vector<T>& values, DType dtype, std::vector<int64_t> shape,
                   const std::string& name = "w") {
  return {name, dtype, std::move(shape), std::as_bytes(std::span(values))};
}

/// Value of a small float by the definition in IEEE 754, from its fields.
double by_definition(uint32_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto exponent = static_cast<int>((bits >> mantissa_bits) & ((1U << exponent_bits) - 1));
  const double fraction = std::ldexp(static_cast<double>(bits & ((1U << mantissa_bits) - 1)), -mantissa_bits);
  const double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1.0 + fraction, exponent - bias);
  return (bits >> (exponent_bits + mantissa_bits)) != 0 ? -magnitude : magnitude;
}

void check_every_pattern(DType dtype, int exponent_bits, int mantissa_bits) {
  std::vector<uint16_t> stored;
  const uint32_t full = ((1U << exponent_bits) - 1) << mantissa_bits;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    if ((bits & full) != full) stored.push_back(static_cast<uint16_t>(bits));
  }
  std::vector<float> out(stored.size());
  read_floats(view_of(stored, dtype, {static_cast<int64_t>(stored.size())}), out);
  for (size_t i = 0; i < out.size(); ++i) {
    const double expected = by_definition(stored[i], exponent_bits, mantissa_bits);
    ASSERT_EQ(out[i], expected) << stored[i];  // both formats are subsets of f32: exact
    ASSERT_EQ(std::signbit(out[i]), std::signbit(expected)) << stored[i];
  }
}

TEST(ReadFloats, ConvertsEveryFiniteHalf) { check_every_pattern(DType::kF16, 5, 10); }
TEST(ReadFloats, ConvertsEveryFiniteBfloat16) { check_every_pattern(DType::kBF16, 8, 7); }

TEST(ReadFloats, RefusesEveryNonFiniteHalfAndBfloat16) {
  for (const auto& [dtype, first] : {std::pair(DType::kF16, 0x7c00U), std::pair(DType::kBF16, 0x7f80U)}) {
    for (uint32_t bits = first; bits < 0x8000U; ++bits) {
      for (const uint32_t sign : {0U, 0x8000U}) {
        const std::vector<uint16_t> stored = {0, static_cast<uint16_t>(bits | sign)};
        const std::string expected = bits != first ? "[1]: got nan" : (sign != 0 ? "[1]: got -inf" : "[1]: got inf");
        std::vector<float> out(2);
        ASSERT_THAT(error_text<FormatError>([&] { read_floats(view_of(stored, dtype, {2}), out); }),
                    HasSubstr(expected));
      }
    }
  }
}

TEST(ReadFloats, CopiesF32BitForBit) {
  const std::vector<float> stored = {0.0F,
                                     -0.0F,
                                     1.0F,
                                     std::numeric_limits<float>::denorm_min(),
                                     std::numeric_limits<float>::max(),
                                     std::numeric_limits<float>::lowest()};
  std::vector<float> out(stored.size());
  read_floats(view_of(stored, DType::kF32, {2, 3}), out);
  EXPECT_EQ(std::memcmp(out.data(), stored.data(), 4 * stored.size()), 0);
}

TEST(ReadFloats, NamesTheFirstBadElementOfAMatrix) {
  std::vector<float> stored(size_t{20} * 11, 1.0F);
  stored[12 * 11 + 7] = std::numeric_limits<float>::quiet_NaN();
  stored[13 * 11] = std::numeric_limits<float>::infinity();
  std::vector<float> out(stored.size());
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  EXPECT_THAT(
      error_text<FormatError>([&] {
        read_floats(view_of(stored, DType::kF32, {20, 11}, name), out);
      }),
      HasSubstr("[model.layers.0.mlp.up_proj.weight] value at [12, 7]: got nan, expected a finite number. It is "
                "element 139 of 220 in F32."));
}

TEST(ReadFloats, FindsTheFirstBadElementWhereverItIs) {
  // Sizes around the conversion step (1024) and the parallel task (2^18), bad elements at the edges of both.
  const std::vector<int64_t> sizes = {1, 2, 1023, 1024, 1025, 2048, 262143, 262144, 262145, 600001};
  for (const int64_t n : sizes) {
    for (const int64_t bad :
         {int64_t{0}, int64_t{1023}, int64_t{1024}, n / 2, int64_t{262143}, int64_t{262144}, n - 1}) {
      if (bad >= n) continue;
      std::vector<uint16_t> stored(static_cast<size_t>(n), 0x3f80);
      stored[static_cast<size_t>(bad)] = 0xff80;
      stored.back() = bad == n - 1 ? 0xff80 : 0x7fc0;  // a later NaN must not win
      std::vector<float> out(stored.size());
      ASSERT_THAT(error_text<FormatError>([&] { read_floats(view_of(stored, DType::kBF16, {n}), out); }),
                  HasSubstr(fmt::format("value at [{}]: got -inf", bad)));
    }
  }
}

TEST(ReadFloats, ReadsUnalignedBytesOfAnyLength) {
  std::vector<std::byte> buffer(2 * 5000 + 64);
  for (const size_t offset : {1U, 3U, 7U}) {
    for (const int64_t n : {0, 1, 31, 1024, 1500, 4999}) {
      for (int64_t i = 0; i < n; ++i) {
        const auto value = static_cast<uint16_t>(0x3f80 + i % 64);  // 1 + (i % 64) / 128
        std::memcpy(buffer.data() + offset + 2 * i, &value, 2);
      }
      std::vector<float> out(static_cast<size_t>(n));
      read_floats({"w", DType::kBF16, {n}, std::span(buffer).subspan(offset, static_cast<size_t>(2 * n))}, out);
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(out[static_cast<size_t>(i)], 1.0F + static_cast<float>(i % 64) / 128.0F) << i;
      }
    }
  }
}

TEST(ReadFloats, RefusesDtypesThatAreNotFloats) {
  const std::vector<int32_t> stored(2);
  std::vector<float> out(2);
  EXPECT_THAT(error_text<FormatError>([&] { read_floats(view_of(stored, DType::kI32, {2}), out); }),
              HasSubstr("[w] dtype: got I32, expected F32, F16 or BF16"));
}

TEST(ReadFloats, RefusesAnOutputOfAnotherLength) {
  const std::vector<float> stored(2);
  std::vector<float> out(3);
  EXPECT_THROW(read_floats(view_of(stored, DType::kF32, {2}), out), InternalError);
}

TEST(ReadFloats, AgreesWithNumpyOnTheDemoModel) {
  const Checkpoint checkpoint(test::demo_model());
  // First, middle and last value and the sum in f64, computed with numpy from the raw bytes.
  struct Expected {
    const char* name;
    float first, middle, last;
    double sum;
  };
  const std::vector<Expected> all = {
      {"model.embed_tokens.weight", 0.03466797F, -0.072753906F, -0.041015625F, -1145.0634093825647},
      {"model.layers.5.mlp.down_proj.weight", 0.06347656F, 0.004058838F, -0.12158203F, 16.88232370838523},
      {"model.norm.weight", 1.6015625F, 1.640625F, 1.8125F, 428.3984375},
  };
  for (const Expected& expected : all) {
    const TensorView& tensor = checkpoint.get(expected.name);
    std::vector<float> out(static_cast<size_t>(tensor.n_elements()));
    read_floats(tensor, out);
    // numpy prints the shortest decimal that gives back the same f32.
    EXPECT_EQ(out.front(), expected.first);
    EXPECT_EQ(out[out.size() / 2], expected.middle);
    EXPECT_EQ(out.back(), expected.last);
    // At most 2^20 terms below 1 (or 256 below 4), whose order differs: error < n * 2^-53 * sum |w| < 2^20 * 2^-53 *
    // 2^20.
    EXPECT_NEAR(std::accumulate(out.begin(), out.end(), 0.0), expected.sum, 0x1p-13);
  }
}

TEST(ReadFloats, DoesNotDependOnTheNumberOfThreads) {
  std::vector<uint16_t> stored(700'000);
  for (size_t i = 0; i < stored.size(); ++i) stored[i] = static_cast<uint16_t>((i * 2654435761U >> 7) & 0xbfffU);
  std::vector<float> one(stored.size()), three(stored.size());
  const TensorView tensor = view_of(stored, DType::kBF16, {700, 1000});
  set_num_threads(1);
  read_floats(tensor, one);
  set_num_threads(3);
  read_floats(tensor, three);
  set_num_threads(0);
  EXPECT_EQ(std::memcmp(one.data(), three.data(), 4 * one.size()), 0);
}

}  // namespace
}  // namespace scalebits
