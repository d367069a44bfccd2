// The coder of drawn images: screens, plots, diagrams, palettes.
//
// Pixels in raster order. A pixel is first looked for among candidates, the
// values that its neighbourhoods were followed by before: one binary decision
// each, mixed from what those neighbourhoods say. A pixel that is none of them
// is coded as a colour, channel by channel and bit by bit.
// ARITHMETIC.md ("Drawn images") defines every step.
#pragma once
#ifndef X_MOST
#define X_MOST 3
#endif
#ifndef X_WC
#define X_WC 16000
#endif
#ifndef X_WK
#define X_WK 14000
#endif
#ifndef X_FC
#define X_FC 21
#endif
#ifndef X_LC
#define X_LC 10
#endif
#ifndef X_FK
#define X_FK 21
#endif
#ifndef X_LK
#define X_LK 10
#endif
#ifndef X_HM
#define X_HM 0
#endif
#ifndef X_HB
#define X_HB 1
#endif
#ifndef X_NH
#define X_NH 26
#endif
#ifndef X_SET
#define X_SET 1
#endif
#ifndef X_NL
#define X_NL 255
#endif
#ifndef X_EX
#define X_EX 1
#endif
#ifndef X_GAP
#define X_GAP 0
#endif
#ifndef X_RK
#define X_RK 1
#endif
#ifndef X_SC
#define X_SC 0
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "buffer.hpp"
#include "dispatch.hpp"
#include "graphic_colours.hpp"
#include "graphic_decision.hpp"
#include "graphic_values.hpp"
#include "mixer_contexts.hpp"
#include "mixer_tables.hpp"

namespace lmc::graphic {

using mixer::hash64;

struct Geometry {
  uint32_t height, width, channels, depth;
  uint64_t pixels() const { return uint64_t{height} * width; }
};

// The least log2 in [least, most] with 2^log2 >= wanted, or most.
inline int fit(uint64_t wanted, int least, int most) {
  int log2 = least;
  while (log2 < most && (uint64_t{1} << log2) < wanted) ++log2;
  return log2;
}

inline uint32_t bit_length(uint32_t v) { return v == 0 ? 0 : 32 - static_cast<uint32_t>(__builtin_clz(v)); }

// 0..15: the magnitude of a difference.
inline uint32_t magnitude(uint32_t v) {
  if (v < 4) return v;
  const uint32_t log = 31 - static_cast<uint32_t>(__builtin_clz(v));
  const uint32_t out = 4 + (log - 2) * 2 + (v >> (log - 1) & 1);
  return out < 15 ? out : 15;
}

constexpr int kPad = 8;       // columns beside the image
constexpr int kRowsAbove = 4;

// Neighbours in the order of their distance.
enum Near { W, N, NW, NE, WW, NN, NNE, NNW, NWW, NEE, WWW, NNN, NEEE, NNWW, NNEE, NWWW, kNear };

template <class Bits>
class Coder {
  static constexpr int kValues = 16;   // value contexts
  static constexpr int kShapes = 10;
  static constexpr int kMost = X_MOST;     // candidates
  static constexpr int kHistories = X_NH;
  static constexpr int kSmooth = 4, kNumeric = 18 + kSmooth;

 public:
  Coder(Geometry g, Bits& bits, bool avx2)
      : t_(mixer::tables()),
        g_(g),
        bits_(bits),
        stride_(g.width + 2 * kPad),
        pixels_(static_cast<size_t>(stride_) * (g.height + kRowsAbove)),
        values_(fit(g.pixels() * kValues / 2, 10, 22)),
        value_maps_(kValues * kRelations * 1024),
        shape_maps_(kShapes << kShapeBits),
        match_bits_(fit(g.pixels(), 8, 22)),
        heads_(size_t{2} << match_bits_),
        candidate_(t_, avx2, kCandidateSets, X_WC, 16, 1 << 16, 1 << 16),
        fresh_(t_, avx2, kFreshSets, 20000, 1, 256, 1024),
        colour_(t_, avx2, kColourSets, X_WK, 32, 1 << 16, 1 << 16),
        histories_(fit(g.pixels() * kHistories, 10, 22)),
        history_maps_(kHistories * 256 * 8),
        numeric_maps_(kNumeric << 14),
        fresh_maps_(8 * 1024),
        ranks_(g.width + 2 * kPad + 1),
        ranks_above_(g.width + 2 * kPad + 1) {
    for (size_t i = 0; i < value_maps_.size(); ++i) value_maps_[i].value = first_value(i);
    shape_maps_.fill({1u << 31});
    for (size_t i = 0; i < history_maps_.size(); ++i)
      history_maps_[i] = {i % 256 == 0 ? kFrozenHalf : t_.prior[i % 256] << 10};
    numeric_maps_.fill({1u << 31});
    fresh_maps_.fill({1u << 31});
    for (int i = 0; i < kNumeric; ++i) colour_.limit(kHistories + i, X_NL);
    bits_of_channel_ = static_cast<int>(g.channels == 1 ? g.depth : 8);
    colour_bits_ = static_cast<int>(g.channels) * bits_of_channel_;
  }

