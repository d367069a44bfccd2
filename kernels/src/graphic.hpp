// The coder of drawn images: screens, plots, diagrams, palettes.
//
// Pixels in raster order. A pixel is first looked for among candidates, values
// that followed neighbourhoods like this one before: one binary decision each,
// mixed from what all those neighbourhoods say. A pixel that is none of them is
// coded as a colour, channel by channel and bit by bit; of a colour that came
// before, only the bits at which known colours part. ARITHMETIC.md ("Drawn
// images") defines every step and kernels/reference_graphic.py is equal.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "buffer.hpp"
#include "dispatch.hpp"
#include "graphic_colours.hpp"
#include "graphic_decision.hpp"
#include "graphic_linear.hpp"
#include "graphic_match.hpp"
#include "graphic_values.hpp"
#include "mixer_contexts.hpp"
#include "mixer_tables.hpp"

namespace lmc::graphic {

using mixer::hash64;

struct Geometry {
  uint32_t height, width, channels, depth;  // depth: bits of a sample, 8 with more than one channel
  uint64_t pixels() const { return uint64_t{height} * width; }
};

constexpr uint32_t kPad = 8;        // columns on each side of the image
constexpr uint32_t kRowsAbove = 4;  // rows above it

// Pixels of the image with its borders.
inline uint64_t canvas_size(const Geometry& g) { return (uint64_t{g.width} + 2 * kPad) * (uint64_t{g.height} + kRowsAbove); }

// How much an effort looks at. A larger effort adds to the lists of a smaller one.
struct Plan {
  int values;            // contexts that remember values
  int shapes;            // voices that know shapes, not colours
  int histories;         // contexts of bit histories, for colours
  int smooth, numeric;   // predictors of a channel in units of 1/4, and of 1
  int log2_values, log2_histories;  // most slots
};
constexpr int kMaxValues = 16, kMaxShapes = 10, kMaxHistories = 26, kMaxSmooth = 6, kMaxNumeric = 18;
constexpr Plan kPlans[3] = {{6, 6, 6, 2, 6, 20, 20}, {14, 10, 16, 4, 12, 22, 22}, {16, 10, 26, 6, 18, 22, 22}};

// The least log2 in [least, most] with 2^log2 >= wanted, or most.
inline int fit(uint64_t wanted, int least, int most) {
  int log2 = least;
  while (log2 < most && (uint64_t{1} << log2) < wanted) ++log2;
  return log2;
}

// Bytes that coding takes at most, beside samples and payload.
inline uint64_t coder_bytes(const Geometry& g, int effort) {
  const Plan& p = kPlans[effort];
  return 4 * canvas_size(g) + (uint64_t{16} << fit(g.pixels() * static_cast<uint64_t>(p.values) / 2, 10, p.log2_values)) +
         (uint64_t{16} << fit(g.pixels() * static_cast<uint64_t>(p.histories), 10, p.log2_histories)) +
         (uint64_t{8} << fit(g.pixels(), 8, 22)) + uint64_t{12} * g.width + (uint64_t{64} << 20);
}

inline uint32_t bit_length(uint32_t v) { return v == 0 ? 0 : 32 - static_cast<uint32_t>(__builtin_clz(v)); }

// The magnitude of a difference of pixels, two steps for each doubling: 0..15.
inline uint32_t magnitude(uint32_t v) {
  if (v < 4) return v;
  const uint32_t log = bit_length(v) - 1;
  return std::min(15u, 4 + (log - 2) * 2 + (v >> (log - 1) & 1));
}
// The same of how far a prediction lies away, finer near 0.
inline uint32_t distance(uint32_t v) {
  static constexpr uint32_t kEnds[] = {7, 9, 13, 17, 25, 33, 49, 65, 97, 129};
  if (v < 5) return v;
  uint32_t out = 5;
  for (const uint32_t end : kEnds) {
    if (v < end) break;
    ++out;
  }
  return out;
}

// Neighbours, roughly nearest first.
enum Near { W, N, NW, NE, WW, NN, NNE, NNW, NWW, NEE, WWW, NNN, NEEE, NNWW, NNEE, NWWW, kNear };

// Bits: bits(known, p) codes a bit, whose value is `known` where the image is known, with
// probability p of a one (units of 2^-24), and returns it.
template <int kEffort, class Bits>
class Coder {
  static constexpr Plan kPlan = kPlans[kEffort];
  static constexpr int kCandidates = 3;
  static constexpr int kProposals = 20;
  static constexpr uint32_t kHalf = 1u << 31;  // an adaptive probability of 1/2 that saw nothing

