// One segment of a sound, coded sample by sample: what the encoder and the decoder share.
//
// Included by each variant of sound_*.cpp in a namespace of its own: no #pragma once. ARITHMETIC.md, "Sounds",
// defines all of it.

// ---- what was chosen -------------------------------------------------------------------------------

// A set of features, and how its least squares forget. other: of the channel before, or of the second one.
struct Set {
  int own, other, fade, every;
};
struct Cascade {
  int taps, rate;
};
constexpr int kSets = 3;      // whose predictions are distributions of their own
constexpr int kMostSets = 6;
constexpr int kMostFilters = 4;
struct Effort {
  int sets, filters;
  Set set[kMostSets];
  Cascade filter[kMostFilters];
  int longest;  // distance of a repetition
};
constexpr Effort kEffortOf[kEfforts] = {
    {3, 2, {{16, 8, 7, 8}, {16, 8, 6, 8}, {8, 4, 5, 4}}, {{256, 260}, {16, 600}}, 256},
    {4, 4, {{32, 16, 7, 16}, {32, 16, 6, 16}, {16, 8, 5, 8}, {2, 1, 9, 8}}, {{1024, 260}, {256, 260}, {32, 600}, {16, 600}}, 320},
    {6, 4, {{32, 16, 7, 4}, {32, 16, 6, 4}, {16, 8, 5, 4}, {2, 1, 9, 4}, {32, 24, 10, 8}, {24, 8, 7, 4}},
     {{2048, 260}, {256, 260}, {32, 600}, {16, 600}}, 512},
};
constexpr int32_t kRidge = 500;
constexpr int kJoinFade = 7, kRepeatTaps = 5, kTapsAround = 17, kNearest = 25;  // nearest distance of a repetition
constexpr Cascade kLastFilter{32, 100}, kLevelFilters[2] = {{256, 100}, {16, 200}};
constexpr int kSpeed[4] = {2, 4, 7, 5};  // of the mean errors: fast, medium, slow; of others

constexpr int kParts = 5 + kSets;        // distributions,
constexpr int kMostParts = kParts + 1;   // and the network's
constexpr int kMaps = 6, kLast = 2;
constexpr int kMixed = 16;               // inputs of the mixer: mixture, distributions, maps, the network or a constant
constexpr int kSelections = 5;
constexpr int kNodes = 48, kLevels = 24;
constexpr int kMapSize[kMaps] = {kLevels * 3, 81 * 4, kLevels * 8, 256, 256, 81};
constexpr int kLastSize[kLast] = {kLevels, 81};
constexpr int kSelectionSize[kSelections] = {kNodes, 3 * kLevels, 81, 81, 1};
constexpr int32_t kFirstWeights[kMixed] = {23000, 3300, 3300, 3300, 3300, 3300, 3300, 3300,
                                           3300,  3300, 3300, 3300, 3300, 3300, 3300, 0};
constexpr int32_t kFirstWeightsNetwork[kMixed] = {12000, 3300, 3300, 3300, 3300, 3300, 3300, 3300,
                                                  3300,  3300, 3300, 3300, 3300, 3300, 3300, 16000};
constexpr int32_t kNine[] = {-16, -8, -4, -1, 2, 5, 9, 17};  // in eighths of the scale

// ---- numbers ---------------------------------------------------------------------------------------

inline int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

// 8 log2(v), linear between powers of two; v > 0.
inline int octaves8(int64_t v) {
  const int e = 63 - __builtin_clzll(static_cast<uint64_t>(v));
  return e * 8 + static_cast<int>(e >= 3 ? (v >> (e - 3)) & 7 : (v << (3 - e)) & 7);
}

// base 2^(e / 64), base at most 2^16, within bounds.
inline int64_t power(int64_t base, int32_t e, int64_t low, int64_t high) {
  const int whole = e >> 6;
  const int64_t v = (base * power2(e & 63)) >> 8;  // 8 bits behind the point
  const int64_t moved = whole >= 0 ? v << (whole < 40 ? whole : 40) : v >> (whole > -40 ? -whole : 40);
  return clamp64(moved >> 8, low, high);
}

