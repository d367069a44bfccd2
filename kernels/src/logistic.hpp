// What the models of photos and videos reckon with: logarithms, classes, and logistic
// distributions.
//
// Included by each of their variants in a namespace of its own: no #pragma once.

inline int32_t magnitude(int32_t v) { return v < 0 ? -v : v; }

// 8 log2(v), linear between powers of two; v > 0.
inline int octaves8(int32_t v) {
  const int e = 31 - __builtin_clz(static_cast<uint32_t>(v));
  return e * 8 + (e >= 3 ? (v >> (e - 3)) & 7 : (v << (3 - e)) & 7);
}

// 8 times the mean of the nearest neighbours, W and N twice.
inline int32_t around(const int32_t* e, int stride) {
  return 2 * (e[-1] + e[-stride]) + e[-stride - 1] + e[1 - stride] + e[-2] + e[-2 * stride];
}

// base 2^(e / 64), within bounds.
inline int32_t power(int32_t base, int32_t e, int32_t low, int32_t high) {
  const int whole = e >> 6;
  const int64_t v = (int64_t{base} * power2(e & 63)) >> 8;  // 8 bits behind the point
  const int64_t moved = whole >= 0 ? v << (whole < 24 ? whole : 24) : v >> (whole > -32 ? -whole : 32);
  return clamp32(moved >> 8, low, high);
}

// The place of v in k classes between rising bounds.
template <size_t k>
inline int class_of(int32_t v, const int32_t (&bounds)[k]) {
  int c = 0;
  for (const int32_t bound : bounds) c += v >= bound;
  return c;
}
constexpr int32_t kSeven[] = {-11, -4, -1, 2, 5, 12};           // in eighths of the scale
constexpr int32_t kNine[] = {-16, -8, -4, -1, 2, 5, 9, 17};
constexpr int32_t kFive[] = {-6, -1, 2, 7};

// A logistic distribution on a line in units of 1/64.
struct Logistic {
  int64_t centre = 0;
  int32_t scale = 1, inverse = 0;
  void set(int64_t c, int32_t s) {
    centre = c;
    scale = s;
    inverse = (1 << 26) / s;
  }
  // Probability of less than b - 1/2, 24 bits.
  uint32_t below(const mixer::Tables& t, int32_t b) const {
    const int64_t d = int64_t{b} * 64 - 32 - centre, most = int64_t{scale} * 12 - 1;
    if (d >= most) return mixer::squash24(t, mixer::kLogitLimit);
    if (d <= -most) return mixer::squash24(t, -mixer::kLogitLimit);
    return mixer::squash24(t, mixer::clamp_logit(static_cast<int32_t>((d * inverse) >> 14)));
  }
};