  // Codes the image `known`, or, where that is null, an unknown one; report(samples) before each row.
  template <class Report>
  void run(const uint8_t* known, Report&& report) {
    for (y_ = 0; y_ < g_.height; ++y_) {
      report(static_cast<size_t>(y_) * g_.width * g_.channels);
      begin_row();
      for (x_ = 0; x_ < g_.width; ++x_, ++at_) {
        uint32_t pixel = 0;
        if (known != nullptr) {
          pixel = pack(known);
          known += g_.channels;
        }
        pixels_[at_] = code(known != nullptr, pixel);
      }
      for (int i = 0; i < kPad; ++i) pixels_[at_ + static_cast<size_t>(i)] = pixels_[at_ - 1];
    }
  }

  // The samples of a row.
  void unpack(uint32_t y, uint8_t* out) const {
    const uint32_t* from = row(y);
    for (uint32_t x = 0; x < g_.width; ++x)
      for (uint32_t j = 0; j < g_.channels; ++j) out[x * g_.channels + sample_of(j)] = static_cast<uint8_t>(channel(from[x], j));
  }
  double cost[8] = {};
  uint64_t uses[8] = {};

 private:
  static constexpr int kRelations = 8;
  static constexpr int kShapeBits = 16;
  static constexpr int kCandidateSets[5] = {1024, 256, 256, 512, 8};
  static constexpr int kFreshSets[2] = {64, 1};
  static constexpr int kColourSets[4+X_SET] = {1024, 512, 2048,
#if X_SET
 2048,
#endif
 32};

  const uint32_t* row(uint32_t y) const { return pixels_.data() + static_cast<size_t>(y + kRowsAbove) * stride_ + kPad; }

  // Where the j-th coded channel lies in a pixel's samples: alpha first, then green, red, blue.
  uint32_t sample_of(uint32_t j) const {
    static constexpr uint8_t kOrder[5][4] = {{}, {0}, {1, 0}, {1, 0, 2}, {3, 1, 0, 2}};
    return kOrder[g_.channels][j];
  }
  uint32_t pack(const uint8_t* samples) const {
    uint32_t v = 0;
    for (uint32_t j = 0; j < g_.channels; ++j) v = v << 8 | samples[sample_of(j)];
    return v;
  }
  uint32_t channel(uint32_t v, uint32_t j) const { return v >> 8 * (g_.channels - 1 - j) & 255; }

  static uint32_t first_value(size_t i) {
    // [context][relation][past 128][run 8]
    const size_t run = i & 7, past = i >> 3 & 127, relation = i >> 10 & 7;
    static constexpr uint32_t kFirst[8] = {1, 3, 6, 10, 14, 20, 60, 200};
    uint64_t p = 1u << 21;
    if (past == 0) return kFrozenHalf;
    if (relation == 0) p = (uint64_t{1} << 22) * (10 * kFirst[run] + 4) / (10 * kFirst[run] + 10);
    else if (relation == 1 || relation == 3) p = 1u << 21;
    else if (relation == 2 || relation == 4) p = 1u << 19;
    else if (relation == 6) p = (uint64_t{1} << 22) * 4 / (10 * kFirst[run] + 10);
    else if (relation == 5) p = 1u << 20;
    return static_cast<uint32_t>(p << 10);
  }
  static uint32_t run_bucket(uint32_t run) {
    return run < 4 ? run : run < 7 ? 4 : run < 16 ? 5 : run < 80 ? 6 : 7;
  }

  void begin_row() {
    at_ = static_cast<size_t>(y_ + kRowsAbove) * stride_ + kPad;
    for (size_t i = 1; i <= kPad; ++i) pixels_[at_ - i] = pixels_[at_ - stride_];
    std::swap(ranks_, ranks_above_);
    std::fill(ranks_.begin(), ranks_.begin() + kPad, ranks_above_[kPad]);
    run_ = 0;
    ahead_ = 0;
  }

  void look_around() {
    const uint32_t* p = pixels_.data() + at_;
    const size_t s = stride_;
    const uint32_t* n = p - s;
    const uint32_t* nn = n - s;
    near_[W] = p[-1]; near_[WW] = p[-2]; near_[WWW] = p[-3];
    near_[N] = n[0]; near_[NW] = n[-1]; near_[NE] = n[1]; near_[NWW] = n[-2]; near_[NEE] = n[2]; near_[NEEE] = n[3];
    near_[NWWW] = n[-3];
    near_[NN] = nn[0]; near_[NNE] = nn[1]; near_[NNW] = nn[-1]; near_[NNWW] = nn[-2]; near_[NNEE] = nn[2];
    near_[NNN] = nn[-static_cast<ptrdiff_t>(s)];
    static constexpr uint64_t kMul[kNear] = {
        0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93,
        0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3,
        0x1D8E4E27C47D124F, 0xEB44ACCAB455D165, 0x9FB21C651E98DF25, 0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9, 0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63, 0xFF51AFD7ED558CCD};
    uint64_t h[kNear];
    for (int i = 0; i < kNear; ++i) h[i] = (near_[i] + 1) * kMul[i];
    const uint64_t wn = h[W] + h[N], four = wn + h[NW] + h[NE], six = four + h[WW] + h[NN], eight = six + h[NWW] + h[NEE];
    const uint64_t twelve = eight + h[NNE] + h[NNW] + h[WWW] + h[NNN];
    const uint64_t sixteen = twelve + h[NEEE] + h[NNWW] + h[NNEE] + h[NWWW];
    const uint64_t more = sixteen + p[-4] * 0xC4CEB9FE1A85EC53 + p[-5] * 0x2545F4914F6CDD1D +
                          nn[1 - static_cast<ptrdiff_t>(s)] * 0x369DEA0F31A53F85 +
                          nn[-1 - static_cast<ptrdiff_t>(s)] * 0xDB4F0B9175AE2165 + n[4] * 0xBD3A2B5C1E6F7A89;
    hash_[0] = more;
    hash_[1] = sixteen;
    hash_[2] = twelve;
    hash_[3] = eight;
    hash_[4] = six;
    hash_[5] = four;
    hash_[6] = wn + h[NE];
    hash_[7] = wn + h[NW];
    hash_[8] = wn;
    hash_[9] = h[N] + h[NE] + h[NEE] + h[NW];
    hash_[10] = h[W] + h[WW] + h[WWW];
    hash_[11] = h[W] + h[NE] + h[NEE];
    hash_[12] = h[N] + h[NN] + h[NNN];
    hash_[13] = h[N] + x_ * 0xF1357AEA2E62A9C5;
    hash_[14] = h[W];
    hash_[15] = h[N];
    for (int i = 0; i < kValues; ++i) {
      const uint32_t f = hash64(hash_[i] + static_cast<uint64_t>(i + 1) * 0x9DDFEA08EB382D69u);
      hash_[i] = f;
      lines_[i] = values_.line(f);
      __builtin_prefetch(lines_[i]);
    }
    match_hash_[0] = hash_[2];
    match_hash_[1] = hash_[4];
  }