inline int nine(int32_t v) {
  int c = 0;
  for (const int32_t bound : kNine) c += v >= bound;
  return c;
}

// A logistic distribution on a line in units of 1/64.
struct Logistic {
  int64_t centre = 0;
  int64_t scale = 1, inverse = 0;
  void set(int64_t c, int64_t s) {
    centre = c;
    scale = s;
    inverse = (int64_t{1} << 40) / s;
  }
  // Probability of less than b - 1/2, 24 bits.
  uint32_t below(const mixer::Tables& t, int64_t b) const {
    const int64_t d = b * 64 - 32 - centre, most = scale * 12 - 1;
    if (d >= most) return mixer::squash24(t, mixer::kLogitLimit);
    if (d <= -most) return mixer::squash24(t, -mixer::kLogitLimit);
    return mixer::squash24(t, mixer::clamp_logit(static_cast<int32_t>((d * inverse) >> 28)));
  }
};

using SampleMixer = mixer::Mixer<kSelections, kMixed, 22, 10>;

// What a channel's coding learns.
struct Learned {
  Learned(const mixer::Tables& t, bool network) : mix(kSelectionSize, network ? kFirstWeightsNetwork : kFirstWeights, kNodes) {
    for (int i = 0; i < kMaps; ++i) maps.emplace_back(t, static_cast<size_t>(kNodes) * kMapSize[i], 255);
    for (int i = 0; i < kLast; ++i) last.emplace_back(t, static_cast<size_t>(kNodes) * kLastSize[i], 1000);
  }
  SampleMixer mix;
  std::vector<mixer::ProbabilityMap> maps, last;
};

constexpr size_t kBefore = kTaps;  // samples that are known before the first one: zeros

// Samples or errors that are known, the newest behind the others.
class Past {
 public:
  Past() : values_(kBefore + kRoom) {}
  const int32_t* newest() const { return values_.data() + at_ - 1; }
  void put(int32_t v) {
    if (at_ == kBefore + kRoom) {
      std::memmove(values_.data(), values_.data() + kRoom, kBefore * sizeof(int32_t));
      at_ = kBefore;
    }
    values_[at_++] = v;
  }

 private:
  static constexpr size_t kRoom = 4096;
  Buffer<int32_t> values_;
  size_t at_ = kBefore;
};

#include "sound_network.hpp"

// Where the signal repeats itself: the distance at which its residuals agree best, lately.
class Repetition {
 public:
  explicit Repetition(int longest) : longest_(longest), residuals_(kRing), units_(2 * kRing) {}
  // What lies around that distance, `count` residuals.
  void taps(int32_t* to, int count) const {
    for (int k = 0; k < count; ++k) to[k] = residuals_[(at_ - static_cast<size_t>(distance_ + count / 2 - k)) & (kRing - 1)];
  }
  void put(int32_t residual, int32_t unit) {
    // Twice, so that the units of the last kRing samples always lie side by side.
    const size_t place = at_ & (kRing - 1);
    residuals_[place] = residual;
    units_[place] = units_[place + kRing] = unit;
    const int count = longest_ - kNearest + 1;
    const int32_t* const then = units_.data() + place + kRing - longest_;
    for (int i = 0; i < count; ++i) sums_[i] += unit * then[i];
    if (at_++ % 16 != 0) return;
    int best = count - 1;
    for (int i = count - 2; i >= 0; --i) best = sums_[i] > sums_[best] ? i : best;
    distance_ = longest_ - best;
    for (int i = 0; i < count; ++i) sums_[i] -= sums_[i] >> 3;
  }

 private:
  static constexpr size_t kRing = 1024;
  int longest_, distance_ = kNearest;
  int32_t sums_[kRing] = {};  // of products with the samples at each distance, the farthest first
  Buffer<int32_t> residuals_, units_;
  size_t at_ = 0;
};

