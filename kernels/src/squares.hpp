// Recursive least squares for all rows of a strip side by side: weights that would have predicted the
// pixels before this one best, the near ones and those of quiet places counting most.
//
// Method: locally weighted least squares as in the TMW and MRP coders (B. Meyer and P. Tischer, 1997;
// I. Matsuda et al., 2003), with exponential windows along rows and from row to row, in integers. Numbers
// lie by kind, then by row, so that a step of the slanted order is a loop over neighbouring numbers.
//
// Included by each variant of photo_*.cpp and video_*.cpp in a namespace of its own: no #pragma once.

constexpr int kTaps = 96;  // features at most
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
// they keep c r below 2^61, and a sum of 96 products c l below 2^62.
inline void solve(const int32_t* m, size_t stride, int n, int32_t* w) {  // w: [n][kLanes]
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
    store(w + i * kLanes, v);
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
        stride_(padded(height) + kGroup), rows_(count_ * stride_), sums_(count_ * stride_), weights_(n * stride_) {}

  // Numbers of a row of memory that holds `height` rows, and whole groups around them.
  static constexpr int kGroup = 16;
  static size_t padded(int height) { return static_cast<size_t>(height / kGroup + 1) * kGroup; }

  // Forgets all.
  void clear() {
    for (Buffer<int32_t>* numbers : {&rows_, &sums_, &weights_}) std::memset(numbers->data(), 0, numbers->size() * sizeof(int32_t));
  }

  // The weights of rows y0 to y1 at step t. A row that has not begun keeps weights of 0.
  void weigh(int t, int y0, int y1) {
    if (t % every_ != 0) return;
    int32_t w[kTaps * kLanes];
    for (int y = y0; y <= y1; y += kLanes) {
      solve(sums_.data() + kGroup + y, stride_, n_, w);
      const size_t rows = static_cast<size_t>(y1 - y + 1 < kLanes ? y1 - y + 1 : kLanes);
      for (int i = 0; i < n_; ++i)
        std::memcpy(weights_.data() + static_cast<size_t>(i) * stride_ + y, w + i * kLanes, rows * sizeof *w);
    }
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
  // The end of a step, and the sums of the next one, which begins with row `next`. u[i]: feature i of each
  // row in units of its error to be expected, and the target's. The sums of a row are its own and,
  // fading, those of the row above as they were a step ago. Whole groups of rows are worked on: before row
  // `next` no number counts any more, but the sums of the row above it; after row y1 all features are 0.
  void learn(int y0, int y1, int next, const int32_t* const* u, const int32_t* target) {
    using Group = int32_t __attribute__((vector_size(kGroup * sizeof(int32_t))));
    const int along = along_, down = down_, first = y0 / kGroup * kGroup, last = (y1 + 1) / kGroup * kGroup;
    int32_t* rows = rows_.data() + kGroup;
    int32_t* sums = sums_.data() + kGroup;
    for (int i = 0; i <= n_; ++i) {
      const int32_t* const a = i < n_ ? u[i] : target;
      for (int j = 0; j < (i < n_ ? i + 1 : n_); ++j, rows += stride_, sums += stride_) {
        const int32_t* const b = u[j];
        const int32_t kept = sums[next - 1];
        for (int y = last; y >= first; y -= kGroup) {  // downwards: sums[y - 1] is still the old one
          Group own, above, x, z;
          std::memcpy(&x, a + y, sizeof x);
          std::memcpy(&z, b + y, sizeof z);
          std::memcpy(&own, rows + y, sizeof own);
          std::memcpy(&above, sums + y - 1, sizeof above);
          own += x * z - (own >> along);
          std::memcpy(rows + y, &own, sizeof own);
          own += above - (above >> down);
          std::memcpy(sums + y, &own, sizeof own);
        }
        sums[next - 1] = kept;
      }
    }
  }

 private:
  int n_, along_, down_, every_;
  size_t count_, stride_;
  Buffer<int32_t> rows_, sums_, weights_;
};
