// From coefficients to samples as libjpeg's "islow" does it, and back: which coefficients give these samples.
//
// The way forth is on the wire: integers only. The way back is a search, whose result is tried by the
// way forth; what it does not find is kept in other ways.
//
// Sources: C. Loeffler, A. Ligtenberg, G. Moschytz, "Practical fast 1-D DCT algorithms with 11
// multiplications", ICASSP 1989; the rounding is libjpeg's (13 bits of the factors, 2 more between
// the passes). Unknown samples: coefficients are rounded one after another, the surest first, each
// time with the best linear estimate of the others (L. Babai, "On Lovász' lattice reduction and the
// nearest lattice point problem", 1986, with the pictures' own spreads for a prior).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace lmc::jpeg {

// One pass over 8 numbers, `step` apart; down: bits that the result loses.
inline void idct_pass(const int64_t* in, int64_t* out, int step, int down) {
  const auto at = [&](int i) { return in[i * step]; };
  const int64_t round = int64_t{1} << (down - 1);
  const int64_t e = (at(2) + at(6)) * 4433;
  const int64_t e2 = e - at(6) * 15137, e3 = e + at(2) * 6270;
  const int64_t e0 = (at(0) + at(4)) * 8192, e1 = (at(0) - at(4)) * 8192;
  const int64_t even[4] = {e0 + e3, e1 + e2, e1 - e2, e0 - e3};
  const int64_t a = at(7), b = at(5), c = at(3), d = at(1);
  const int64_t z5 = (a + c + b + d) * 9633;
  const int64_t z1 = (a + d) * -7373, z2 = (b + c) * -20995;
  const int64_t z3 = (a + c) * -16069 + z5, z4 = (b + d) * -3196 + z5;
  const int64_t odd[4] = {d * 12299 + z1 + z4, c * 25172 + z2 + z3, b * 16819 + z2 + z4, a * 2446 + z1 + z3};
  for (int i = 0; i < 4; ++i) {
    out[i * step] = (even[i] + odd[i] + round) >> down;
    out[(7 - i) * step] = (even[i] - odd[i] + round) >> down;
  }
}

// Samples of a block before they are cut to 0..255, by row. coefs, steps: by place; |coef * step| is
// cut to 2^16, so that nothing overflows.
inline void idct(const int16_t* coefs, const uint16_t* steps, int64_t* out) {
  int64_t in[64];
  constexpr int64_t kMost = 1 << 16;
  for (int i = 0; i < 64; ++i) in[i] = std::clamp(int64_t{coefs[i]} * steps[i], -kMost, kMost);
  for (int x = 0; x < 8; ++x) idct_pass(in + x, in + x, 8, 11);
  for (int y = 0; y < 8; ++y) {
    idct_pass(in + 8 * y, out + 8 * y, 1, 18);
    for (int x = 0; x < 8; ++x) out[8 * y + x] += 128;
  }
}

// 2^20 / 2 cos(u (2x + 1) pi / 16), but 2^20 / sqrt(8) at u = 0, by [x][u].
constexpr int64_t kWaves[8][8] = {
    {370728, 514214, 484379, 435930, 370728, 291279, 200636, 102284},
    {370728, 435930, 200636, -102284, -370728, -514214, -484379, -291279},
    {370728, 291279, -200636, -514214, -370728, 102284, 484379, 435930},
    {370728, 102284, -484379, -291279, 370728, 435930, -200636, -514214},
    {370728, -102284, -484379, 291279, 370728, -435930, -200636, 514214},
    {370728, -291279, -200636, 514214, -370728, -102284, 484379, -435930},
    {370728, -435930, 200636, 102284, -370728, 514214, -484379, 291279},
    {370728, -514214, 484379, -435930, 370728, -291279, 200636, -102284}};

// The same as decoders with floats have it: rounded at the end alone, halves up.
inline void fine_idct(const int16_t* coefs, const uint16_t* steps, int64_t* out) {
  constexpr int64_t kMost = 1 << 16;
  int64_t in[64], half[64];
  for (int i = 0; i < 64; ++i) in[i] = std::clamp(int64_t{coefs[i]} * steps[i], -kMost, kMost);
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 8; ++x) {
      int64_t sum = 0;
      for (int v = 0; v < 8; ++v) sum += in[8 * v + x] * kWaves[y][v];
      half[8 * y + x] = (sum + 32) >> 6;  // 14 bits behind the point
    }
  }
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 8; ++x) {
      int64_t sum = (int64_t{1} << 33) + (int64_t{1} << 14);  // the half, and what errors of a tie may take
      for (int u = 0; u < 8; ++u) sum += half[8 * y + u] * kWaves[x][u];
      out[8 * y + x] = (sum >> 34) + 128;
    }
  }
}