class Channel {
 public:
  // partner: the channel that this one looks at, or none; present: it is coded before this one.
  // network: or none; rows: to note what a network is shown, or none.
  Channel(const Shape& shape, int number, bool present, bool partner, const layers::Network* network, std::vector<Row>* rows)
      : t_(mixer::tables()), avx2_(use_avx2()), effort_(kEffortOf[shape.effort]), low_(shape.low[number]),
        high_(shape.high[number]), present_(present), partner_(partner), weighted_(shape.weighted),
        network_(network), rows_(rows), parts_(kParts + (network != nullptr)), repetition_(effort_.longest), last_filter_(kLastFilter.taps, kLastFilter.rate, shift_of(depth())), learned_(t_, network != nullptr) {
    for (int k = 0; k < effort_.sets; ++k) {
      const Set& set = effort_.set[k];
      others_[k] = partner ? set.other + present : 0;
      const int longer = k == 0 || shape.fade == 0 ? shape.fade : shape.fade - 1;
      sets_.emplace_back(set.own + others_[k], set.fade + longer, set.every, kRidge, 30);
    }
    for (int k = 0; k < effort_.filters; ++k) filters_.emplace_back(effort_.filter[k].taps, effort_.filter[k].rate, shift_of(depth()));
    for (const Cascade& f : kLevelFilters) level_filters_.emplace_back(f.taps, f.rate, 2);
    join_.emplace_back(effort_.sets - 1 + effort_.filters + kRepeatTaps, kJoinFade, 1, kRidge, 26);
    for (int64_t& e : error_of_) e = 1 << 15;
  }

  const Past& past() const { return past_; }
  int64_t error() const { return errors_[0]; }
  int64_t scale() const { return scale_; }

