// Recursive least squares for all rows of a strip side by side: weights that would have predicted the
// pixels before this one best, the near ones and those of quiet places counting most.
//
// Method: locally weighted least squares as in the TMW and MRP coders (B. Meyer and P. Tischer, 1997;
// I. Matsuda et al., 2003), with exponential windows along rows and from row to row, in integers. Numbers
// lie by kind, then by row, so that a step of the slanted order is a loop over neighbouring numbers.
//
// Included by each variant of photo_*.cpp in a namespace of its own: no #pragma once.

constexpr int kTaps = 48;  // features at most
constexpr int32_t kFeatureLimit = 2047;
constexpr int kWeightBits = 16;  // weights: units of 2^-16
constexpr int32_t kWeightLimit = 1 << 20;
constexpr int32_t kRidge = 80;

// By how many bits each number, positive and below 2^31, can be raised to stay below 2^29; 0 if it is not.
inline Wide headroom(const Wide& numbers) {
  int32_t v[kLanes];
  store(v, numbers);
  for (int32_t& n : v) {
    const int zeros = __builtin_clz(static_cast<uint32_t>(n));
    n = zeros > 3 ? zeros - 3 : 0;
  }
  return load(v);
}

// Solves (A + ridge) w = b by LDL' in fixed point, for kLanes rows. Every rounding is part of the
// format. Bounds: |c|, |y| < 2^31, r <= 2^30 and |l| <= 2^24 are factors of 32 bits, as times() wants them;
// they keep c r below 2^61, and a sum of 48 products c l as well.
inline void solve(const int32_t* m, size_t stride, int n, int32_t* w) {
  const auto moment = [m, stride](int i, int j) { return load(m + static_cast<size_t>(i * (i + 1) / 2 + j) * stride); };
  const auto target = [m, stride, n](int i) { return load(m + static_cast<size_t>(n * (n + 1) / 2 + i) * stride); };
  Wide largest = all(1);
  for (int i = 0; i < n; ++i) largest = most(largest, moment(i, i));
  const Wide up = headroom(largest);  // the largest becomes 2^28 or more
  const Wide limit = all((int64_t{1} << 31) - 1), lowest = all(-(int64_t{1} << 31) + 1);
  const Wide steep = all(1 << 24), falling = all(-(1 << 24));
  Wide c[kTaps], y[kTaps], r[kTaps], triangle[kTaps * (kTaps - 1) / 2];
  for (int i = 0; i < n; ++i) {
    Wide* const li = triangle + i * (i - 1) / 2;
    for (int j = 0; j < i; ++j) {
      const Wide* const lj = triangle + j * (j - 1) / 2;
      Wide sum = all(0);
      for (int k = 0; k < j; ++k) sum = add(sum, times(c[k], lj[k]));
      c[j] = least(most(sub(raise(moment(i, j), up), lower<kWeightBits>(sum)), lowest), limit);
      li[j] = least(most(lower<29>(times(c[j], r[j])), falling), steep);
    }
    Wide sum = all(0), past = all(0);
    for (int k = 0; k < i; ++k) {
      sum = add(sum, times(c[k], li[k]));
      past = add(past, times(y[k], li[k]));
    }
    const Wide a = moment(i, i);
    const Wide ridged = add(a, add(lower<8>(a), all(kRidge)));
    const Wide d = least(most(sub(raise(ridged, up), lower<kWeightBits>(sum)), all(1 << 15)), limit);
    r[i] = reciprocal(d);  // 2^45 / d, at most 2^30
    y[i] = least(most(sub(raise(target(i), up), lower<kWeightBits>(past)), lowest), limit);
  }
  const Wide top = all(kWeightLimit), bottom = all(-kWeightLimit);
  Wide z[kTaps];
  for (int i = 0; i < n; ++i) z[i] = lower<29>(times(y[i], r[i]));
  for (int i = n - 1; i >= 0; --i) {
    const Wide v = least(most(z[i], bottom), top);
    store(w + static_cast<size_t>(i) * stride, v);
    const Wide* const li = triangle + i * (i - 1) / 2;
    for (int k = 0; k < i; ++k) z[k] = sub(z[k], lower<kWeightBits>(times(li[k], v)));
  }
}

// n <= kTaps features; the fades, together at most 8, make windows of about 2^fade pixels and rows. A
// window's moments stay below 2^22 2^along, and the sums of rows below 2^down times that: 2^30.
class Squares {
 public:
  Squares(int height, int n, int along, int down, int every)
      : n_(n), along_(along), down_(down), every_(every), count_(static_cast<size_t>(n) * (n + 1) / 2 + n),
        stride_(static_cast<size_t>(height + kLanes)), rows_(count_ * stride_), all_(count_ * stride_ + 1),
        weights_(n * stride_) {}

  // At step t, rows y0 to y1: the sums of each row are its own and, fading, those of the row above
  // as they were a step ago. all_ is one number ahead, so that the first row finds zeros above it.
  void advance(int t, int y0, int y1) {
    for (size_t e = 0; e < count_; ++e) {
      int32_t* const to = all_.data() + e * stride_ + 1;
      const int32_t* const row = rows_.data() + e * stride_;
      shift_in(to, row, y0, y1, down_);
    }
    if (t % every_ != 0) return;
    for (int y = y0; y <= y1; y += kLanes) solve(all_.data() + 1 + y, stride_, n_, weights_.data() + y);
  }
  // v[i]: feature i of each row, less its channel's base; to: units of 1/64.
  void predict(int y0, int y1, const int32_t* const* v, int64_t* to) const {
    for (int y = y0; y <= y1; ++y) to[y] = 0;
    for (int i = 0; i < n_; ++i) {
      const int32_t* const w = weights_.data() + static_cast<size_t>(i) * stride_;
      const int32_t* const x = v[i];
      for (int y = y0; y <= y1; ++y) to[y] += int64_t{w[y]} * x[y];
    }
    for (int y = y0; y <= y1; ++y) to[y] >>= kWeightBits - 6;
  }
  // u[i]: feature i of each row in units of its error to be expected, and the target's.
  void update(int y0, int y1, const int32_t* const* u, const int32_t* target) {
    int32_t* m = rows_.data();
    const int fade = along_;
    for (int i = 0; i <= n_; ++i) {
      const int32_t* const a = i < n_ ? u[i] : target;
      for (int j = 0; j < (i < n_ ? i + 1 : n_); ++j, m += stride_) {
        const int32_t* const b = u[j];
        int32_t* __restrict const to = m;
        for (int y = y0; y <= y1; ++y) to[y] += a[y] * b[y] - (to[y] >> fade);
      }
    }
  }

 private:
  // to[y] = row[y] + to[y - 1] (1 - 2^-fade) with the old to[y - 1]: from the last row to the first.
  static void shift_in(int32_t* to, const int32_t* row, int y0, int y1, int fade) {
    using Sixteen = int32_t __attribute__((vector_size(64)));  // loops over them are not found to be vectors
    int y = y1 + 1;
    for (; y - 16 >= y0; y -= 16) {
      Sixteen above, own;
      std::memcpy(&above, to + y - 17, sizeof above);
      std::memcpy(&own, row + y - 16, sizeof own);
      own += above - (above >> fade);
      std::memcpy(to + y - 16, &own, sizeof own);
    }
    for (--y; y >= y0; --y) to[y] = row[y] + to[y - 1] - (to[y - 1] >> fade);
  }

  int n_, along_, down_, every_;
  size_t count_, stride_;
  Buffer<int32_t> rows_, all_, weights_;
};