 public:
  Coder(Geometry g, Bits& bits, bool avx2 = use_avx2())
      : t_(mixer::tables()),
        g_(g),
        bits_(bits),
        stride_(g.width + 2 * kPad),
        depth_(static_cast<int>(g.depth)),
        map_bits_(fit(4 * g.pixels(), 8, 16)),
        pixels_(static_cast<size_t>(canvas_size(g))),
        values_(fit(g.pixels() * static_cast<uint64_t>(kPlan.values) / 2, 10, kPlan.log2_values)),
        histories_(fit(g.pixels() * static_cast<uint64_t>(kPlan.histories), 10, kPlan.log2_histories)),
        value_maps_(static_cast<size_t>(kPlan.values) << 13),
        shape_maps_(static_cast<size_t>(kPlan.shapes) << 16),
        fresh_maps_(8 << 10),
        history_maps_(static_cast<size_t>(kPlan.histories) << 10),
        numeric_maps_(static_cast<size_t>(kPlan.smooth + kPlan.numeric) << 12),
        match_{{fit(g.pixels(), 8, 22), 12}, {fit(g.pixels(), 8, 22), 6}},
        candidate_(t_, avx2, kCandidateSets, 9000, kCandidates, size_t{1} << map_bits_, 3 << 10),
        fresh_(t_, avx2, kFreshSets, 20000, 1, 256, 1024),
        colour_(t_, avx2, kColourSets, 6500, 32, size_t{1} << map_bits_, size_t{1} << map_bits_),
        ranks_(stride_ + 1),
        ranks_above_(stride_ + 1),
        errors_(4 * (stride_ + 1)),
        errors_above_(4 * (stride_ + 1)) {
    for (size_t i = 0; i < value_maps_.size(); ++i) value_maps_[i] = first_value(i);
    shape_maps_.fill({kHalf});
    fresh_maps_.fill({kHalf});
    numeric_maps_.fill({kHalf});
    for (size_t i = 0; i < history_maps_.size(); ++i)
      history_maps_[i] = {i % 256 == 0 ? kFrozenHalf : t_.prior[i % 256] << 10};
  }

  // Codes the image `known`, or, where that is null, an unknown one. report(samples) is called now and then.
  template <class Report>
  void run(const uint8_t* known, Report&& report) {
    for (y_ = 0; y_ < g_.height; ++y_) {
      begin_row();
      for (x_ = 0; x_ < g_.width; ++x_, ++at_) {
        if ((x_ & 1023) == 0) report((static_cast<size_t>(y_) * g_.width + x_) * g_.channels);
        encoding_ = known != nullptr;
        if (encoding_) {
          known_ = pack(known);
          known += g_.channels;
        }
        pixels_[at_] = code();
      }
      for (size_t i = 0; i < kPad; ++i) pixels_[at_ + i] = pixels_[at_ - 1];
    }
  }

  // The samples of a row that was coded.
  void unpack(uint32_t y, uint8_t* out) const {
    const uint32_t* from = pixels_.data() + row(y);
    for (uint32_t x = 0; x < g_.width; ++x, out += g_.channels)
      for (uint32_t j = 0; j < g_.channels; ++j) out[place_of(j)] = static_cast<uint8_t>(channel(from[x], j));
  }

 private:
  static constexpr int kCandidateSets[] = {768, 64, 192, 384, kCandidates};
  static constexpr int kFreshSets[] = {256, 256, 1};
  static constexpr int kColourSets[] = {1024, 512, 2048, 2048, 32};

  // ---- pixels: the coded channels, first one highest ----

  // Where the j-th coded channel lies among a pixel's samples: alpha, green, red, blue.
  uint32_t place_of(uint32_t j) const {
    static constexpr uint8_t kOrder[5][4] = {{}, {0}, {1, 0}, {1, 0, 2}, {3, 1, 0, 2}};
    return kOrder[g_.channels][j];
  }
  uint32_t pack(const uint8_t* samples) const {
    uint32_t v = 0;
    for (uint32_t j = 0; j < g_.channels; ++j) v = v << 8 | samples[place_of(j)];
    return v;
  }
  uint32_t channel(uint32_t v, uint32_t j) const { return v >> 8 * (g_.channels - 1 - j) & 255; }
  int pixel_bits() const { return g_.channels == 1 ? depth_ : 8 * static_cast<int>(g_.channels); }

  size_t row(uint32_t y) const { return static_cast<size_t>(y + kRowsAbove) * stride_ + kPad; }

  // ---- before a pixel ----

  void begin_row() {
    at_ = row(y_);
    for (size_t i = 1; i <= kPad; ++i) pixels_[at_ - i] = pixels_[at_ - stride_];
    if (y_ > 0)
      for (Match& m : match_) m.next_row(2 * kPad);
    std::swap(ranks_, ranks_above_);
    std::fill(ranks_.begin(), ranks_.begin() + kPad, ranks_above_[kPad]);
    std::swap(errors_, errors_above_);
    std::fill(errors_.begin(), errors_.end(), 0);
    run_ = ahead_ = 0;
  }