  template <class Coder>
  int32_t code(Coder& coder, const Channel* partner, int32_t known) {
    // Predictions.
    const int32_t* const own = past_.newest();
    const int32_t* const other = partner == nullptr ? own : partner->past_.newest();
    const int64_t bottom = int64_t{low_} * 64, top = int64_t{high_} * 64;
    int32_t* units[kMostSets];
    for (int k = 0; k < effort_.sets; ++k) {
      int32_t* const f = features_[k];
      for (int i = 0; i < effort_.set[k].own; ++i) f[i] = own[-i];
      for (int i = 0; i < others_[k]; ++i) f[effort_.set[k].own + i] = other[-i];
      by_set_[k] = clamp64(sets_[static_cast<size_t>(k)].predict(f) >> 14, bottom, top);
      units[k] = sets_[static_cast<size_t>(k)].next();
    }
    int64_t sum = by_set_[0];
    int n = 0;
    const auto joined = [&](int64_t v) { joined_[n++] = clamp32(v, -(1 << 30), 1 << 30); };
    for (int k = 1; k < effort_.sets; ++k) joined(by_set_[k] - by_set_[0]);
    for (int k = 0; k < effort_.filters; ++k) {
      by_filter_[k] = filters_[static_cast<size_t>(k)].predict();
      joined(by_filter_[k]);
      sum += by_filter_[k];
    }
    repetition_.taps(joined_ + n, kRepeatTaps);
    n += kRepeatTaps;
    sum = clamp64(sum, bottom, top);
    const int64_t middle = by_set_[0] + (join_[0].predict(joined_) >> 20);
    const int32_t late = last_filter_.predict();
    centre_ = clamp64(middle + late, bottom, top);

    // Distributions.
    int32_t by_level[2];
    int32_t level = mean_level_;
    for (int k = 0; k < 2; ++k) level += by_level[k] = level_filters_[static_cast<size_t>(k)].predict();
    part_[0].set(centre_, spread(1));
    part_[1].set(centre_, spread(0));
    part_[2].set(centre_, spread(2));
    part_[3].set(centre_, power(1, level >> 3, 0, int64_t{1} << 32) + 6);
    part_[4].set(sum, spread(3));
    for (int k = 0; k < kSets; ++k) part_[5 + k].set(by_set_[k], spread(4 + k));
    last_by_filter_ = late;
    cascade_ = sum;
    const int32_t value = decide(coder, partner, known);

    // What is to be learned.
    const int64_t v64 = int64_t{value} * 64, error = v64 - centre_;
    const auto average = [this](int which, int speed, int64_t e) {
      error_of_[which] += (8 * magnitude(e) - error_of_[which]) >> kSpeed[speed];
    };
    for (int k = 0; k < 3; ++k) average(k, k, error);
    average(3, 3, v64 - sum);
    for (int k = 0; k < kSets; ++k) average(4 + k, 3, v64 - by_set_[k]);
    const int32_t loud = octaves8(magnitude(error) + 16) * 64;
    int64_t rest = loud - mean_level_;
    for (int k = 0; k < 2; ++k) {
      level_filters_[static_cast<size_t>(k)].learn(rest, by_level[k]);
      rest -= by_level[k];
    }
    mean_level_ += (loud - mean_level_) >> 8;
    before_.put(error, loud >> 6);
    for (int k = 0; k < kSets; ++k) missed_[k].put(static_cast<int32_t>(v64 - by_set_[k]));
    missed_[kSets].put(static_cast<int32_t>(v64 - sum));
    ++done_;
    size_ += (8 * magnitude(v64) - size_) >> 8;
    errors_[1] = errors_[0];
    errors_[0] = error;

    // Samples of quiet places count more: they are divided by a power, 13/16, of the error to be expected there,
    // which the mixture knows best; a sixteenth of the error that came keeps outliers down.
    int64_t expected = int64_t{1} << (depth() - 5 > 5 ? depth() - 5 : 5);
    if (weighted_) {
      const int octave = octaves8(((17 * scale_ + magnitude(error)) >> 4) + 16);
      expected = power(1, ((13 * octave) >> 1) + 120, 32, int64_t{1} << 32);
    }
    const int64_t inverse = (int64_t{1} << 36) / expected;
    const auto unit = [inverse](int64_t v, int shift) { return clamp32((v * inverse) >> shift, -kUnitLimit, kUnitLimit); };
    for (int k = 0; k < effort_.sets; ++k) {
      const int count = effort_.set[k].own + others_[k];
      for (int i = 0; i < count; ++i) units[k][i] = unit(features_[k][i], 22);
      units[k][count] = unit(value, 22);
      sets_[static_cast<size_t>(k)].learn();
    }
    const int64_t residual = v64 - by_set_[0];
    int32_t* const to = join_[0].next();
    for (int i = 0; i < n; ++i) to[i] = unit(joined_[i], 28);
    to[n] = unit(residual, 28);
    join_[0].learn();
    last_filter_.learn(v64 - (centre_ - late), late);
    repetition_.put(clamp32(residual, -(1 << 30), 1 << 30), clamp32((residual * inverse) >> 28, -2047, 2047));
    rest = residual;
    for (int k = 0; k < effort_.filters; ++k) {
      filters_[static_cast<size_t>(k)].learn(rest, by_filter_[k]);
      rest -= by_filter_[k];
    }
    past_.put(value);
    return value;
  }

 private:
  int depth() const {
    const int64_t a = magnitude(low_), b = magnitude(high_);
    return bits_of(static_cast<uint64_t>(a > b ? a : b)) + 1;
  }
  static int shift_of(int depth) { return 2 + (depth > 16 ? depth - 16 : 0); }
  int64_t spread(int which) const { return ((error_of_[which] * 3) >> 5) + 10; }

  // The mixture of the first `parts` distributions, by their shares.
  void join(int parts) {
    int32_t best = logs_[0];
    for (int k = 1; k < parts; ++k) best = logs_[k] > best ? logs_[k] : best;
    best_log_ = best;
    total_ = 0;
    int64_t centres = 0, scales = 0;
    for (int k = 0; k < parts; ++k) {
      const int32_t fall = best - logs_[k];
      const bool plain = k < kParts;
      weight_[k] = fall > 11 * 4096 ? 1 : static_cast<uint32_t>(power(65536, -(fall * 64 / mixer::kLn2), 1, 65536));
      total_ += weight_[k];
      centres += int64_t{weight_[k]} * ((plain ? part_[k].centre : foretold_.centre()) - centre_);
      scales += int64_t{weight_[k]} * (plain ? part_[k].scale : foretold_.scale());
    }
    joined_centre_ = centre_ + centres / static_cast<int64_t>(total_);
    scale_ = scales / static_cast<int64_t>(total_);
  }

