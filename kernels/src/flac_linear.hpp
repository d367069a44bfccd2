// How writers of FLAC find the coefficients of linear prediction: a window, its autocorrelation,
// Levinson's recursion, rounding. libFLAC (lpc.c, window.c, stream_encoder.c of 1.2 to 1.5) and FFmpeg
// (lpc.c) do it in floats; so does this, with the same roundings where they are known.
//
// The result is part of the format: only additions, multiplications, divisions, comparisons and
// conversions of IEEE 754 floats are used, in a fixed order, none contracted; no function of libm.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "flac_frame.hpp"

namespace lmc::flac {

// The ways of finding coefficients: none that is known; libFLAC from 1.4 on; FFmpeg; libFLAC to 1.3 in
// four kinds. Of those 1.3.4 has a cosine of floats, the others one of doubles (kFine), and 1.3.2 and
// later add with SSE the last products in another order than all others do (kInOrder).
enum LinearRule { kNoLinear, kLibflac14, kFfmpegLinear, kLibflac13, kFine = 1, kInOrder = 2, kLinearRules = 7 };

constexpr double kPi = 3.14159265358979311600;

// Cosine of 0 <= x <= 2 pi, to 1e-15.
inline double cosine(double x) {
  if (x > kPi) x = 2 * kPi - x;
  const bool second = x > kPi / 2;
  if (second) x = kPi - x;
  // Half the angle: cos x = 1 - 2 sin^2(x / 2).
  const double h = x / 2, z = h * h;
  double term = h, sine = h;
  for (int k = 1; k <= 10; ++k) {
    term = -term * z / (2 * k * (2 * k + 1));
    sine = sine + term;
  }
  const double c = 1 - 2 * (sine * sine);
  return second ? -c : c;
}

// Half of 1 - cos(pi a / b), rounded as libFLAC rounds.
inline float hann(int a, int b, bool fine) {
  if (fine) return static_cast<float>(0.5 - 0.5 * cosine(kPi * a / b));
  const float c = static_cast<float>(cosine(static_cast<float>(kPi * a / b)));
  return 0.5f - 0.5f * c;
}

using Window = std::vector<float>;

// Rises and falls by a quarter of p of the length each.
inline Window tukey(int n, float p, bool fine) {
  Window w(static_cast<size_t>(n), 1.0f);
  const int edge = static_cast<int>(p / 2.0f * static_cast<float>(n)) - 1;
  for (int i = 0; edge > 0 && i <= edge; ++i) {
    w[static_cast<size_t>(i)] = hann(i, edge, fine);
    w[static_cast<size_t>(n - edge - 1 + i)] = hann(i + edge, edge, fine);
  }
  return w;
}

// Tukey's window from `start` to `end`, or outside of that: of libFLAC 1.3.
inline Window part_of(int n, float start, float end, bool outside, bool fine) {
  constexpr float p = 0.2f;
  const int from = static_cast<int>(start * static_cast<float>(n)), to = static_cast<int>(end * static_cast<float>(n));
  Window w(static_cast<size_t>(n), 0.0f);
  const auto hill = [&w, n, fine](int a, int b, int edge) {
    for (int i = a; i < b && i < n; ++i) {
      const int up = i - a + 1, down = b - i;
      w[static_cast<size_t>(i)] = i < a + edge ? hann(up, edge, fine) : i >= b - edge ? hann(down, edge, fine) : 1.0f;
    }
  };
  if (outside) {
    hill(0, from, static_cast<int>(p / 2.0f * static_cast<float>(from)));
    hill(to, n, static_cast<int>(p / 2.0f * static_cast<float>(n - to)));
  } else {
    hill(from, to, static_cast<int>(p / 2.0f * static_cast<float>(to - from)));
  }
  return w;
}

class Linear {
 public:
  static constexpr int kMostWindows = 31;

  // parts: of libFLAC's window subdivide_tukey, or 1. order: the largest that the writer tries.
  Linear(LinearRule rule, int parts, int order)
      : rule_(std::min(rule, kLibflac13)),
        fine_(rule > kLibflac13 && ((rule - kLibflac13) & kFine) != 0),
        in_order_(rule > kLibflac13 && ((rule - kLibflac13) & kInOrder) != 0),
        parts_(parts),
        order_(order) {}

  int windows() const {
    if (rule_ == kNoLinear) return 0;
    if (rule_ == kFfmpegLinear) return 1;
    if (rule_ == kLibflac13) return 6;
    return std::min(kMostWindows, parts_ == 1 ? 1 : 3 + (parts_ - 2) * (parts_ + 3));
  }

  // A new signal: what was found for the last one is forgotten.
  void begin() { known_.clear(); }

  // Coefficients and shift of a subframe of that order and precision by a window; false if there are none.
  bool find(const Signal& signal, int window, Subframe& s) {
    const auto [place, fresh] = known_.try_emplace(window);
    std::vector<double>& sums = place->second;
    if (fresh) correlate(signal, window, sums);
    double c[kMaxOrder];
    return sums.size() > static_cast<size_t>(s.order) && levinson(sums.data(), s.order, c) &&
           (rule_ == kFfmpegLinear ? round_ffmpeg(c, s) : round_libflac(c, s));
  }