  // ---- matches: the newest place with the same neighbourhood ----

  struct Match {
    size_t from = 0;      // the place of the predicted pixel, 0: none
    uint32_t length = 0;  // pixels around that agree, and then hits in a row
    uint32_t misses = 0;  // among the newest 8
  };

  uint32_t agreement(size_t a, size_t b) const {
    const ptrdiff_t s = static_cast<ptrdiff_t>(stride_);
    const ptrdiff_t offsets[] = {-1, -s, -s - 1, -s + 1, -2, -2 * s, -s + 2, -s - 2, -2 * s + 1, -2 * s - 1, -3, -2 * s + 2, -2 * s - 2,
                                 -s + 3, -s - 3, -4, -3 * s, -3 * s + 1, -3 * s - 1, -s + 4, -s - 4, -5, -2 * s + 3, -2 * s - 3};
    uint32_t length = 0;
    for (const ptrdiff_t o : offsets) {
      if (pixels_[a + static_cast<size_t>(o)] != pixels_[b + static_cast<size_t>(o)]) break;
      ++length;
    }
    return length;
  }

  void find_matches() {
    for (int m = 0; m < 2; ++m) {
      Match& match = match_[m];
      uint32_t& head = heads_[static_cast<size_t>(m) << match_bits_ | match_hash_[m] >> (32 - match_bits_)];
      if (match.from != 0 && match.length < 16) {
        if (head != 0) {
          const uint32_t length = agreement(head, at_);
          if (length >= (m ? 6u : 12u) && length > match.length) match = {head, length, 0};
        }
      } else if (match.from == 0 && head != 0) {
        const uint32_t length = agreement(head, at_);
        if (length >= (m ? 6u : 12u)) match = {head, length, 0};
      }
      head = static_cast<uint32_t>(at_);
      expected_[m] = match.from ? pixels_[match.from] : 0;
    }
  }

  void follow_matches(uint32_t pixel) {
    for (Match& match : match_) {
      if (match.from == 0) continue;
      const bool hit = pixels_[match.from] == pixel;
      match.misses = (match.misses << 1 | !hit) & 255;
      match.length = hit ? match.length + 1 : 0;
      ++match.from;
      if (__builtin_popcount(match.misses) > 4) match.from = 0;
    }
  }

  // ---- candidates ----

  void propose(uint32_t value, uint32_t score) {
    for (int i = 0; i < proposed_; ++i) {
      if (proposal_[i] == value) {
        score_[i] += score;
        return;
      }
    }
    if (proposed_ == kProposals) return;
    proposal_[proposed_] = value;
    score_[proposed_++] = score;
  }

  void propose_all() {
    proposed_ = 0;
    for (int i = 0; i < kValues; ++i) {
      const uint32_t h = static_cast<uint32_t>(hash_[i]);
      ValueSlot* slot = ValueTable::find(lines_[i], static_cast<uint16_t>(h));
      slot_[i] = slot;
      cell_base_[i] = (static_cast<size_t>(i) << 13) + (static_cast<size_t>(slot->past) << 3) + run_bucket(slot->run);
      if (slot->past > 1) {
        propose(slot->value[0], weigh(i, 0));
        if (slot->value[1] != slot->value[0]) propose(slot->value[1], weigh(i, 2));
        if (slot->past >= 16 && slot->value[2] != slot->value[1]) propose(slot->value[2], weigh(i, 4));
      }
    }
    for (int m = 0; m < 2; ++m)
      if (match_[m].from) propose(expected_[m], 200 + (match_[m].length < 32 ? match_[m].length * 40 : 1280));
    propose(near_[W], 40);
    propose(near_[N], 40);
    propose(near_[NE], 4);
    propose(near_[NW], 4);
  }
  uint32_t weigh(int i, int relation) const {
    const int32_t p = static_cast<int32_t>(value_maps_[cell_base_[i] + (static_cast<size_t>(relation) << 10)].value >> 20);
    if(X_SC==1) return p; if(X_SC==2) return p*p>>12; if(X_SC==3) return static_cast<uint32_t>(p) * 16u / (4400u - static_cast<uint32_t>(p));if(X_SC==4) return static_cast<uint32_t>(p) * (18u-i) / (4100u - static_cast<uint32_t>(p));
    return static_cast<uint32_t>(p) * 16u / (4100u - static_cast<uint32_t>(p));
  }