// ---- the way back -----------------------------------------------------------------------------------

constexpr int kNoLow = -32768, kNoHigh = 32767;  // no bound

class BlockFitter {
 public:
  // steps, spread (usual size of a coefficient, before its division by the step): by place.
  BlockFitter(const uint16_t* steps, const double* spread, bool fine) : fine_(fine) {
    for (int i = 0; i < 64; ++i) {
      step_[i] = steps[i];
      spread_[i] = spread[i];
      for (int p = 0; p < 64; ++p) basis_[i][p] = wave(i / 8, p / 8) * wave(i % 8, p % 8);
    }
    std::memcpy(steps_, steps, sizeof steps_);
  }

  // Coefficients whose samples, before they are cut, lie within [low, high]; 0: it is so, else how many
  // samples do not.
  int fit(const int16_t* low, const int16_t* high, int16_t* coefs) {
    low_ = low;
    high_ = high;
    bool all = true, any = false;
    for (int p = 0; p < 64; ++p) {
      const bool has_low = low[p] != kNoLow, has_high = high[p] != kNoHigh;
      known_[p] = low[p] == high[p];
      target_[p] = has_low && has_high ? (low[p] + high[p]) / 2 : has_low ? low[p] : high[p];
      if (!has_low && !has_high) target_[p] = 128, all = false;
      any = any || has_low || has_high;
    }
    std::memset(coefs, 0, 64 * sizeof *coefs);
    if (!any) return 0;
    best_ = coefs;
    fewest_ = 65;
    bool exact = all;
    for (int p = 0; p < 64; ++p) exact = exact && known_[p];
    if (all) {
      nearest();
      if (tried()) return 0;
      if (exact) return search(120);
    }
    estimate();
    if (tried() || search(all ? 60 : 40) == 0) return 0;
    // What has but one bound is taken for that.
    bool more = false;
    for (int p = 0; p < 64; ++p) {
      if (!known_[p] && (low[p] != kNoLow || high[p] != kNoHigh)) known_[p] = more = true;
    }
    if (more) {
      estimate();
      if (tried() || search(40) == 0) return 0;
    }
    return fewest_;
  }

 private:
  static double wave(int u, int x) { return u == 0 ? std::sqrt(0.125) : 0.5 * std::cos((2 * x + 1) * u * M_PI / 16); }

  void nearest() {
    for (int i = 0; i < 64; ++i) {
      double sum = 0;
      for (int p = 0; p < 64; ++p) sum += basis_[i][p] * (target_[p] - 128);
      set(i, sum / step_[i]);
    }
  }

  void set(int i, double v) {
    const double most = i == 0 ? 1024 : 1023;
    now_[i] = static_cast<int16_t>(std::lrint(std::clamp(v, -most, most)));
  }

  // Whether the exact samples are right; keeps the best.
  bool tried() {
    int64_t out[64];
    fine_ ? fine_idct(now_, steps_, out) : idct(now_, steps_, out);
    int wrong = 0;
    for (int p = 0; p < 64; ++p) {
      wrong += (low_[p] != kNoLow && out[p] < low_[p]) || (high_[p] != kNoHigh && out[p] > high_[p]);
    }
    if (wrong < fewest_) {
      fewest_ = wrong;
      std::memcpy(best_, now_, sizeof now_);
    }
    return wrong == 0;
  }