 private:
  // Sums of products of samples 0 to order_ apart; none if the window does not fit.
  void correlate(const Signal& signal, int window, std::vector<double>& sums) {
    const int n = static_cast<int>(signal.size());
    if (n <= order_) return;
    if (rule_ == kFfmpegLinear) return welch(signal, sums);
    if (rule_ == kLibflac13) {
      const Window& w = window_of(n, window);
      windowed_.resize(signal.size());
      for (size_t i = 0; i < signal.size(); ++i) windowed_[i] = static_cast<float>(signal[i]) * w[i];
      return sum_floats(n, sums);
    }
    // Windows 1, 2: halves; then for 3 parts and more each part, and all but this part.
    const Window& w = window_of(n, 0);
    if (window == 0) {
      windowed_.resize(signal.size());
      for (size_t i = 0; i < signal.size(); ++i) windowed_[i] = static_cast<float>(signal[i]) * w[i];
      return sum_doubles(n, sums);
    }
    int parts = 2, which = 2 * (window - 1);
    for (int first = 3; window >= first; first += 2 * parts) {
      ++parts;
      which = window - first;
    }
    if (n / parts <= kMaxOrder) return;
    if (which % 2 == 1) {
      const auto kept = [this, &signal](int index) -> const std::vector<double>& {
        const auto [place, fresh] = known_.try_emplace(index);
        if (fresh) correlate(signal, index, place->second);
        return place->second;
      };
      const std::vector<double>&whole = kept(0), &part = kept(window - 1);
      sums = whole;
      // libFLAC leaves the last sum as it is.
      for (size_t i = 0; i + 1 < sums.size(); ++i) sums[i] = whole[i] - part[i];
      if (!sums.empty()) sums.back() = part.back();
      return;
    }
    const int half = n / parts / 2, from = which / 2 * n / parts;
    windowed_.assign(static_cast<size_t>(n / parts), 0.0f);
    for (int i = 0; i < 2 * half; ++i) {
      const float weight = w[static_cast<size_t>(i < half ? i : n - 2 * half + i)];
      windowed_[static_cast<size_t>(i)] = static_cast<float>(signal[static_cast<size_t>(from + i)]) * weight;
    }
    sum_doubles(n / parts, sums);
  }

  const Window& window_of(int n, int window) {
    if (windows_.size() > 64) windows_.clear();
    const auto [place, fresh] = windows_.try_emplace({n, window});
    if (fresh) place->second = make_window(n, window);
    return place->second;
  }
  Window make_window(int n, int window) const {
    if (rule_ == kLibflac14) return tukey(n, 0.5f / static_cast<float>(parts_), false);
    if (window == 0) return tukey(n, 0.5f, fine_);
    const float overlap = 1.0f / (1.0f - (window > 2 ? 0.2f : 0.1f)) - 1.0f;
    const int parts = window <= 2 ? 2 : 3, m = window <= 2 ? window - 1 : window - 3;
    const float all = static_cast<float>(parts) + overlap;
    return part_of(n, static_cast<float>(m) / all, (static_cast<float>(m + 1) + overlap) / all, window > 2, fine_);
  }

  // As libFLAC 1.4: doubles, from the first sample on.
  void sum_doubles(int n, std::vector<double>& sums) {
    constexpr int kGroup = 4, kBefore = kMaxOrder + kGroup;
    const int lags = order_ + 1;
    double acc[kBefore] = {};
    padded_.assign(kBefore, 0.0);
    padded_.insert(padded_.end(), windowed_.begin(), windowed_.begin() + n);
    for (int lag = 0; lag < lags; lag += kGroup) {
      const double *x = padded_.data() + kBefore, *y = x - lag;
      double a = 0, b = 0, c = 0, d = 0;
      for (int i = 0; i < n; ++i) {
        a += x[i] * y[i];
        b += x[i] * y[i - 1];
        c += x[i] * y[i - 2];
        d += x[i] * y[i - 3];
      }
      acc[lag] = a;
      acc[lag + 1] = b;
      acc[lag + 2] = c;
      acc[lag + 3] = d;
    }
    sums.assign(acc, acc + lags);
  }

  // As libFLAC 1.3 with SSE: floats; the last few products of 4, 8, 12 or 16 lags are added last to first.
  void sum_floats(int n, std::vector<double>& sums) {
    const int lags = order_ + 1, block = order_ < 16 && !in_order_ ? (order_ / 4 + 1) * 4 : 1;
    float acc[kMaxOrder + 1] = {};
    const float* x = windowed_.data();
    const int limit = std::max(0, n - block + 1);
    for (int i = 0; i < limit; ++i) {
      const int most = std::min(lags, n - i);
      for (int j = 0; j < most; ++j) acc[j] += x[i] * x[i + j];
    }
    for (int i = n - 1; i >= limit; --i) {
      for (int j = 0; j < std::min(lags, n - i); ++j) acc[j] += x[i] * x[i + j];
    }
    sums.assign(acc, acc + lags);
  }