  // The relation of a value to what a slot holds, given what is excluded already (see ARITHMETIC.md).
  static int relation(const ValueSlot& slot, uint32_t value, bool first_gone) {
    if (slot.past <= 1) return 7;
    if (slot.value[0] == value) return 0;
    if (slot.value[1] == value) return first_gone ? 1 : 2;
    if (slot.value[2] == value) return first_gone ? 3 : 4;
    return first_gone ? 5 : 6;
  }

  bool excluded(uint32_t value, int k) const {
    for (int i = 0; i < k; ++i)
      if (candidates_[i] == value) return true;
    return false;
  }

  Adaptive* shape(int i, uint32_t context) { return &shape_maps_[(static_cast<size_t>(i) << kShapeBits) + (context & 0xffff)]; }

  void measure() {
    const uint32_t* n = near_;
    pattern_ = (n[W] == n[N]) | (n[N] == n[NW]) << 1 | (n[W] == n[NW]) << 2 | (n[N] == n[NE]) << 3 | (n[W] == n[WW]) << 4 |
               (n[N] == n[NN]) << 5 | (n[NE] == n[NEE]) << 6 | (n[NW] == n[NWW]) << 7;
    activity_ = 0;
    const auto apart = [&](uint32_t a, uint32_t b) {
      uint32_t sum = 0;
      for (int shift = 0; shift < 32; shift += 8)
        sum += static_cast<uint32_t>(std::abs(static_cast<int>(a >> shift & 255) - static_cast<int>(b >> shift & 255)));
      return sum;
    };
    if (n[W] != n[NW] || n[N] != n[NW] || n[NE] != n[N] || n[WW] != n[W])
      activity_ = apart(n[W], n[NW]) + apart(n[N], n[NW]) + apart(n[N], n[NE]) + apart(n[W], n[WW]);
    if (ahead_ == 0) {
      const uint32_t* above = pixels_.data() + at_ - stride_;
      while (ahead_ < 40 && above[ahead_ + 1] == above[0] && x_ + ahead_ + 1 < g_.width + 4) ++ahead_;
    } else {
      --ahead_;
    }
  }

  int code_bit(int stage, int known, uint32_t p) {
    const int bit = bits_(known, p);
#ifdef LMC_GRAPHIC_COSTS
    cost[stage] -= std::log2((bit ? p : (1 << 24) - p) / 16777216.0);
    ++uses[stage];
#else
    (void)stage;
#endif
    return bit;
  }

  bool code_candidate(int k, bool encoding, uint32_t pixel) {
    const uint32_t c = candidates_[k];
    const uint32_t* n = near_;
    uint32_t mask = 0, votes = 0;
    for (int i = 0; i < kNear; ++i) mask |= static_cast<uint32_t>(n[i] == c) << i;
    for (int i = 0; i < kValues; ++i) {
      const ValueSlot& slot = *slot_[i];
      const bool gone = k > 0 && (gone_ >> i & 1);
      const int r = relation(slot, c, gone);
      votes |= static_cast<uint32_t>(r == 0) << i;
      if (slot.past <= 1)
        candidate_.silence(i);
      else
        candidate_.voice(i, &value_maps_[cell_base_[i] + (static_cast<size_t>(r) << 10)]);
    }
    const uint32_t k3 = k < 2 ? static_cast<uint32_t>(k) : 2, k2 = k > 0;
    const uint32_t ranks = rank(0) | rank(1) << 2 | rank(2) << 4 | rank(3) << 6 | rank(4) << 8;
    uint32_t m[2];
    for (int j = 0; j < 2; ++j) {
      const Match& match = match_[j];
      m[j] = 0;
      if (match.from) {
        const uint32_t length = mixer::length_bucket(match.length);
        const uint32_t misses = static_cast<uint32_t>(__builtin_popcount(match.misses));
        const uint32_t gone = excluded(expected_[j], k);
        m[j] = 1 + ((expected_[j] == c ? 0 : 1 + gone) * 4 + (misses < 3 ? misses : 3)) * 32 + length;
      }
    }
    int v = kValues;
    candidate_.voice(v++, shape(0, (mask & 1023) | k3 << 10));
    candidate_.voice(v++, shape(1, (mask & 63) | pattern_ << 6 | k2 << 14));
    candidate_.voice(v++, shape(2, hash64(mask * 4 + k3) >> 16));
    candidate_.voice(v++, shape(3, m[0] * 2 + k2));
    candidate_.voice(v++, shape(4, m[1] * 2 + k2));
    candidate_.voice(v++, shape(5, ranks | (mask & 3) << 10 | k3 << 12));
    candidate_.voice(v++, shape(6, bit_length(run_ < 255 ? run_ : 255) | ahead_bucket() << 4 | (mask & 15) << 8 | k3 << 12));
    candidate_.voice(v++, shape(7, magnitude(activity_) | (mask & 15) << 4 | (pattern_ & 15) << 8 | k3 << 12));
    candidate_.voice(v++, shape(8, hash64((uint64_t{c} << 8 | k3) + 77) >> 16));
    candidate_.voice(v++, shape(9, hash64((uint64_t{votes} << 4 | k3) + 99) >> 16));
    const int selected[5] = {
        static_cast<int>((mask & 15) | (pattern_ & 15) << 4 | k3 << 8),
        static_cast<int>((m[0] ? (m[0] - 1) / 4 % 8 + 8 * ((m[0] - 1) / 128 + 1) : 0) * 2 + k2),
        static_cast<int>((ranks & 63) | k3 << 6),
        static_cast<int>((votes & 127) | k3 << 7),
        k,
    };
    const uint32_t p = candidate_.predict(selected, k, hash64((uint64_t{c} << 32 | n[W]) * 3 + n[N]) >> 16,
                                          (mask & 4095) | k3 << 12);
    const int bit = code_bit(k < 3 ? k : 3, encoding && c == pixel, p);
    candidate_.learn(bit);
    return bit != 0;
  }
  uint32_t ahead_bucket() const { return ahead_ < 6 ? ahead_ : ahead_ < 9 ? 6 : ahead_ < 14 ? 7 : ahead_ < 24 ? 8 : ahead_ < 40 ? 9 : 10; }