  // Asks the network, with what is known of the moment.
  void foretell(const Channel* partner, int32_t value) {
    alignas(64) uint8_t inputs[kInputs];
    uint8_t* in = inputs;
    const auto give = [&in](int64_t v) { *in++ = static_cast<uint8_t>(clamp32(v, -64, 63) + 64); };
    const Scaled scaled(scale_);
    const int octave = octaves8(scale_ + 16);
    const auto relative = [octave](int64_t size) { return octaves8(size + 16) - octave; };
    const int32_t* const error = before_.newest();
    for (int k = 0; k < 32; ++k) give(scaled(error[-k]));
    for (int k = 1; k <= 16; ++k) give(before_.loud(k, 1) - octave);
    for (int k = 0; k < 24; ++k) give((before_.loud(17 + 4 * k, 4) >> 2) - octave);
    for (int k = 0; k < 16; ++k) give((before_.loud(113 + 16 * k, 16) >> 4) - octave);
    const int32_t* const taps = joined_ + effort_.sets - 1 + effort_.filters;
    for (int k = 0; k < kRepeatTaps; ++k) give(scaled(taps[k]));
    for (int k = 0; k < kRepeatTaps; ++k) give(relative(magnitude(taps[k])));
    for (int k = 0; k < kMostSets; ++k) give(k < effort_.sets ? scaled(by_set_[k] - centre_) : 0);
    give(scaled(cascade_ - centre_));
    give(scaled(joined_centre_ - centre_));
    give(scaled(last_by_filter_));
    for (int k = 0; k < kMostFilters; ++k) give(k < effort_.filters ? scaled(by_filter_[k]) : 0);
    for (int k = 0; k < kParts; ++k) give(relative(part_[k].scale));
    for (int k = 0; k < kParts; ++k) give(-(8 * (best_log_ - logs_[k]) / mixer::kLn2));
    give((octave - 112) >> 1);
    give(present_ ? Scaled(partner->scale_ + 1)(partner->errors_[0]) : 0);
    give(present_ ? octaves8(magnitude(partner->errors_[0]) + 16) - octaves8(partner->scale_ + 16) : 0);
    give(present_ ? 32 : -32);
    const int64_t size = (size_ >> 3) + 64;
    const Scaled of_size(size);
    const int32_t* const own = past_.newest();
    for (int k = 0; k < 24; ++k) give(of_size(int64_t{own[-k]} * 64));
    give(of_size(centre_));
    give(relative(size));
    give(relative(int64_t{high_} * 64 - centre_) >> 1);
    give(relative(centre_ - int64_t{low_} * 64) >> 1);
    give(0);
    for (int k = 32; k < 64; ++k) give(scaled(error[-k]));
    for (int k = 0; k < 4; ++k)
      for (const Past& missed : missed_) give(scaled(missed.newest()[-k]));
    for (int k = 24; k < 32; ++k) give(of_size(int64_t{own[-k]} * 64));
    int32_t around[kTapsAround];
    repetition_.taps(around, kTapsAround);
    for (const int32_t tap : around) give(scaled(tap));
    give(octaves8(done_ + 1) - 64);
    if (partner_) {
      const Scaled theirs(partner->scale_ + 1);
      const int there = octaves8(partner->scale_ + 16);
      for (int k = 0; k < 16; ++k) give(theirs(partner->before_.newest()[-k]));
      for (int k = 1; k <= 6; ++k) give(partner->before_.loud(k, 1) - there);
    }
    while (in < inputs + kInputs) give(0);
    if (rows_ != nullptr) {
      Row row;
      std::memcpy(row.inputs, inputs, kInputs);
      row.offset = int64_t{value} * 64 - joined_centre_;
      row.scale = scale_;
      rows_->push_back(row);
    }
    if (network_ == nullptr) return;
    int32_t out[layers::kUnit];
    run(*network_, inputs, 1, out);
    foretold_.set(out, joined_centre_, scale_);
  }