  // As FFmpeg: Welch's window, not scaled; each sum begins with 1.
  void welch(const Signal& signal, std::vector<double>& sums) {
    const int n = static_cast<int>(signal.size());
    const double c = 2.0 / (n - 1.0);
    padded_.assign(static_cast<size_t>(n), 0.0);
    for (int i = 0; i < n / 2; ++i) {
      const double w = n % 2 == 1 ? c - i - 1.0 : c - n / 2 + (n / 2 - 1 - i), weight = 1.0 - w * w;
      const size_t a = static_cast<size_t>(i), b = static_cast<size_t>(n - 1 - i);
      padded_[a] = static_cast<double>(signal[a]) * weight;
      padded_[b] = static_cast<double>(signal[b]) * weight;
    }
    sums.assign(static_cast<size_t>(order_) + 1, 1.0);
    for (int j = 0; j <= order_; ++j) {
      double total = 1.0;
      for (int i = j; i < n; ++i) total += padded_[static_cast<size_t>(i)] * padded_[static_cast<size_t>(i - j)];
      sums[static_cast<size_t>(j)] = total;
    }
  }

  static bool levinson(const double* sums, int order, double* out) {
    double c[kMaxOrder] = {}, error = sums[0];
    for (int i = 0; i < order; ++i) {
      if (!(error > 0)) return false;
      double r = -sums[i + 1];
      for (int j = 0; j < i; ++j) r -= c[j] * sums[i - j];
      r /= error;
      c[i] = r;
      for (int j = 0; j < i / 2; ++j) {
        const double held = c[j];
        c[j] += r * c[i - 1 - j];
        c[i - 1 - j] += r * held;
      }
      if (i % 2 == 1) c[i / 2] += c[i / 2] * r;
      error *= 1.0 - r * r;
    }
    for (int j = 0; j < order; ++j) out[j] = -c[j];
    return true;
  }

  static double power(int n) { return static_cast<double>(uint64_t{1} << n); }
  static double size_of(double x) { return x < 0 ? -x : x; }

  // The integer next to |x| < 2^31; halves to even, or away from zero.
  static int64_t nearest(double x, bool even) {
    const double size = size_of(x);
    int64_t whole = static_cast<int64_t>(size);
    const double rest = size - static_cast<double>(whole);
    if (rest > 0.5 || (rest == 0.5 && (!even || (whole & 1) != 0))) ++whole;
    return x < 0 ? -whole : whole;
  }

  static bool round_libflac(const double* exact, Subframe& s) {
    float c[kMaxOrder];
    double most = 0;
    for (int j = 0; j < s.order; ++j) {
      c[j] = static_cast<float>(exact[j]);
      most = std::max(most, size_of(c[j]));
    }
    if (!(most > 0 && most < 65536.0)) return false;
    int log = 0;  // 2^log <= most < 2^(log + 1)
    for (double m = most; m >= 2.0; m /= 2) ++log;
    for (double m = most; m < 1.0; m *= 2) --log;
    s.shift = std::min(15, s.precision - 2 - log);
    const double scale = s.shift >= 0 ? power(s.shift) : 1.0 / power(-s.shift);
    s.shift = std::max(0, s.shift);
    const int64_t high = (int64_t{1} << (s.precision - 1)) - 1;
    double error = 0;
    for (int j = 0; j < s.order; ++j) {
      error += c[j] * scale;
      if (!(size_of(error) < power(30))) return false;
      const int64_t q = std::clamp(nearest(error, false), -high - 1, high);
      error -= static_cast<double>(q);
      s.coefficients[j] = static_cast<int32_t>(q);
    }
    return true;
  }

  static bool round_ffmpeg(const double* exact, Subframe& s) {
    double c[kMaxOrder], most = 0;
    for (int j = 0; j < s.order; ++j) {
      c[j] = exact[j];
      most = std::max(most, size_of(c[j]));
    }
    const int64_t high = (int64_t{1} << (s.precision - 1)) - 1;
    if (!(most * power(15) >= 1.0 && most < power(30))) return false;
    s.shift = 15;
    while (s.shift > 0 && most * power(s.shift) > static_cast<double>(high)) --s.shift;
    if (s.shift == 0 && most > static_cast<double>(high)) {
      const double scale = static_cast<double>(high) / most;
      for (int j = 0; j < s.order; ++j) c[j] *= scale;
    }
    double error = 0;
    for (int j = 0; j < s.order; ++j) {
      error += c[j] * power(s.shift);
      if (!(size_of(error) < power(30))) return false;
      const int64_t q = std::clamp(nearest(static_cast<float>(error), true), -high, high);
      error -= static_cast<double>(q);
      s.coefficients[j] = static_cast<int32_t>(q);
    }
    return true;
  }

  const LinearRule rule_;
  const bool fine_, in_order_;
  const int parts_, order_;
  std::map<int, std::vector<double>> known_;  // window: its sums
  std::map<std::pair<int, int>, Window> windows_;
  std::vector<float> windowed_;
  std::vector<double> padded_;
};

}  // namespace lmc::flac
