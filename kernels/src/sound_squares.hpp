// Recursive least squares of one signal: weights that would have predicted the samples before this one
// best, the near ones and, if wanted, those of quiet places counting most.
//
// Method: least squares by covariance with exponential windows, as in OptimFROG, Sac and MPEG-4 ALS-RLS, solved
// by LDL' in fixed point of 64 bits with products of 128.
//
// Included by each variant of sound_*.cpp in a namespace of its own: no #pragma once.

using Int128 = __int128;
constexpr int32_t kUnitLimit = 1 << 20;

inline int bits_of(uint64_t v) { return v == 0 ? 0 : 64 - __builtin_clzll(v); }
inline int64_t within(Int128 v, int64_t limit) {
  return v > limit ? limit : v < -limit ? -limit : static_cast<int64_t>(v);
}

inline Int128 raised(int64_t v, int by) { return static_cast<Int128>(static_cast<unsigned __int128>(Int128{v}) << by); }

// The sum of n products. Three sums side by side: one alone would wait for its carries.
inline Int128 dot128(const int64_t* a, const int64_t* b, int n) {
  Int128 x = 0, y = 0, z = 0;
  int k = 0;
  for (; k + 3 <= n; k += 3) {
    x += Int128{a[k]} * b[k];
    y += Int128{a[k + 1]} * b[k + 1];
    z += Int128{a[k + 2]} * b[k + 2];
  }
  for (; k < n; ++k) x += Int128{a[k]} * b[k];
  return x + y + z;
}

// n features; the window is about 2^fade samples. Weights are units of 2^-20.
class Squares {
 public:
  Squares(int n, int fade, int every, int32_t ridge, int limit_bits)
      : n_(n), width_((n + 8) / 8 * 8), fade_(fade), every_(every), ridge_(ridge), limit_(int64_t{1} << (limit_bits + 12)),
        moments_(static_cast<size_t>(n + 1) * width_), triangle_(static_cast<size_t>(n) * n), weights_(n),
        block_(static_cast<size_t>(kBlock) * width_) {}

  int64_t predict(const int32_t* f) const {
    int64_t sum = 0;
    for (int i = 0; i < n_; ++i) sum += int64_t{weights_[static_cast<size_t>(i)]} * f[i];
    return sum;
  }
  // Where the next sample's features, n of them, and behind them the target are to be put.
  int32_t* next() { return block_.data() + static_cast<size_t>(filled_) * width_; }
  void learn() {
    if (++filled_ < every_) return;
    filled_ = 0;
    add_products(moments_.data(), n_, width_, block_.data(), every_);
    solve();
    int64_t* const m = moments_.data();
    for (size_t i = 0; i < moments_.size(); ++i) m[i] -= (m[i] >> fade_) * every_;
  }

 private:
  // (A + ridge) w = b. Bounds: ARITHMETIC.md, "Sounds".
  void solve() {
    constexpr int64_t kMost = (int64_t{1} << 62) - 1, kSteep = int64_t{1} << 48, kFar = int64_t{1} << 60;
    const auto row = [this](int i) { return moments_.data() + static_cast<size_t>(i) * width_; };
    int64_t largest = 1;
    for (int i = 0; i < n_; ++i) {
      const int64_t a = row(i)[i] + ridge_;
      largest = a > largest ? a : largest;
    }
    const int up = 60 - bits_of(static_cast<uint64_t>(largest));
    int64_t c[kTaps], y[kTaps], r[kTaps], z[kTaps];
    int s[kTaps];
    const int64_t* const target = row(n_);
    for (int i = 0; i < n_; ++i) {
      int64_t* const li = triangle_.data() + static_cast<size_t>(i) * n_;
      const int64_t* const m = row(i);
      for (int j = 0; j < i; ++j) {
        const int64_t* const lj = triangle_.data() + static_cast<size_t>(j) * n_;
        c[j] = within(raised(m[j], up) - (dot128(c, lj, j) >> 32), kMost);
        li[j] = within((Int128{c[j]} * r[j]) >> s[j], kSteep);
      }
      const Int128 left = raised(m[i] + ridge_, up) - (dot128(c, li, i) >> 32);
      const int64_t d = left > kMost ? kMost : left < 1 << 20 ? 1 << 20 : static_cast<int64_t>(left);
      s[i] = bits_of(static_cast<uint64_t>(d)) + 29;
      r[i] = static_cast<int64_t>((static_cast<unsigned __int128>(1) << (s[i] + 32)) / static_cast<uint64_t>(d));
      y[i] = within(raised(target[i], up) - (dot128(y, li, i) >> 32), kMost);
    }
    for (int i = 0; i < n_; ++i) z[i] = within((Int128{y[i]} * r[i]) >> s[i], kFar);
    for (int i = n_ - 1; i >= 0; --i) {
      const int64_t v = within(z[i], limit_);
      weights_[static_cast<size_t>(i)] = static_cast<int32_t>(v >> 12);
      const int64_t* const li = triangle_.data() + static_cast<size_t>(i) * n_;
      for (int k = 0; k < i; ++k) z[k] = within(Int128{z[k]} - ((Int128{li[k]} * v) >> 32), kFar);
    }
  }

  int n_, width_, fade_, every_;
  int32_t ridge_;
  int64_t limit_;
  std::vector<int64_t> moments_, triangle_;  // row n of the moments is the target's
  std::vector<int32_t> weights_, block_;
  int filled_ = 0;
};