  // The known samples tell of the coefficients what they can; rounding one tells of the others.
  void estimate() {
    static thread_local double cov[64][64];
    double mean[64] = {}, gain[64];
    std::memset(cov, 0, sizeof cov);
    for (int i = 0; i < 64; ++i) cov[i][i] = spread_[i] * spread_[i];
    const auto learn = [&](const double* g, double variance, double error) {
      for (int i = 0; i < 64; ++i) {
        const double k = g[i] / variance;
        mean[i] += k * error;
        for (int j = 0; j < 64; ++j) cov[i][j] -= k * g[j];
      }
    };
    for (int p = 0; p < 64; ++p) {
      if (!known_[p]) continue;
      double given = 0, variance = 1.0 / 12;
      for (int i = 0; i < 64; ++i) {
        gain[i] = 0;
        for (int j = 0; j < 64; ++j) gain[i] += cov[i][j] * basis_[j][p];
        given += mean[i] * basis_[i][p];
      }
      for (int i = 0; i < 64; ++i) variance += gain[i] * basis_[i][p];
      learn(gain, variance, target_[p] - 128 - given);
    }
    bool done[64] = {};
    for (int n = 0; n < 64; ++n) {
      int next = -1;
      double surest = 0;
      for (int i = 0; i < 64; ++i) {
        if (done[i]) continue;
        const double unsure = std::max(cov[i][i], 0.0) / (step_[i] * step_[i]);
        if (next < 0 || unsure < surest) next = i, surest = unsure;
      }
      done[next] = true;
      set(next, mean[next] / step_[next]);
      if (cov[next][next] < 1e-6) continue;
      std::memcpy(gain, cov[next], sizeof gain);
      learn(gain, cov[next][next], now_[next] * step_[next] - mean[next]);
    }
  }

  // Tabu search from the present coefficients: the step that leaves the least, even if it is more than
  // before, but none back so soon.
  int search(int rounds) {
    double given[64];
    int free_at[64] = {};
    for (int p = 0; p < 64; ++p) {
      given[p] = 128;
      for (int i = 0; i < 64; ++i) given[p] += now_[i] * step_[i] * basis_[i][p];
    }
    for (int n = 1; n <= rounds; ++n) {
      double slope[64], pull[64] = {};
      // Of the moves, those that the violated samples ask for most.
      for (int p = 0; p < 64; ++p) slope[p] = outside(p, given[p]);
      for (int i = 0; i < 64; ++i)
        for (int p = 0; p < 64; ++p) pull[i] += slope[p] * basis_[i][p];
      int best = -1, sign = 0;
      double least = 1e30;
      for (int i = 0; i < 64; ++i) {
        if (free_at[i] > n || step_[i] > 24) continue;
        for (int s = -1; s <= 1; s += 2) {
          if (s * pull[i] > 0 && step_[i] > 4) continue;
          double cost = 0;
          for (int p = 0; p < 64 && cost < least; ++p) {
            const double v = outside(p, given[p] + s * step_[i] * basis_[i][p]);
            cost += v * v;
          }
          if (cost < least) least = cost, best = i, sign = s;
        }
      }
      if (best < 0) break;
      free_at[best] = n + 6;
      now_[best] = static_cast<int16_t>(std::clamp(now_[best] + sign, -1023, 1023));
      for (int p = 0; p < 64; ++p) given[p] += sign * step_[best] * basis_[best][p];
      if (least < 0.05 && tried()) return 0;
    }
    tried();
    return fewest_;
  }

  double outside(int p, double v) const {
    if (low_[p] != kNoLow && v < low_[p] - 0.5) return v - (low_[p] - 0.5);
    if (high_[p] != kNoHigh && v > high_[p] + 0.5) return v - (high_[p] + 0.5);
    return 0;
  }

  const bool fine_;
  double basis_[64][64], step_[64], spread_[64], target_[64];  // basis: by place and sample
  uint16_t steps_[64];
  bool known_[64];
  const int16_t *low_ = nullptr, *high_ = nullptr;
  int16_t now_[64];
  int16_t* best_ = nullptr;
  int fewest_ = 65;
};

// ---- chroma of fewer samples ------------------------------------------------------------------------

// How numbers of a thin axis spread over a full one: 0 one by one, 1 each twice, 2 "fancy" (3/4 of the
// number that covers a place, 1/4 of the nearer neighbour).
struct Axis {
  int thin = 0;                       // numbers, with one more at each end
  struct Touch { int at, weight; };   // place of the full axis, share of 4
  std::vector<Touch> touches;         // 4 of each thin number, weight 0 for none