  // The value as a walk down a tree of intervals, [low, high): at first quantiles of the mixture, later
  // halves, and at the open ends doubling steps.
  template <class Coder>
  int32_t decide(Coder& coder, const Channel* partner, int32_t value) {
    join(kParts);
    if (network_ != nullptr || rows_ != nullptr) foretell(partner, value);
    if (network_ != nullptr) join(parts_);
    const int64_t centre = joined_centre_, scale = scale_;
    const auto& weight = weight_;
    const uint64_t total = total_;

    const auto relative = [scale](int64_t d) { return clamp32(8 * d / (scale + 1), -64, 63); };
    const int level = clamp32((octaves8(scale) - 16) >> 2, 0, kLevels - 1);
    int loud[3];
    for (int k = 0; k < 3; ++k) loud[k] = octaves8((error_of_[k] >> 3) + 16);
    const int before = nine(relative(errors_[0])) * 9 + nine(relative(errors_[1]));
    const int apart = nine(relative(by_set_[kSets - 1] - centre_)) * 9 + nine(relative(by_set_[0] - centre_));
    const int32_t told = present_ ? clamp32(8 * partner->errors_[0] / (partner->scale_ + 1), -64, 63) : relative(by_filter_[0]);
    int context[kMaps];
    context[0] = level * 3 + clamp32((loud[0] - loud[2] + 12) >> 3, 0, 2);
    context[1] = before * 4 + clamp32((loud[0] - loud[1] + 8) >> 2, 0, 3);
    context[2] = level * 8 + static_cast<int>((centre >> 3) & 7);
    context[3] = clamp32((told >> 2) + 8, 0, 15) * 16 + clamp32((loud[2] - loud[1] + 16) >> 1, 0, 15);
    context[5] = apart;

    int64_t low = low_, high = int64_t{high_} + 1;
    uint64_t all_low = 0, all_high = total << 24;
    uint32_t part_low[kMostParts] = {}, part_high[kMostParts];
    for (uint32_t& p : part_high) p = 1 << 24;
    for (int depth = 0, path = 0; high - low > 1; ++depth) {
      const Question asked = question(depth, path, low, high, low_, int64_t{high_} + 1, centre, scale, 1 << 26);
      const int64_t at = asked.at;
      const int node = asked.node;
      context[4] = static_cast<int>(high - low == 2 ? at & 127 : high - low <= 4 ? 128 + (at & 63) : 192 + (at & 63));
      for (int k = 0; k < kMaps; ++k) learned_.maps[static_cast<size_t>(k)].prefetch(static_cast<size_t>(node * kMapSize[k] + context[k]));
      learned_.last[0].prefetch(static_cast<size_t>(node * kLastSize[0] + level));
      learned_.last[1].prefetch(static_cast<size_t>(node * kLastSize[1] + before));
      const int selected[kSelections] = {node, level * 3 + (depth < 2 ? 0 : depth < 5 ? 1 : 2), apart, before, 0};
      learned_.mix.select(selected, node);
      alignas(32) int16_t x[kMixed] = {};
      uint64_t all_at = 0;
      uint32_t part_at[kMostParts];
      for (int k = 0; k < parts_; ++k) {
        const uint32_t b = part_at[k] = k < kParts ? part_[k].below(t_, at) : foretold_.below(t_, at);
        all_at += uint64_t{weight[k]} * b;
        x[k < kParts ? 1 + k : kMixed - 1] = opinion(t_, part_low[k], b, part_high[k]);
      }
      const int32_t logit = joint_opinion(t_, all_low, all_at, all_high, total);
      x[0] = as_input(logit);
      for (int k = 0; k < kMaps; ++k) {
        const uint32_t p = learned_.maps[static_cast<size_t>(k)].refine(static_cast<size_t>(node * kMapSize[k] + context[k]), logit);
        x[1 + kParts + k] = t_.stretch[p >> 12];
      }
      if (network_ == nullptr) x[kMixed - 1] = 256;
      const int32_t mixed = learned_.mix.predict(avx2_, x);
      const uint32_t p0 = mixer::squash24(t_, mixed);
      const uint32_t p1 = learned_.last[0].refine(static_cast<size_t>(node * kLastSize[0] + level), mixed);
      const uint32_t p2 = learned_.last[1].refine(static_cast<size_t>(node * kLastSize[1] + before), mixed);

      const int bit = coder(Coder::kKnown ? value >= at : 0, settled(p0, p1, p2));

      learned_.mix.update(avx2_, t_, x, bit);
      for (auto& map : learned_.maps) map.update(t_, bit);
      for (auto& map : learned_.last) map.update(t_, bit);
      if (bit) {
        low = at;
        all_low = all_at;
        for (int k = 0; k < parts_; ++k) part_low[k] = part_at[k];
      } else {
        high = at;
        all_high = all_at;
        for (int k = 0; k < parts_; ++k) part_high[k] = part_at[k];
      }
      if (depth < 5) path = path * 2 + bit;
    }
    // How well each distribution knew the value: shares of the next mixture.
    for (int k = 0; k < parts_; ++k) {
      const uint32_t mass = (part_high[k] > part_low[k] ? part_high[k] - part_low[k] : 0) + 4;
      logs_[k] = ((logs_[k] * 15) >> 4) + mixer::log24(t_, mass);
    }
    return static_cast<int32_t>(low);
  }