  void look_around() {
    const uint32_t* p = pixels_.data() + at_;
    const uint32_t* n = p - stride_;
    const uint32_t* nn = n - stride_;
    const uint32_t* nnn = nn - stride_;
    const uint32_t all[kNear] = {p[-1], n[0],  n[-1], n[1],   p[-2], nn[0],  nn[1], nn[-1],
                                 n[-2], n[2], p[-3], nnn[0], n[3],  nn[-2], nn[2], n[-3]};
    std::copy(all, all + kNear, near_);
    // Sums of products: a context is a set of neighbours, each with a factor of its place.
    static constexpr uint64_t kFactor[kNear + 5] = {
        0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F,
        0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3, 0x1D8E4E27C47D124F, 0xEB44ACCAB455D165,
        0x9FB21C651E98DF25, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63,
        0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0x2545F4914F6CDD1D, 0x369DEA0F31A53F85, 0xDB4F0B9175AE2165,
        0xBD3A2B5C1E6F7A89};
    uint64_t h[kNear];
    for (int i = 0; i < kNear; ++i) h[i] = (uint64_t{near_[i]} + 1) * kFactor[i];
    const uint64_t two = h[W] + h[N], four = two + h[NW] + h[NE], six = four + h[WW] + h[NN];
    const uint64_t eight = six + h[NWW] + h[NEE], twelve = eight + h[NNE] + h[NNW] + h[WWW] + h[NNN];
    const uint64_t sixteen = twelve + h[NEEE] + h[NNWW] + h[NNEE] + h[NWWW];
    const uint64_t more = sixteen + p[-4] * kFactor[16] + p[-5] * kFactor[17] + nnn[1] * kFactor[18] +
                          nnn[-1] * kFactor[19] + n[4] * kFactor[20];
    const uint64_t sums[kMaxValues] = {sixteen,
                                       eight,
                                       four,
                                       two,
                                       h[N] + h[NE] + h[NEE] + h[NW],
                                       h[W] + h[WW] + h[WWW],
                                       h[N] + x_ * 0xF1357AEA2E62A9C5,
                                       twelve,
                                       six,
                                       two + h[NE],
                                       two + h[NW],
                                       h[N] + h[NN] + h[NNN],
                                       more,
                                       h[W] + h[NE] + h[NEE],
                                       h[W],
                                       h[N]};
    for (int i = 0; i < kPlan.values; ++i) {
      hash_[i] = hash64(sums[i] + static_cast<uint64_t>(i + 1) * 0x9DDFEA08EB382D69u);
      line_[i] = values_.line(hash_[i]);
      __builtin_prefetch(line_[i]);
    }
    match_[0].find(pixels_.data(), at_, stride_, hash64(twelve));
    match_[1].find(pixels_.data(), at_, stride_, hash64(six));
  }