  // full: its places; phase: 1 if the first is the second of its number. first, last: the picture ends
  // there, and a number beyond is equal to the outermost one.
  Axis(int kind, int full, int phase, bool first, bool last) {
    thin = kind == 0 ? full + 2 : (full - 1 + phase) / 2 + 3;
    touches.assign(static_cast<size_t>(thin) * 4, Touch{0, 0});
    const auto add = [&](int i, int at, int weight) {
      if (i == 0 && first) i = 1;
      if (i == thin - 1 && last) i = thin - 2;
      for (Touch* t = &touches[static_cast<size_t>(i) * 4];; ++t) {
        if (t->weight != 0 && t->at != at) continue;
        t->at = at;
        t->weight += weight;
        return;
      }
    };
    for (int x = 0; x < full; ++x) {
      const int i = kind == 0 ? x + 1 : (x + phase) / 2 + 1;
      add(i, x, kind == 2 ? 3 : 4);
      if (kind == 2) add((x + phase) % 2 == 0 ? i - 1 : i + 1, x, 1);
    }
  }
};

// The thin plane of a full one of (height, width); full: -1 where unknown. bias: what is added before the
// division by 16, by [row's phase][column's phase]. Sets the thin plane, and for each of its numbers
// whether it is sure; returns how many numbers of the full plane it does not give, and sets wrong there.
class Thinner {
 public:
  Thinner(const Axis& rows, const Axis& columns, int height, int width, const int16_t* full, const int bias[2][2], int row_phase,
          int column_phase, uint8_t* wrong)
      : rows_(rows), columns_(columns), width_(width), wrong_(wrong) {
    const size_t n = static_cast<size_t>(height) * static_cast<size_t>(width);
    low_.resize(n);
    known_.resize(n);
    left_.resize(n);
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const size_t at = place(y, x);
        known_[at] = full[at] >= 0;
        low_[at] = 16 * full[at] - bias[(y + row_phase) & 1][(x + column_phase) & 1];
      }
    }
  }

  // start: what to begin from, or nullptr for least squares.
  void run(const int16_t* start, int16_t* thin, uint8_t* sure) {
    const size_t n = static_cast<size_t>(rows_.thin) * static_cast<size_t>(columns_.thin);
    if (start == nullptr) linear(n);
    else real_.assign(start, start + n);
    sum_.assign(low_.size(), 0);
    out_.resize(n);
    for (int i = 0; i < rows_.thin; ++i)
      for (int j = 0; j < columns_.thin; ++j) {
        const double v = real_[index(i, j)];
        out_[index(i, j)] = 0;
        move(i, j, static_cast<int>(std::lrint(std::clamp(v, 0.0, 255.0))));
      }
    exact();
    std::vector<int> most(n);
    for (int i = 0; i < rows_.thin; ++i) {
      for (int j = 0; j < columns_.thin; ++j) {
        int weight = 0, full = 0;
        bool right = true;
        touch(i, j, [&](size_t at, int w) {
          full += w * w;
          if (!known_[at]) return;
          weight += w * w;
          right = right && excess(at) == 0;
        });
        thin[index(i, j)] = static_cast<int16_t>(out_[index(i, j)]);
        sure[index(i, j)] = right && weight >= 100 && 10 * weight >= 6 * full;
      }
    }
    for (size_t at = 0; at < low_.size(); ++at) wrong_[at] = known_[at] && excess(at) != 0;
  }

 private:
  size_t place(int y, int x) const { return static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x); }
  size_t index(int i, int j) const {
    return static_cast<size_t>(i) * static_cast<size_t>(columns_.thin) + static_cast<size_t>(j);
  }

  template <class F>
  void touch(int i, int j, F&& f) const {
    for (int a = 0; a < 4; ++a) {
      const Axis::Touch& r = rows_.touches[static_cast<size_t>(i) * 4 + static_cast<size_t>(a)];
      if (r.weight == 0) break;
      for (int b = 0; b < 4; ++b) {
        const Axis::Touch& c = columns_.touches[static_cast<size_t>(j) * 4 + static_cast<size_t>(b)];
        if (c.weight == 0) break;
        f(place(r.at, c.at), r.weight * c.weight);
      }
    }
  }

  // Least squares by over-relaxation.
  void linear(size_t n) {
    real_.assign(n, 128);
    double last = 128;
    for (int i = 0; i < rows_.thin; ++i) {
      for (int j = 0; j < columns_.thin; ++j) {
        double sum = 0, weight = 0;
        touch(i, j, [&](size_t at, int w) {
          if (known_[at]) sum += w * (low_[at] + 7.5) / 16, weight += w;
        });
        if (weight > 0) last = sum / weight;
        real_[index(i, j)] = last;
      }
    }
    for (size_t at = 0; at < low_.size(); ++at) left_[at] = known_[at] ? static_cast<float>(low_[at]) + 7.5f : 0;
    const auto shift = [&](int i, int j, double d) {
      touch(i, j, [&](size_t at, int w) {
        if (known_[at]) left_[at] -= static_cast<float>(d * w);
      });
    };
    for (int i = 0; i < rows_.thin; ++i)
      for (int j = 0; j < columns_.thin; ++j) shift(i, j, real_[index(i, j)]);
    for (int round = 0; round < 40; ++round) {
      for (int i = 0; i < rows_.thin; ++i) {
        for (int j = 0; j < columns_.thin; ++j) {
          double sum = 0, weight = 0;
          touch(i, j, [&](size_t at, int w) {
            if (known_[at]) sum += w * static_cast<double>(left_[at]), weight += w * w;
          });
          if (weight == 0) continue;
          const double d = (round < 32 ? 1.4 : 1.0) * sum / weight;
          real_[index(i, j)] += d;
          shift(i, j, d);
        }
      }
    }
  }

  int excess(size_t at) const {
    const int v = sum_[at] - low_[at];
    return !known_[at] ? 0 : v < 0 ? v : v > 15 ? v - 15 : 0;
  }

  // Adds d to a number; returns how much worse it gets.
  int64_t move(int i, int j, int d) {
    int64_t cost = 0;
    out_[index(i, j)] += d;
    touch(i, j, [&](size_t at, int w) {
      const int64_t before = excess(at);
      sum_[at] += d * w;
      const int64_t after = excess(at);
      cost += after * after - before * before;
    });
    return cost;
  }

  // Whole numbers: steps of one number, of two, and of chequered rectangles, which show least, while they help.
  void exact() {
    struct Step { int i, j, sign; };
    std::vector<std::vector<Step>> moves;
    for (int h = 1; h <= 3; ++h)
      for (int w = 1; w <= 4; ++w)
        for (int at = 0; at < h * w; ++at) {
          moves.emplace_back();
          for (int k = 0; k < h * w; ++k) {
            const int i = k / w - at / w, j = k % w - at % w;
            moves.back().push_back({i, j, (i + j) % 2 == 0 ? 1 : -1});
          }
        }
    for (int i = -1; i <= 1; ++i)
      for (int j = -1; j <= 1; ++j)
        if (i != 0 || j != 0) moves.push_back({{0, 0, 1}, {i, j, (i + j) % 2 == 0 ? -1 : 1}});
    std::stable_sort(moves.begin(), moves.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
    for (int round = 0; round < 5; ++round) {
      bool moved = false;
      for (int i = 0; i < rows_.thin; ++i) {
        for (int j = 0; j < columns_.thin; ++j) {
          bool wrong = false;
          touch(i, j, [&](size_t at, int) { wrong = wrong || excess(at) != 0; });
          if (!wrong) continue;
          const auto attempt = [&](const std::vector<Step>& steps, int sign) {
            for (const Step& s : steps)
              if (i + s.i < 0 || j + s.j < 0 || i + s.i >= rows_.thin || j + s.j >= columns_.thin) return false;
            int64_t cost = 0;
            for (const Step& s : steps) cost += move(i + s.i, j + s.j, sign * s.sign);
            if (cost < 0) return true;
            for (const Step& s : steps) move(i + s.i, j + s.j, -sign * s.sign);
            return false;
          };
          for (const auto& steps : moves) {
            if (round == 0 && steps.size() > 1) break;
            if (!attempt(steps, 1) && !attempt(steps, -1)) continue;
            moved = true;
            break;
          }
        }
      }
      if (!moved && round > 0) break;
      // It is no such plane.
      size_t wrong = 0, known = 0;
      for (size_t at = 0; at < low_.size(); ++at) wrong += excess(at) != 0, known += known_[at];
      if (16 * wrong > known) break;
    }
  }

  const Axis &rows_, &columns_;
  const int width_;
  uint8_t* wrong_;
  std::vector<int> low_, sum_, out_;  // low: the least sum that gives a number of the full plane, 15 less than the most
  std::vector<uint8_t> known_;
  std::vector<float> left_;
  std::vector<double> real_;
};

}  // namespace lmc::jpeg
