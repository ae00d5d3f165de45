// SPDX-License-Identifier: Apache-2.0
// The sums that the clip search is made of, included by clip_sums.cc once for each instruction set, in a namespace of
// its own with SCALEBITS_TARGET and SCALEBITS_VECTOR_BYTES set. Uses nothing but builtin types, so that no function
// compiled here can leak into code for a lesser machine.
//
// Every instruction set gives the same bits: weight i always goes to lane i modulo 16, the lanes are added in halves
// at the end, and products are not fused with sums (-ffp-contract=off).

typedef float Vec __attribute__((vector_size(SCALEBITS_VECTOR_BYTES)));
typedef float Quad __attribute__((vector_size(16)));
constexpr int kVecs = 64 / SCALEBITS_VECTOR_BYTES;  // vectors that make 16 lanes
constexpr int kVecLanes = SCALEBITS_VECTOR_BYTES / 4;
#define SCALEBITS_PIECE static inline __attribute__((always_inline)) SCALEBITS_TARGET void

SCALEBITS_PIECE load(const float* from, Vec& to) { __builtin_memcpy(&to, from, sizeof(Vec)); }

SCALEBITS_PIECE add_lanes(const Vec (&lanes)[kVecs], float* sum) {
  Quad quads[4];
  __builtin_memcpy(quads, lanes, sizeof(quads));
  const Quad four = (quads[0] + quads[2]) + (quads[1] + quads[3]);
  *sum = (four[0] + four[2]) + (four[1] + four[3]);
}

/// clamp(round(t), 0, top), ties to even (fit.h, kRoundingShift).
SCALEBITS_PIECE round_to_code(const Vec& t, float top, Vec& code) {
  Vec c = t > 0.0F ? t : Vec{};
  const Vec limit = Vec{} + top;
  c = c < limit ? c : limit;
  code = (c + 12582912.0F) - 12582912.0F;
}

template <bool kWeighted>
SCALEBITS_PIECE add_errors(const float* w, const float* k, const GroupView& g, const Steps& s, Vec (&ee)[3][kVecs]) {
  for (int v = 0; v < kVecs; ++v) {
    Vec u;
    load(w + v * kVecLanes, u);
    u *= s.inverse;
    Vec weight;
    if (kWeighted) {
      load(k + v * kVecLanes, weight);
      weight *= g.importance_scale;
    }
    for (int z = 0; z < 3; ++z) {
      const Vec t = u + s.zeros[z];
      Vec code;
      round_to_code(t, s.top, code);
      const Vec e = t - code;
      ee[z][v] += kWeighted ? weight * e * e : e * e;
    }
  }
}

/// The last n modulo 16 weights, padded with zeros that have no weight.
struct Tail {
  float w[16] = {};
  float k[16] = {};
};

SCALEBITS_PIECE copy_tail(const GroupView& g, int64_t first, Tail& tail) {
  for (int64_t i = first; i < g.n; ++i) {
    tail.w[i - first] = g.w[i];
    tail.k[i - first] = g.importance != nullptr ? g.importance[i] : 1.0F;
  }
}

SCALEBITS_TARGET static void sum_errors(const GroupView& g, const Steps& s, float* errors) noexcept {
  Vec ee[3][kVecs] = {};
  int64_t i = 0;
  if (g.importance != nullptr) {
    for (; i + 16 <= g.n; i += 16) add_errors<true>(g.w + i, g.importance + i, g, s, ee);
  } else {
    for (; i + 16 <= g.n; i += 16) add_errors<false>(g.w + i, nullptr, g, s, ee);
  }
  if (i < g.n) {
    Tail tail;
    copy_tail(g, i, tail);
    add_errors<true>(tail.w, tail.k, g, s, ee);
  }
  for (int z = 0; z < 3; ++z) add_lanes(ee[z], &errors[z]);
}

/// Least and greatest of 0 and the values. Any order gives the same.
SCALEBITS_TARGET static void find_range(const float* values, int64_t n, float* low, float* high) noexcept {
  Vec least[kVecs] = {};
  Vec greatest[kVecs] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int v = 0; v < kVecs; ++v) {
      Vec x;
      load(values + i + v * kVecLanes, x);
      least[v] = x < least[v] ? x : least[v];
      greatest[v] = x > greatest[v] ? x : greatest[v];
    }
  }
  float lo = 0;
  float hi = 0;
  for (; i < n; ++i) {
    lo = values[i] < lo ? values[i] : lo;
    hi = values[i] > hi ? values[i] : hi;
  }
  for (int v = 0; v < kVecs; ++v) {
    for (int l = 0; l < kVecLanes; ++l) {
      lo = least[v][l] < lo ? least[v][l] : lo;
      hi = greatest[v][l] > hi ? greatest[v][l] : hi;
    }
  }
  *low = lo;
  *high = hi;
}

#undef SCALEBITS_PIECE