  const mixer::Tables& t_;
  bool avx2_;
  const Effort& effort_;
  int32_t low_, high_;
  bool present_, partner_, weighted_;
  const layers::Network* network_;
  std::vector<Row>* rows_;
  int parts_;
  Past past_;
  std::vector<Squares> sets_, join_;
  std::vector<Filter> filters_, level_filters_;
  Repetition repetition_;
  Filter last_filter_;
  Learned learned_;
  int others_[kMostSets] = {};
  int32_t features_[kMostSets][kTaps] = {}, joined_[kTaps] = {}, by_filter_[kMostFilters] = {};
  int64_t by_set_[kMostSets] = {}, centre_ = 0, scale_ = 1;
  int64_t error_of_[4 + kSets];     // mean sizes of errors, 1/512: of the centre by three speeds, of the cascade, of the sets
  int64_t errors_[2] = {};          // the last ones of the centre, 1/64
  int32_t mean_level_ = 100 * 64;   // of the logarithms of the errors' sizes, 1/512 octave
  int32_t logs_[kMostParts] = {};
  Logistic part_[kParts];
  uint32_t weight_[kMostParts] = {};  // shares of the mixture, and their sum
  uint64_t total_ = 1;
  int32_t best_log_ = 0;
  int64_t joined_centre_ = 0;
  // For the network.
  Errors before_;
  Past missed_[kSets + 1];  // what the sets and the cascade missed samples by
  int64_t done_ = 0;        // samples
  Foretold foretold_;
  int64_t size_ = 1 << 15, cascade_ = 0;  // the mean size of samples, 1/512
  int32_t last_by_filter_ = 0;
};

// All channels of a segment, in turn for each moment.
class Segment {
 public:
  Segment(const Shape& shape, const layers::Network* network, std::vector<Row>* rows = nullptr) : shape_(shape) {
    for (int c = 0; c < shape.channels; ++c)
      channels_.push_back(std::make_unique<Channel>(shape, c, c > 0, shape.channels > 1, network, rows));
  }
  template <class Coder>
  bool code(Coder& coder, int32_t* const* samples, const Progress& progress) {
    size_t done = 0, told = 0;
    for (int64_t t = 0; t < shape_.length; ++t) {
      for (int c = 0; c < shape_.channels; ++c) {
        const Channel* const partner = shape_.channels == 1 ? nullptr : channels_[static_cast<size_t>(c > 0 ? c - 1 : 1)].get();
        samples[c][t] = channels_[static_cast<size_t>(c)]->code(coder, partner, samples[c][t]);
      }
      done += static_cast<size_t>(shape_.channels);
      if (done - told >= kTell) progress(told = done);
      if (!coder.right()) return false;
    }
    return true;
  }

 private:
  const Shape& shape_;
  std::vector<std::unique_ptr<Channel>> channels_;
};