  void measure() {
    const uint32_t* n = near_;
    pattern_ = static_cast<uint32_t>(n[W] == n[N]) | static_cast<uint32_t>(n[N] == n[NW]) << 1 |
               static_cast<uint32_t>(n[W] == n[NW]) << 2 | static_cast<uint32_t>(n[N] == n[NE]) << 3 |
               static_cast<uint32_t>(n[W] == n[WW]) << 4 | static_cast<uint32_t>(n[N] == n[NN]) << 5 |
               static_cast<uint32_t>(n[NE] == n[NEE]) << 6 | static_cast<uint32_t>(n[NW] == n[NWW]) << 7;
    activity_ = apart(n[W], n[NW]) + apart(n[N], n[NW]) + apart(n[N], n[NE]) + apart(n[W], n[WW]);
    ranks_around_ = ranks_[x_ + kPad - 1] | ranks_above_[x_ + kPad] << 2 | ranks_above_[x_ + kPad + 1] << 4 |
                    ranks_above_[x_ + kPad - 1] << 6 | ranks_[x_ + kPad - 2] << 8;
    // How far the row above goes on with one value.
    if (ahead_ > 0) {
      --ahead_;
    } else {
      const uint32_t* above = pixels_.data() + at_ - stride_;
      const uint32_t most = std::min(40u, g_.width - x_ + 3);
      while (ahead_ < most && above[ahead_ + 1] == above[0]) ++ahead_;
    }
  }
  // The sum of the channels' differences.
  static uint32_t apart(uint32_t a, uint32_t b) {
    if (a == b) return 0;
    uint32_t sum = 0;
    for (int shift = 0; shift < 32; shift += 8)
      sum += static_cast<uint32_t>(std::abs(static_cast<int>(a >> shift & 255) - static_cast<int>(b >> shift & 255)));
    return sum;
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

  // Everything that may come, with the sum of its odds.
  void propose_all() {
    proposed_ = 0;
    for (int i = 0; i < kPlan.values; ++i) {
      ValueSlot* slot = ValueTable::find(line_[i], static_cast<uint16_t>(hash_[i]));
      slot_[i] = slot;
      map_of_[i] = value_maps_.data() + (static_cast<size_t>(i) << 13 | static_cast<size_t>(slot->past) << 3 | run_class(slot->run));
      if (!slot->known()) continue;
      const uint32_t* v = slot->value;
      propose(v[0], odds(i, 0));
      if (v[1] != v[0]) propose(v[1], odds(i, 2));
      if (slot->past >= 16 && v[2] != v[1]) propose(v[2], odds(i, 4));
    }
    for (const Match& m : match_)
      if (m.following()) propose(m.expected(), 200 + 40 * std::min(m.length(), 32u));
    propose(near_[W], 40);
    propose(near_[N], 40);
    propose(near_[NE], 4);
    propose(near_[NW], 4);
  }
  uint32_t odds(int i, int relation) const {
    const uint32_t p = map_of_[i][static_cast<size_t>(relation) << 10].p12();
    return p * 16 / (4100 - p);
  }

  // What a value map (by relation, past and run class of a slot) begins with.
  static Adaptive first_value(size_t i) {
    static constexpr uint32_t kRuns[8] = {1, 3, 6, 10, 14, 20, 60, 200};
    const uint32_t n = kRuns[i & 7];
    constexpr uint32_t one = 1u << 22;
    uint32_t p = one / 2;
    if ((i >> 3 & 127) == 0) return {kFrozenHalf};
    switch (i >> 10 & 7) {  // relation_to
      case 0: p = one / (10 * n + 10) * (10 * n + 4); break;
      case 2:
      case 4: p = one / 8; break;
      case 5: p = one / 4; break;
      case 6: p = one / (10 * n + 10) * 4; break;
      default: break;
    }
    return {p << 10};
  }
  static uint32_t run_class(uint32_t run) { return run < 4 ? run : run < 7 ? 4 : run < 16 ? 5 : run < 80 ? 6 : 7; }

  // Where a value stands in a slot; the slot's first value may be excluded already.
  static uint32_t relation_to(const ValueSlot& slot, uint32_t value, bool first_gone) {
    switch (slot.place(value)) {
      case 0: return 0;
      case 1: return first_gone ? 1 : 2;
      case 2: return first_gone ? 3 : 4;
      default: return first_gone ? 5 : 6;
    }
  }

  // A match seen from candidate k: 0 for none, else its length, misses, and whether it expects the candidate (0),
  // another value (1), or one that is excluded (2).
  uint32_t match_class(const Match& m, int k) const {
    if (!m.following()) return 0;
    uint32_t kind = 1;
    if (m.expected() == candidates_[k]) kind = 0;
    for (int i = 0; i < k; ++i)
      if (candidates_[i] == m.expected()) kind = 2;
    return 1 + ((kind << 2 | std::min(m.misses(), 3u)) << 5 | mixer::length_bucket(m.length()));
  }

  uint32_t map_hash(uint64_t v) const { return hash64(v) >> (32 - map_bits_); }

  // Whether the pixel is candidate k.
  bool code_candidate(int k) {
    const uint32_t c = candidates_[k];
    uint32_t mask = 0, votes = 0;
    for (int i = 0; i < kNear; ++i) mask |= static_cast<uint32_t>(near_[i] == c) << i;
    for (int i = 0; i < kPlan.values; ++i) {
      const ValueSlot& slot = *slot_[i];
      if (!slot.known()) {
        candidate_.silence(i);
        continue;
      }
      bool first_gone = false;
      for (int g = 0; g < k; ++g) first_gone |= slot.value[0] == candidates_[g];
      const uint32_t relation = relation_to(slot, c, first_gone);
      votes |= static_cast<uint32_t>(relation == 0) << i;
      candidate_.voice(i, map_of_[i] + (static_cast<size_t>(relation) << 10));
    }
    const uint32_t rank = static_cast<uint32_t>(k), later = k > 0;
    const uint32_t match0 = match_class(match_[0], k), match1 = match_class(match_[1], k);
    const uint32_t ahead = ahead_ < 6 ? ahead_ : ahead_ < 9 ? 6 : ahead_ < 14 ? 7 : ahead_ < 24 ? 8 : ahead_ < 40 ? 9 : 10;
    const uint32_t shapes[kMaxShapes] = {
        (mask & 1023) | rank << 10,
        (mask & 63) | pattern_ << 6 | later << 14,
        hash64(mask * 4 + rank) >> 16,
        match0 * 2 + later,
        ranks_around_ | (mask & 3) << 10 | rank << 12,
        bit_length(std::min(run_, 255u)) | ahead << 4 | (mask & 15) << 8 | rank << 12,
        match1 * 2 + later,
        magnitude(activity_) | (mask & 15) << 4 | (pattern_ & 15) << 8 | rank << 12,
        hash64((uint64_t{c} << 8 | rank) + 77) >> 16,
        hash64((uint64_t{votes} << 4 | rank) + 99) >> 16,
    };
    for (size_t i = 0; i < static_cast<size_t>(kPlan.shapes); ++i)
      candidate_.voice(kPlan.values + static_cast<int>(i), &shape_maps_[i << 16 | shapes[i]]);
    const uint32_t match_select = match0 == 0 ? 0 : (match0 - 1) / 4 % 8 + 8 * ((match0 - 1) / 128 + 1);
    const int selected[] = {
        static_cast<int>((mask & 15) | (pattern_ & 15) << 4 | rank << 8),
        static_cast<int>(match_select * 2 + later),
        static_cast<int>((ranks_around_ & 63) | rank << 6),
        static_cast<int>((votes & 127) | rank << 7),
        k,
    };
    const uint32_t p = candidate_.predict(selected, k, map_hash((uint64_t{c} << 32 | near_[W]) * 3 + near_[N]),
                                          (mask & 1023) | rank << 10);
    const int bit = bits_(encoding_ && c == known_, p);
    candidate_.learn(bit);
    return bit != 0;
  }

  uint32_t code() {
    look_around();
    measure();
    propose_all();
    uint32_t pixel = 0, how = 0;
    int k = 0;
    const int most = std::min(proposed_, kCandidates);
    for (; k < most; ++k) {
      int best = 0;
      for (int i = 1; i < proposed_; ++i)
        if (score_[i] > score_[best]) best = i;
      candidates_[k] = proposal_[best];
      --proposed_;
      proposal_[best] = proposal_[proposed_];
      score_[best] = score_[proposed_];
      if (code_candidate(k)) {
        pixel = candidates_[k];
        how = k > 0;
        break;
      }
    }
    if (k == most) {
      tried_ = most;
      bool known = false;
      pixel = code_colour(&known);
      how = known ? 2 : 3;
    }
    for (int i = 0; i < kPlan.values; ++i) slot_[i]->learn(pixel);
    for (Match& m : match_) m.follow(pixel);
    ranks_[x_ + kPad] = static_cast<uint8_t>(how);
    run_ = pixel == near_[W] ? run_ + 1 : 0;
    return pixel;
  }

  // ---- colours ----

  // A pixel that is none of the candidates; *known: it came before.
  uint32_t code_colour(bool* known) {
    ++escapes_;
    *known = colours_.begin(candidates_, tried_, pixel_bits()) && !colours_.full() && code_known();
    uint32_t value = 0;
    for (uint32_t j = 0; j < g_.channels; ++j) value = value << 8 | code_channel(j, value, *known);
    if (!colours_.full() && !colours_.has(value, pixel_bits())) colours_.add(value, pixel_bits());
    return value;
  }

  bool code_known() {
    const uint32_t past = news_, ranks = ranks_around_ & 255, act = magnitude(activity_);
    const uint32_t contexts[8] = {past & 255,
                                  ranks,
                                  act | (past & 15) << 4,
                                  (ranks & 15) | act << 4,
                                  (pattern_ & 63) | (past & 3) << 6,
                                  bit_length(colours_.count()) * 32 + bit_length(escapes_),
                                  hash64((uint64_t{near_[W]} << 32 | near_[N]) + 5) >> 22,
                                  hash64((uint64_t{near_[NE]} << 32 | near_[N]) + 7) >> 22};
    for (size_t i = 0; i < 8; ++i) fresh_.voice(static_cast<int>(i), &fresh_maps_[i << 10 | contexts[i]]);
    const int selected[] = {static_cast<int>((past & 15) << 4 | act), static_cast<int>(ranks), 0};
    const uint32_t p = fresh_.predict(selected, 0, past & 255, act | (ranks & 63) << 4);
    const int bit = bits_(encoding_ && colours_.has(known_, pixel_bits()), p);
    fresh_.learn(bit);
    news_ = news_ << 1 | (bit == 0);
    return bit != 0;
  }

  // Predictions of a channel, and what they come from. Channels after the first colour one are predicted by how
  // they differ from the one before (the base).
  struct Guess {
    bool has_base;
    int base;
    int own[kNear];                // the neighbours' channel
    int from[kNear];               // and by how much it differs from their base
    int numeric[kMaxNumeric];
    int smooth[kMaxSmooth];        // units of 1/4
    int surprise;                  // of the base, units of 1/4
  };

  int clamp_sample(int v) const {
    const int most = (1 << depth_) - 1;
    return v < 0 ? 0 : v > most ? most : v;
  }
  static int median_edge(int a, int b, int c) {
    return std::max(std::min(a, b), std::min(std::max(a, b), a + b - c));
  }

  void guess(uint32_t j, uint32_t value, Guess& g) {
    const uint32_t first = g_.channels == 2 || g_.channels == 4;  // the first channel that is no alpha
    g.has_base = j > first;
    g.base = g.has_base ? static_cast<int>(value & 255) : 0;
    for (int i = 0; i < kNear; ++i) {
      g.own[i] = static_cast<int>(channel(near_[i], j));
      g.from[i] = g.has_base ? g.own[i] - static_cast<int>(channel(near_[i], j - 1)) : g.own[i];
    }
    const int* w = g.own;
    const int* d = g.from;
    const int b = g.base;
    const int numeric[kMaxNumeric] = {
        b + d[W],
        b + d[N],
        b + median_edge(d[W], d[N], d[NW]),
        static_cast<int>(channel(candidates_[0], j)),
        blend_far(g),
        b + d[W] + d[N] - d[NW],
        blend_near(g),
        w[W],
        w[N],
        b + ((d[W] + d[N] + 1) >> 1),
        median_edge(w[W], w[N], w[NW]),
        b + ((d[W] + d[NE] + 1) >> 1),
        b + d[N] + d[NE] - d[NNE],
        b + 2 * d[W] - d[WW],
        b + 2 * d[N] - d[NN],
        b + d[W] + d[NE] - d[N],
        b + ((2 * d[W] + 2 * d[NE] + d[N] - d[NW]) >> 2),
        g.has_base ? w[W] + w[NE] - w[N] : (w[N] + w[WW] + 1) >> 1,
    };
    for (int i = 0; i < kMaxNumeric; ++i) g.numeric[i] = clamp_sample(numeric[i]);

    int features[Linear::kFeatures] = {};
    static constexpr int kFrom[8] = {N, NW, NE, WW, NN, NNE, NWW, NEE};
    for (int i = 0; i < 8; ++i) features[i] = w[kFrom[i]] - w[W];
    if (g.has_base) {
      const auto base = [&](int i) { return w[i] - d[i]; };
      features[8] = b - base(W);
      features[9] = base(N) - base(W);
      features[10] = base(NW) - base(W);
      features[11] = base(NE) - base(W);
      if (j >= first + 2) {
        const int west = static_cast<int>(channel(near_[W], j - 2));
        features[12] = static_cast<int>(value >> 8 & 255) - west;
        features[13] = static_cast<int>(channel(near_[N], j - 2)) - west;
      }
    }
    linear_[j].predict(features, w[W], (1 << depth_) - 1);

    // Means of wider neighbourhoods, for noise; and corrected by what the base differs from its own mean.
    const auto near_mean = [](const auto& v) { return (2 * (v(W) + v(N)) + v(NW) + v(NE) + v(WW) + v(NN)) >> 1; };
    const auto far_mean = [](const auto& v) {
      int sum = 0;
      for (int i = 0; i < kNear; ++i) sum += v(i);
      return sum >> 2;
    };
    const auto own = [&](int i) { return w[i]; };
    const auto base = [&](int i) { return w[i] - d[i]; };
    const int near_own = near_mean(own), far_own = far_mean(own);
    g.surprise = g.has_base ? 4 * b - far_mean(base) : 0;
    const int smooth[kMaxSmooth] = {linear_[j].fast(),
                                    linear_[j].slow(),
                                    far_own,
                                    far_own + g.surprise,
                                    near_own,
                                    near_own + (g.has_base ? (4 * b - near_mean(base)) >> 1 : 0)};
    std::copy(smooth, smooth + kMaxSmooth, g.smooth);
  }

  // What the channel is if the pixel is a mixture of two neighbours: of W and the next one of another base, and
  // of the two of the first 12 that are the farthest apart. Edges of glyphs and lines are such mixtures.
  int blend_near(const Guess& g) const {
    if (!g.has_base) return g.own[NE];
    const auto base = [&](int i) { return g.own[i] - g.from[i]; };
    const int z = base(N) != base(W) ? N : base(NE) != base(W) ? NE : NW;
    if (base(z) == base(W)) return g.own[W] + g.base - base(W);
    return g.own[W] + (g.own[z] - g.own[W]) * (g.base - base(W)) / (base(z) - base(W));  // rounds towards 0
  }
  int blend_far(const Guess& g) const {
    if (!g.has_base) return g.own[NW];
    const auto base = [&](int i) { return g.own[i] - g.from[i]; };
    int low = 0, high = 0;
    for (int i = 1; i < 12; ++i) {
      if (base(i) < base(low)) low = i;
      if (base(i) > base(high)) high = i;
    }
    const int range = base(high) - base(low);
    if (range == 0) return g.own[low] + g.base - base(low);
    return g.own[low] + ((g.own[high] - g.own[low]) * (g.base - base(low)) * 2 + range) / (2 * range);  // towards 0
  }

  // The j-th channel; value: those before it; walk: the colour came before.
  uint32_t code_channel(uint32_t j, uint32_t value, bool walk) {
    Guess g;
    guess(j, value, g);
    const uint32_t act = magnitude(activity_ / (g_.channels < 3 ? 1 : 2));
    const auto error = [&](const std::vector<uint8_t>& row, uint32_t x) { return uint32_t{row[x * 4 + j]}; };
    const uint32_t x = x_ + kPad;
    const uint32_t missed = 2 * error(errors_, x - 1) + 2 * error(errors_above_, x) + error(errors_above_, x + 1) +
                            error(errors_above_, x - 1);
    const uint32_t miss = missed < 12 ? 0 : missed < 40 ? 1 : missed < 120 ? 2 : 3;
    make_contexts(j, value, g, act, miss);

    const uint32_t kind = j == 0 ? 0 : !g.has_base ? 3 : j + 1 == g_.channels ? 2 : 1;
    const uint32_t based = kind == 2 ? 1 : kind;  // predictors err alike in all channels with a base
    const uint32_t surprised = !g.has_base ? 3 : g.surprise < -2 ? 0 : g.surprise > 2 ? 2 : 1;
    uint32_t c0 = 1, node = 1;  // the bits so far behind a leading one, and those of this half
    for (int left = depth_ - 1; left >= 0; --left) {  // bits behind this one
      const int done = depth_ - 1 - left;
      if (done == 0 || done == 4) {
        load_lines(done == 0 ? 0 : c0);
        for (int i = 0; i < kPlan.histories; ++i) histories_at_[i] = mixer::HistoryTable::find(history_line_[i], check_[i]);
        node = 1;
      }
      const uint32_t branches = walk ? colours_.branches() : 3;
      int bit;
      if (branches != 3) {
        bit = branches == 2;
      } else {
        const uint32_t at = kind * 8 + static_cast<uint32_t>(left);
        int v = 0;
        for (int i = 0; i < kPlan.histories; ++i, ++v)
          colour_.voice(v, &history_maps_[(static_cast<size_t>(i) << 2 | kind) << 8 | histories_at_[i][node]]);
        // Predictions speak by where they lie beside the values that part here.
        const int middle = static_cast<int>((c0 << 1 | 1) << left) - (1 << depth_);
        for (int i = 0; i < kPlan.smooth + kPlan.numeric; ++i, ++v) {
          const bool fine = i < kPlan.smooth;
          const int off = fine ? g.smooth[i] + 2 - 4 * middle : g.numeric[i - kPlan.smooth] - middle;
          const uint32_t side = off >= 0 ? 16 + distance(static_cast<uint32_t>(off)) : 15 - distance(static_cast<uint32_t>(-off - 1));
          const uint32_t around = !fine ? 0 : i < 2 ? miss : surprised;
          colour_.voice(v, &numeric_maps_[static_cast<size_t>(i) << 12 |
                                          (((based * 4 + around) * 8 + static_cast<uint32_t>(left)) * 32 + side)]);
        }
        const auto agrees = [&](int s) { return static_cast<uint32_t>(((s | 1 << depth_) >> (left + 1)) == static_cast<int>(c0)); };
        const uint32_t agree = agrees(g.numeric[0]) | agrees(g.numeric[1]) << 1 | agrees(g.numeric[2]) << 2 |
                               agrees(g.own[W]) << 3 | agrees(g.own[N]) << 4;
        const int selected[] = {
            static_cast<int>(at << 5 | agree),
            static_cast<int>(act << 5 | at),
            static_cast<int>((kind << 8 | c0) << 1 | walk),
            static_cast<int>((pattern_ & 31) << 6 | static_cast<uint32_t>(walk) << 5 | at),
            static_cast<int>(at),
        };
        const uint32_t p = colour_.predict(selected, static_cast<int>(at), map_hash((uint64_t{value} << 12 | c0) * 4 + kind),
                                           map_hash((static_cast<uint64_t>(g.smooth[0] >> 2) << 12 | c0) * 4 + kind));
        bit = bits_(encoding_ ? static_cast<int>(channel(known_, j) >> left & 1) : 0, p);
        colour_.learn(bit);
        const uint8_t* next = t_.next[static_cast<size_t>(bit)].data();
        for (int i = 0; i < kPlan.histories; ++i) histories_at_[i][node] = next[histories_at_[i][node]];
      }
      if (walk) colours_.step(bit);
      c0 = c0 << 1 | static_cast<uint32_t>(bit);
      node = node << 1 | static_cast<uint32_t>(bit);
    }
    const uint32_t sample = c0 - (1u << depth_);
    errors_[x * 4 + j] = static_cast<uint8_t>(std::min(255, std::abs(4 * static_cast<int>(sample) - g.smooth[0])));
    linear_[j].learn(static_cast<int>(sample));
    return sample;
  }

  void make_contexts(uint32_t j, uint32_t value, const Guess& g, uint32_t act, uint32_t miss) {
    const uint64_t before = uint64_t{value} + 1, base = value & 255;
    const uint64_t with_w = before << 32 | near_[W], with_n = before << 32 | near_[N];
    const auto own = [&](int i) { return static_cast<uint64_t>(g.own[i]); };
    const auto num = [&](int i) { return static_cast<uint64_t>(g.numeric[i]); };
    const auto smooth = [&](int i) { return static_cast<uint64_t>(g.smooth[i]); };
    const auto bounded = [](int v) { return static_cast<uint64_t>(std::max(-31, std::min(31, v)) & 63); };
    const uint64_t expected = match_[0].following() ? match_[0].expected() : match_[1].following() ? match_[1].expected() : 0;
    const uint64_t contexts[kMaxHistories] = {
        before,
        with_w * 3 + near_[N],
        with_w,
        with_n,
        smooth(0) >> 1 << 16 | miss << 8 | 5,
        num(4) << 24 | base << 1 | g.has_base,
        before << 32 | candidates_[0],
        before << 24 | own(W) << 16 | own(N) << 8 | own(NW),
        smooth(2) << 32 | bounded(g.surprise) << 8,
        num(6) << 24 | num(1) << 8 | base,
        own(W) << 16 | own(N) << 8 | base,
        smooth(0) >> 2 << 16 | smooth(1) >> 2 << 8 | 5,
        with_w * 5 + near_[NE],
        num(5) << 16 | num(0),
        ((with_w * 3 + near_[N]) * 5 + near_[NW]) * 7 + near_[NE],
        with_n * 9 + near_[NE],
        with_n * 3 + near_[NN],
        with_w * 11 + near_[WW],
        (before << 32 | candidates_[1]) * 3 + candidates_[0],
        own(NW) << 32 | own(NE) << 24 | own(N) << 16 | own(W) << 8 | base,
        num(13) << 24 | num(14) << 8 | 1,
        num(11) << 24 | num(12) << 8 | 2,
        num(15) << 24 | act << 8 | 3,
        (before << 32 | expected) * 13,
        (before << 32 | near_[NE]) * 17 + near_[NEE],
        smooth(4) >> 1 << 32 | smooth(2) >> 2 << 16 | bounded(g.surprise >> 1) << 8,
    };
    for (int i = 0; i < kPlan.histories; ++i)
      context_[i] = hash64(contexts[i] * 4 + j + static_cast<uint64_t>(i + 1) * 0x9DDFEA08EB382D69u);
  }

  // Starts loading the histories of a half of a channel: part is 0, or the bits before behind a leading one.
  void load_lines(uint32_t part) {
    for (int i = 0; i < kPlan.histories; ++i) {
      uint32_t h = (context_[i] + part * 0x9E3779B1u) * 0x85EBCA6Bu;
      h ^= h >> 15;
      check_[i] = static_cast<uint8_t>(h & 255);
      history_line_[i] = histories_.line(h);
      __builtin_prefetch(history_line_[i]);
    }
  }

  const Tables& t_;
  const Geometry g_;
  Bits& bits_;
  const uint32_t stride_;
  const int depth_;
  const int map_bits_;
  Buffer<uint32_t> pixels_;
  ValueTable values_;
  mixer::HistoryTable histories_;
  Buffer<Adaptive> value_maps_;    // [context][relation][past][run class]
  Buffer<Adaptive> shape_maps_;    // [voice][context]
  Buffer<Adaptive> fresh_maps_;    // [voice][context]
  Buffer<Adaptive> history_maps_;  // [context][kind][history]
  Buffer<Adaptive> numeric_maps_;  // [predictor][based][around][bits behind][side]
  Match match_[2];
  Decision<kPlan.values + kPlan.shapes, 5, 21, 10> candidate_;
  Decision<8, 3, 21, 10> fresh_;
  Decision<kPlan.histories + kPlan.smooth + kPlan.numeric, 5, 21, 10> colour_;
  Linear linear_[4];
  Colours colours_;
  std::vector<uint8_t> ranks_, ranks_above_;    // how pixels were coded: 0 first candidate, 1 another, 2 known colour, 3 new
  std::vector<uint8_t> errors_, errors_above_;  // of the fast linear predictor, units of 1/4, [x][channel]

  // The pixel being coded.
  bool encoding_ = false;
  uint32_t known_ = 0;
  uint32_t y_ = 0, x_ = 0;
  size_t at_ = 0;
  uint32_t near_[kNear] = {};
  uint32_t pattern_ = 0;       // which neighbours are equal
  uint32_t activity_ = 0;      // how much they differ
  uint32_t ranks_around_ = 0;  // how W, N, NE, NW and WW were coded
  uint32_t run_ = 0;           // pixels since W's value began, less one
  uint32_t ahead_ = 0;         // pixels of N's value behind N
  uint32_t hash_[kMaxValues] = {};
  ValueSlot* line_[kMaxValues] = {};
  ValueSlot* slot_[kMaxValues] = {};
  Adaptive* map_of_[kMaxValues] = {};
  uint32_t proposal_[kProposals] = {}, score_[kProposals] = {};
  uint32_t candidates_[kCandidates] = {};
  int proposed_ = 0, tried_ = 0;
  uint32_t news_ = 0;     // of the newest colours, which were new
  uint32_t escapes_ = 0;  // pixels that were no candidate
  uint32_t context_[kMaxHistories] = {};
  uint8_t check_[kMaxHistories] = {};
  uint8_t* history_line_[kMaxHistories] = {};
  uint8_t* histories_at_[kMaxHistories] = {};
};

}  // namespace lmc::graphic