  // How the neighbours were coded: W, N, NE, NW, WW.
  uint32_t rank(int i) const {
    switch (i) {
      case 0: return ranks_[x_ + kPad - 1];
      case 1: return ranks_above_[x_ + kPad];
      case 2: return ranks_above_[x_ + kPad + 1];
      case 3: return ranks_above_[x_ + kPad - 1];
      default: return ranks_[x_ + kPad - 2];
    }
  }

  uint32_t code(bool encoding, uint32_t pixel) {
    look_around();
    measure();
    find_matches();
    propose_all();
    uint32_t found = 3;
    int k = 0;
    gone_ = 0;
    const int most = proposed_ < kMost ? proposed_ : kMost;
    for (; k < most; ++k) {
      int best = 0;
      for (int i = 1; i < proposed_; ++i)
        if (score_[i] > score_[best]) best = i;
      const uint32_t c = proposal_[best];
      candidates_[k] = c;
      score_[best] = score_[--proposed_];
      proposal_[best] = proposal_[proposed_];
      if (code_candidate(k, encoding, pixel)) {
        pixel = c;
        found = X_RK ? k > 0 : k < 2 ? static_cast<uint32_t>(k) : 2;
        break;
      }
      for (int i = 0; i < kValues; ++i) gone_ |= static_cast<uint32_t>(slot_[i]->value[0] == c) << i;
    }
    tried_ = most;
    if (k == most) {
      pixel = code_colour(encoding, pixel);
      if (X_RK) found = was_known_ ? 2 : 3;
    }
    for (int i = 0; i < kValues; ++i) {
      ValueSlot* slot = slot_[i];
      const bool empty = slot->past <= 1;
      const int place = empty ? 3 : slot->value[0] == pixel ? 0 : slot->value[1] == pixel ? 1 : slot->value[2] == pixel ? 2 : 3;
      if (empty) {
        slot->value[0] = slot->value[1] = slot->value[2] = pixel;
        slot->run = 1;
        slot->past = 4;
      } else {
        slot->learn(pixel, place);
      }
    }
    follow_matches(pixel);
    ranks_[x_ + kPad] = static_cast<uint8_t>(found);
    run_ = pixel == near_[W] ? run_ + 1 : 0;
    return pixel;
  }

  // ---- colours ----

  int clamp_sample(int v) const {
    const int most = (1 << bits_of_channel_) - 1;
    return v < 0 ? 0 : v > most ? most : v;
  }

  uint32_t code_colour(bool encoding, uint32_t pixel) {
    ++escapes_;
    bool known_colour = false;
    if (colours_.count() != 0 && !colours_.full()) {
      const uint32_t ranks = rank(0) | rank(1) << 2 | rank(2) << 4 | rank(3) << 6;
      const uint32_t act = magnitude(activity_);
      uint32_t c[6] = {fresh_past_ & 255, ranks, act | (fresh_past_ & 15) << 4, (ranks & 15) | act << 4,
                       (pattern_ & 63) | (fresh_past_ & 3) << 6, bit_length(colours_.count()) * 32 + bit_length(escapes_)};
      for (int i = 0; i < 6; ++i) fresh_.voice(i, &fresh_maps_[static_cast<size_t>(i) * 1024 + c[i]]);
      const int selected[2] = {static_cast<int>(fresh_past_ & 63), 0};
      const uint32_t p = fresh_.predict(selected, 0, fresh_past_ & 255, act | (ranks & 63) << 4);
      const bool is = encoding && colours_.has(pixel, trie_bits());
      const int bit = code_bit(4, is, p);
      fresh_.learn(bit);
      known_colour = bit != 0;
      fresh_past_ = fresh_past_ << 1 | (bit == 0);
    }
    if (known_colour) colours_.begin(candidates_, X_EX ? tried_ : 0, trie_bits());
    was_known_ = known_colour;
    uint32_t value = 0;
    for (uint32_t j = 0; j < g_.channels; ++j) {
      const uint32_t s = code_channel(j, value, encoding, encoding ? channel(pixel, j) : 0, known_colour);
      value = value << 8 | s;
    }
    if (!known_colour && !colours_.full() && !colours_.has(value, trie_bits())) colours_.add(value, trie_bits());
    return value;
  }
  int trie_bits() const { return g_.channels == 1 ? bits_of_channel_ : static_cast<int>(8 * g_.channels); }

