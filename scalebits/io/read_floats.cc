// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/half.h"
#include "scalebits/base/parallel.h"
#include "scalebits/io/safetensors.h"

namespace scalebits {
namespace {

// Elements of one parallel task: large enough that handing it out costs nothing, small enough to balance.
constexpr int64_t kTaskElements = 1 << 18;
// Elements converted at once. A constant, because GCC at -O2 vectorizes only loops whose trip count it knows; copied to
// an aligned buffer first, because the file's bytes may lie anywhere. 2 x 4 KB stay in the first-level cache.
constexpr size_t kStep = 1024;

uint32_t exponent_is_full(float value) {
  return static_cast<uint32_t>((std::bit_cast<uint32_t>(value) & 0x7f800000U) == 0x7f800000U);
}

/// As f16_to_float, without its branches (a NaN or Inf keeps its full exponent, which is all that is asked of it).
float f16_to_float_branchless(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7fffU;
  const uint32_t subnormal = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24F);
  // Masks, because a choice between the two tempts the compiler to branch, and then it no longer vectorizes.
  const uint32_t is_subnormal = 0U - static_cast<uint32_t>(magnitude < 0x400U);
  const uint32_t is_full = 0U - static_cast<uint32_t>(magnitude >= 0x7c00U);
  const uint32_t normal = (magnitude << 13) + (112U << 23) + (is_full & (112U << 23));
  const uint32_t value = (subnormal & is_subnormal) | (normal & ~is_subnormal);
  return std::bit_cast<float>(value | (static_cast<uint32_t>(bits & 0x8000U) << 16));
}

struct FromF32 {
  using Stored = float;
  static float convert(float stored) { return stored; }
};
struct FromF16 {
  using Stored = uint16_t;
  static float convert(uint16_t stored) { return f16_to_float_branchless(stored); }
};
struct FromBF16 {
  using Stored = uint16_t;
  static float convert(uint16_t stored) { return bf16_to_float(stored); }
};

/// Converts `out.size()` elements. @return whether all are finite
template <class From>
bool convert(const std::byte* in, std::span<float> out) {
  alignas(64) std::array<typename From::Stored, kStep> stored{};
  alignas(64) std::array<float, kStep> floats{};
  uint32_t bad = 0;
  for (size_t i = 0; i < out.size(); i += kStep) {
    const size_t n = std::min(kStep, out.size() - i);
    std::memcpy(stored.data(), in + i * sizeof(stored[0]), n * sizeof(stored[0]));
    // In the last step, what lies beyond n is zero or of the step before, and finite if that was.
    for (size_t j = 0; j < kStep; ++j) {
      const float value = From::convert(stored[j]);
      floats[j] = value;
      bad |= exponent_is_full(value);
    }
    std::memcpy(out.data() + i, floats.data(), n * sizeof(float));
  }
  return bad == 0;
}

/// Row-major indices of flat element `flat`: "12, 7".
std::string index_text(const std::vector<int64_t>& shape, int64_t flat) {
  std::vector<int64_t> index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return fmt::format("{}", fmt::join(index, ", "));
}

[[noreturn]] void fail_not_finite(const TensorView& tensor, std::span<const float> values, int64_t first) {
  size_t i = 0;
  while (exponent_is_full(values[i]) == 0) ++i;
  const int64_t flat = first + static_cast<int64_t>(i);
  const uint32_t bits = std::bit_cast<uint32_t>(values[i]);
  const bool nan = (bits & 0x7fffffU) != 0;
  fail<FormatError>(tensor.name, "value at [{}]: got {}, expected a finite number. It is element {} of {} in {}.",
                    index_text(tensor.shape, flat), nan ? "nan" : ((bits >> 31) != 0U ? "-inf" : "inf"), flat,
                    tensor.n_elements(), dtype_name(tensor.dtype));
}

template <class From>
void read_as(const TensorView& tensor, std::span<float> out) {
  const auto n = static_cast<int64_t>(out.size());
  const auto task = [&](int64_t i) {
    const int64_t first = i * kTaskElements;
    const auto part = out.subspan(static_cast<size_t>(first), static_cast<size_t>(std::min(kTaskElements, n - first)));
    const std::byte* in = tensor.bytes.data() + static_cast<size_t>(first) * sizeof(typename From::Stored);
    if (!convert<From>(in, part)) fail_not_finite(tensor, part, first);
  };
  const int64_t n_tasks = ceil_div(n, kTaskElements);
  if (n_tasks == 1) {
    task(0);  // not worth waking other threads
  } else {
    parallel_for(n_tasks, task);  // rethrows the lowest index's exception: the first bad element
  }
}

}  // namespace

void read_floats(const TensorView& tensor, std::span<float> out) {
  SCALEBITS_CHECK(static_cast<int64_t>(out.size()) == tensor.n_elements());
  SCALEBITS_CHECK(static_cast<int64_t>(tensor.bytes.size()) == tensor.n_elements() * dtype_bytes(tensor.dtype));
  switch (tensor.dtype) {
    case DType::kF32:
      return read_as<FromF32>(tensor, out);
    case DType::kF16:
      return read_as<FromF16>(tensor, out);
    case DType::kBF16:
      return read_as<FromBF16>(tensor, out);
    default:
      fail<FormatError>(tensor.name, "dtype: got {}, expected F32, F16 or BF16.", dtype_name(tensor.dtype));
  }
}

}  // namespace scalebits