  // The j-th channel; value: those before it.
  uint32_t code_channel(uint32_t j, uint32_t value, bool encoding, uint32_t sample, bool walk) {
    const uint32_t C = g_.channels;
    const bool alpha_first = C == 2 || C == 4;
    // The channel whose change this one's is guessed from: the one before it, but for alpha.
    const bool has_base = j > (alpha_first ? 1u : 0u);
    const uint32_t b = j - 1;
    int w[kNear], d[kNear];
    for (int i = 0; i < kNear; ++i) {
      w[i] = static_cast<int>(channel(near_[i], j));
      d[i] = has_base ? w[i] - static_cast<int>(channel(near_[i], b)) : w[i];
    }
    const int base = has_base ? static_cast<int>(value & 255) : 0;
    const auto med = [](int a, int bb, int c) { return std::max(std::min(a, bb), std::min(std::max(a, bb), a + bb - c)); };
    int P[kNumeric - kSmooth];
    int q = 0;
    P[q++] = base + d[W];
    P[q++] = base + d[N];
    P[q++] = base + med(d[W], d[N], d[NW]);
    P[q++] = base + d[W] + d[N] - d[NW];
    P[q++] = base + ((d[W] + d[NE] + 1) >> 1);
    P[q++] = base + d[N] + d[NE] - d[NNE];
    P[q++] = base + 2 * d[W] - d[WW];
    P[q++] = base + 2 * d[N] - d[NN];
    P[q++] = base + ((d[W] + d[N] + 1) >> 1);
    P[q++] = base + d[W] + d[NE] - d[N];
    P[q++] = base + ((d[W] * 3 + d[NE] * 3 + d[N] * 2 - d[NW] * 2 - d[WW] + d[NEE]) >> 2) - ((d[W]+d[NEE]-d[WW]-d[NW]+0) >> 3) * 0;
    P[q++] = w[W];
    P[q++] = w[N];
    P[q++] = med(w[W], w[N], w[NW]);
    P[q++] = static_cast<int>(channel(candidates_[0], j));
    P[q++] = blend(j, value, has_base);
    const int far = blend_far(j, value, has_base);
    P[q++] = far;
    P[q++] = has_base ? w[W] + w[NE] - w[N] : (w[N] + w[WW] + 1) >> 1;
    for (int i = 0; i < kNumeric - kSmooth; ++i) P[i] = clamp_sample(P[i]);

    // Means of wider neighbourhoods in units of 1/4, for noise: near ones, all, and both corrected by
    // what the channel before differs from its own mean.
    int near_mean, far_mean, near_base = 0, far_base = 0;
    const auto means = [&](const auto& v, int* a, int* f) {
      *a = (2 * (v(W) + v(N)) + v(NW) + v(NE) + v(WW) + v(NN)) >> 1;
      int sum = 0;
      for (int i = 0; i < kNear; ++i) sum += v(i);
      *f = sum >> 2;
    };
    means([&](int i) { return w[i]; }, &near_mean, &far_mean);
    if (has_base) means([&](int i) { return w[i] - d[i]; }, &near_base, &far_base);
    const int surprise = has_base ? 4 * base - far_base : 0;
    const int smooth[4] = {near_mean, far_mean, near_mean + ((has_base ? 4 * base - near_base : 0) >> 1), far_mean + surprise};
    const uint32_t surprised = !has_base ? 3 : surprise < -2 ? 0 : surprise > 2 ? 2 : 1;
    const uint32_t act = magnitude(activity_ / (C < 3 ? 1 : 2));
    uint64_t h[kHistories];
    int k = 0;
    const uint64_t before = value + 1;
    h[k++] = before;
    h[k++] = before << 32 | near_[W];
    h[k++] = before << 32 | near_[N];
    h[k++] = (before << 32 | near_[W]) * 3 + near_[N];
    h[k++] = (before << 32 | near_[W]) * 5 + near_[NE];
    h[k++] = before << 24 | static_cast<uint64_t>(w[W]) << 16 | static_cast<uint64_t>(w[N]) << 8 | static_cast<uint64_t>(w[NW]);
    h[k++] = static_cast<uint64_t>(w[W]) << 16 | static_cast<uint64_t>(w[N]) << 8 | (value & 255);
    h[k++] = static_cast<uint64_t>(P[2]) << 16 | act << 8;
    h[k++] = static_cast<uint64_t>(P[3]) << 16 | static_cast<uint64_t>(P[0]);
    h[k++] = before << 32 | candidates_[0];
    h[k++] = static_cast<uint64_t>(P[8]) << 24 | static_cast<uint64_t>(P[14]) << 8;
    h[k++] = static_cast<uint64_t>(P[15]) << 24 | static_cast<uint64_t>(P[1]) << 8 | (value & 255) ;
    #if X_HB
    h[k++] = static_cast<uint64_t>(P[16]) << 24 | (value & 255) << 1 | has_base;
#else
    h[k++] = (before << 32 | near_[NW]) * 7 + near_[W];
#endif
    h[k++] = (before << 32 | near_[N]) * 9 + near_[NE];
    if (kHistories > 14) {
    h[k++] = (((before << 32 | near_[W]) * 3 + near_[N]) * 5 + near_[NW]) * 7 + near_[NE];
    h[k++] = (before << 32 | near_[N]) * 3 + near_[NN];
    h[k++] = (before << 32 | near_[W]) * 11 + near_[WW];
    h[k++] = (before << 32 | candidates_[1]) * 3 + candidates_[0];
    h[k++] = static_cast<uint64_t>(w[NW]) << 32 | static_cast<uint64_t>(w[NE]) << 24 | static_cast<uint64_t>(w[N]) << 16 | static_cast<uint64_t>(w[W]) << 8 | (value & 255);
    h[k++] = static_cast<uint64_t>(P[6]) << 24 | static_cast<uint64_t>(P[7]) << 8 | 1;
    h[k++] = static_cast<uint64_t>(P[4]) << 24 | static_cast<uint64_t>(P[5]) << 8 | 2;
    h[k++] = static_cast<uint64_t>(P[9]) << 24 | act << 8 | 3;
    h[k++] = (before << 32 | (match_[0].from ? expected_[0] : match_[1].from ? expected_[1] : 0)) * 13;
    h[k++] = (before << 32 | near_[NE]) * 17 + near_[NEE];
    }
    if (kHistories > 24) {
    h[k++] = static_cast<uint64_t>(far_mean) << 32 | static_cast<uint64_t>(static_cast<uint32_t>(std::max(-31, std::min(31, surprise))) & 63) << 8;
    h[k++] = static_cast<uint64_t>(near_mean >> 1) << 32 | static_cast<uint64_t>(far_mean >> 2) << 16 | static_cast<uint64_t>(static_cast<uint32_t>(std::max(-31, std::min(31, surprise >> 1))) & 63) << 8;
    }
    for (int i = 0; i < kHistories; ++i) {
      hash_b_[i] = hash64(h[i] * 4 + j + static_cast<uint64_t>(i + 1) * 0x9DDFEA08EB382D69u);
    }
    load_lines(0);
    const uint32_t kind = j == 0 ? 0 : has_base ? 1 + (j + 1 == C) : 3;
    const uint32_t level = act < 3 ? 0 : act < 6 ? 1 : act < 9 ? 2 : 3;
    uint32_t c0 = 1, node = 1;
    for (int bit_index = bits_of_channel_ - 1; bit_index >= 0; --bit_index) {
      const int done = bits_of_channel_ - 1 - bit_index;
      if (done == 0 || done == 4) {
        if (done == 4) load_lines(c0);
        for (int i = 0; i < kHistories; ++i) slot_b_[i] = mixer::HistoryTable::find(line_b_[i], check_b_[i]);
        node = 1;
      }
      int bit;
      uint32_t branches = 3;
      if (walk) branches = colours_.branches();
      if (branches != 3) {
        bit = branches == 2;
      } else {
        int middle = static_cast<int>((c0 << 1 | 1) << bit_index) - (1 << bits_of_channel_);
        uint32_t size = static_cast<uint32_t>(bit_index);
        if (walk && X_GAP) {
          uint32_t below, above;
          colours_.gap(bit_index + 1, &below, &above);
          middle += static_cast<int>((below + above + 1) >> 1) - (1 << bit_index);
          size = bit_length(above - below - 1 > 127 ? 127 : above - below - 1);
        }
        int v = 0;
        for (int i = 0; i < kHistories; ++i, ++v)
          colour_.voice(v, &history_maps_[(static_cast<size_t>(i) * 8 + kind + (X_HM?walk*4u:0)) * 256 + slot_b_[i][node]]);
        for (int i = 0; i < kNumeric; ++i, ++v) {
          const bool fine = i >= kNumeric - kSmooth;
          const int off = fine ? smooth[i - (kNumeric - kSmooth)] + 2 - 4 * middle : P[i] - middle;
          const uint32_t level_of = fine ? surprised : level;
          const uint32_t dist = off >= 0 ? 16 + magnitude_fine(static_cast<uint32_t>(off)) : 15 - magnitude_fine(static_cast<uint32_t>(-off - 1));
          colour_.voice(v, &numeric_maps_[static_cast<size_t>(i) << 14 | (((walk * 4u + kind) * 4 + level_of) * 8 + size) * 32 + dist]);
        }
        uint32_t agree = 0;
        const uint32_t prefix = c0;
        const auto agrees = [&](int s) { return static_cast<uint32_t>(((s | 1 << bits_of_channel_) >> (bit_index + 1)) == static_cast<int>(prefix)); };
        agree = agrees(P[0]) | agrees(P[1]) << 1 | agrees(P[2]) << 2 | agrees(w[W]) << 3 | agrees(w[N]) << 4;
        const int selected[4+X_SET] = {
            static_cast<int>((kind * 8 + static_cast<uint32_t>(bit_index)) * 32 + agree),
            static_cast<int>(act * 32 + kind * 8 + static_cast<uint32_t>(bit_index)),
            static_cast<int>((kind * 256 + c0) * 2 + walk),
#if X_SET
            static_cast<int>((pattern_ & 31) << 6 | walk << 5 | kind * 8 | bit_index),
#endif
            static_cast<int>(kind * 8 + static_cast<uint32_t>(bit_index)),
        };
        const uint32_t p = colour_.predict(selected, static_cast<int>(kind * 8 + static_cast<uint32_t>(bit_index)),
                                           hash64((uint64_t{value} << 12 | c0) * 4 + kind) >> 16,
                                           hash64((static_cast<uint64_t>(P[2]) << 12 | c0) * 4 + kind) >> 16);
        bit = code_bit(walk ? 6 : 5, encoding ? static_cast<int>(sample >> bit_index & 1) : 0, p);
        colour_.learn(bit);
        const uint8_t* next = t_.next[static_cast<size_t>(bit)].data();
        for (int i = 0; i < kHistories; ++i) slot_b_[i][node] = next[slot_b_[i][node]];
      }
      if (walk) colours_.step(bit);
      c0 = c0 << 1 | static_cast<uint32_t>(bit);
      node = node << 1 | static_cast<uint32_t>(bit);
    }
    return c0 - (1u << bits_of_channel_);
  }
  static uint32_t magnitude_fine(uint32_t v) {  // 0..15
    if (v < 5) return v;
    return v < 7 ? 5 : v < 9 ? 6 : v < 13 ? 7 : v < 17 ? 8 : v < 25 ? 9 : v < 33 ? 10 : v < 49 ? 11 : v < 65 ? 12 : v < 97 ? 13 : v < 129 ? 14 : 15;
  }

  // What the channel is if the pixel lies on the line between the neighbours W and N or NE...
  int blend(uint32_t j, uint32_t value, bool has_base) const {
    if (!has_base) return static_cast<int>(channel(near_[NE], j));
    const uint32_t a = near_[W];
    uint32_t z = near_[N];
    if (channel(z, j - 1) == channel(a, j - 1)) z = near_[NE];
    if (channel(z, j - 1) == channel(a, j - 1)) z = near_[NW];
    const int a1 = static_cast<int>(channel(a, j - 1)), z1 = static_cast<int>(channel(z, j - 1));
    const int a2 = static_cast<int>(channel(a, j)), z2 = static_cast<int>(channel(z, j));
    const int x1 = static_cast<int>(value & 255);
    if (a1 == z1) return a2 + x1 - a1;
    return a2 + (z2 - a2) * (x1 - a1) / (z1 - a1);
  }

  // The same between the two neighbours that are the farthest apart.
  int blend_far(uint32_t j, uint32_t value, bool has_base) const {
    if (!has_base) return static_cast<int>(channel(near_[NW], j));
    int low = 0, high = 0;
    for (int i = 1; i < 12; ++i) {
      if (channel(near_[i], j - 1) < channel(near_[low], j - 1)) low = i;
      if (channel(near_[i], j - 1) > channel(near_[high], j - 1)) high = i;
    }
    const int a1 = static_cast<int>(channel(near_[low], j - 1)), z1 = static_cast<int>(channel(near_[high], j - 1));
    const int a2 = static_cast<int>(channel(near_[low], j)), z2 = static_cast<int>(channel(near_[high], j));
    const int x1 = static_cast<int>(value & 255);
    if (a1 == z1) return a2 + x1 - a1;
    return a2 + ((z2 - a2) * (x1 - a1) * 2 + (z1 - a1)) / (2 * (z1 - a1));
  }

  void load_lines(uint32_t part) {
    for (int i = 0; i < kHistories; ++i) {
      uint32_t h = (hash_b_[i] + part * 0x9E3779B1u) * 0x85EBCA6Bu;
      h ^= h >> 15;
      check_b_[i] = static_cast<uint8_t>(h & 255);
      line_b_[i] = histories_.line(h);
      __builtin_prefetch(line_b_[i]);
    }
  }

  static constexpr int kProposals = 20;

  const Tables& t_;
  const Geometry g_;
  Bits& bits_;
  const uint32_t stride_;
  Buffer<uint32_t> pixels_;
  ValueTable values_;
  Buffer<Adaptive> value_maps_;  // [context][relation][past][run]
  Buffer<Adaptive> shape_maps_;
  int match_bits_;
  Buffer<uint32_t> heads_;
  Decision<kValues + kShapes, 5, X_FC, X_LC> candidate_;
  Decision<6, 2, 21, 10> fresh_;
  Decision<kHistories + kNumeric, 4+X_SET, X_FK, X_LK> colour_;
  mixer::HistoryTable histories_;
  Buffer<Adaptive> history_maps_, numeric_maps_, fresh_maps_;
  std::vector<uint8_t> ranks_, ranks_above_;
  Colours colours_;
  int bits_of_channel_ = 8, colour_bits_ = 0;
  uint32_t y_ = 0, x_ = 0, run_ = 0, ahead_ = 0, pattern_ = 0, activity_ = 0, gone_ = 0, fresh_past_ = 0, escapes_ = 0;
  size_t at_ = 0;
  uint32_t near_[kNear] = {};
  uint64_t hash_[kValues] = {};
  uint32_t match_hash_[2] = {}, expected_[2] = {};
  Match match_[2];
  ValueSlot* lines_[kValues] = {};
  ValueSlot* slot_[kValues] = {};
  size_t cell_base_[kValues] = {};
  uint32_t proposal_[kProposals] = {}, score_[kProposals] = {}, candidates_[kMost] = {};
  bool was_known_ = false;
  int proposed_ = 0, tried_ = 0;
  uint32_t hash_b_[kHistories] = {};
  uint8_t check_b_[kHistories] = {};
  uint8_t* line_b_[kHistories] = {};
  uint8_t* slot_b_[kHistories] = {};
};

}  // namespace lmc::graphic
