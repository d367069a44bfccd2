// The byte predictor: bit histories under many contexts, match models and, in
// network mode, a language model's probabilities, mixed online.
#pragma once
#include <cstdint>
#ifndef SLM
#define SLM 8
#endif
#ifndef MB2
#define MB2 16
#endif

#include <vector>

#include "mixer_contexts.hpp"
#include "mixer_counters.hpp"
#include "mixer_match.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"

namespace lmc::mixer {

enum class Profile { fast = 1, normal = 2, strong = 3 };

// What the network says about a decision: probabilities of a one, in
// [1, 2^24 - 1], by itself and with its online bias.
struct NetworkInput {
  uint32_t p = 1 << 23, p_bias = 1 << 23;
};

enum class Ctx : uint8_t {
  order1, order2, order3, order4, order5, order6, order7,
  word, word_pair, word_skip,
  sparse23, sparse34, sparse13, sparse24,
  above_column, above_first, record2, record1, record_column,
  indirect1, indirect2, expected, classes, number_word, token, token_pair, none
};

// What a profile is made of. The contexts depend on whether the newest bytes
// look like text or like binary data; both lists are equally long.
struct Plan {
  std::vector<Ctx> contexts[2];      // [0] text, [1] binary
  int orders;                        // how many of the first contexts are rising orders
  std::vector<uint32_t> matches;     // shortest lengths of the match models, longest first
  int sets, maps;                    // weight sets and probability maps
  int max_log2_slots;
};

inline const Plan& plan_of(Profile profile, bool network) {
  static const Plan fast{{{Ctx::order2, Ctx::order3, Ctx::order4, Ctx::order6, Ctx::word},
                          {Ctx::order2, Ctx::order3, Ctx::order4, Ctx::record2, Ctx::sparse23}},
                         3, {6}, 2, 1, 22};
  static const Plan normal{{{Ctx::order2, Ctx::order3, Ctx::order4, Ctx::order6, Ctx::word, Ctx::word_pair,
                             Ctx::word_skip, Ctx::above_column, Ctx::indirect2, Ctx::expected, Ctx::classes,
                             Ctx::number_word},
                            {Ctx::order1, Ctx::order2, Ctx::order3, Ctx::order6, Ctx::sparse23, Ctx::sparse34,
                             Ctx::sparse13, Ctx::record2, Ctx::record_column, Ctx::classes, Ctx::expected, Ctx::number_word}},
                           4, {12, 5}, 4, 2, 23};
  static const Plan mixed{{{Ctx::order1, Ctx::order2, Ctx::order3, Ctx::order4, Ctx::order6,
                            Ctx::word, Ctx::word_pair, Ctx::token, Ctx::token_pair, Ctx::expected, Ctx::classes},
                           {Ctx::order1, Ctx::order2, Ctx::order3, Ctx::order4, Ctx::order6,
                            Ctx::word, Ctx::word_pair, Ctx::token, Ctx::token_pair, Ctx::expected, Ctx::classes}},
                          5, {16, 5}, 4, 2, 22};
  if (network) return mixed;
  return profile == Profile::fast ? fast : normal;
}

class ByteMixer {
 public:
  static constexpr uint32_t kStateLimit = 255, kMatchLimit = 1022, kDirectLimit = 1022, kMapLimit = 255;

  // ends: where each lane's part of the buffer ends (the last one is its size).
  ByteMixer(Profile profile, bool network, const std::vector<uint32_t>& ends)
      : t_(tables()),
        plan_(plan_of(profile, network)),
        network_(network),
        contexts_(static_cast<int>(plan_.contexts[0].size())),
        match_count_(static_cast<int>(plan_.matches.size())),
        buffer_(ends.back() + 8),
        histories_(fit(uint64_t{ends.back()} * SLM / 4 * plan_.contexts[0].size(), 10, plan_.max_log2_slots)),
        padded_((contexts_ + 7) / 8 * 8),
        avx2_(use_avx2()),
        values_(static_cast<size_t>(padded_)),
        maps_(static_cast<size_t>(contexts_) * 2 * 256),
        order0_(256),
        order1_(65536),
        match_maps_(static_cast<size_t>(match_count_) * 32 * 4),
        mixer_(padded(inputs()), set_sizes(), first_weights(), 256),
        map1_(t_, 65536, kMapLimit),
        map2_(t_, plan_.maps > 1 ? 1 << MB2 : 1, kMapLimit),
        follow1_(256),
        follow2_(65536) {
    const int log2_heads = fit(ends.back(), 8, 22);
    for (uint32_t length : plan_.matches) matches_.emplace_back(log2_heads, length, 8);
    for (int i = 0; i < 2 * contexts_; ++i)
      for (size_t s = 0; s < 256; ++s) maps_[static_cast<size_t>(i) * 256 + s].value = t_.prior[s] << 10 | (s == 0 ? 1023 : 0);
    
    for (size_t i = 0; i < match_maps_.size(); ++i) {
      const uint32_t length = static_cast<uint32_t>(i / 4 % 32);
      match_maps_[i].value = ((1u << 22) - (1u << 21) / (length + 2)) << 10;
    }
    values_.fill(1u << 31 | 1023);
    order0_.fill({1u << 31});
    order1_.fill({1u << 31});
    uint32_t start = 0;
    for (uint32_t end : ends) {
      extents_.push_back({start, start, end});
      lanes_.emplace_back();
      lanes_.back().number = static_cast<uint32_t>(lanes_.size() - 1);
      start = end;
    }
  }

  const uint8_t* buffer() const { return buffer_.data(); }

  // At a byte boundary of a lane, before `end` or the first bit of the byte.
  void begin_byte(uint32_t lane, bool inside) {
    lane_ = &lanes_[lane];
    extent_ = &extents_[lane];
    lane_->inside = inside;
    make_contexts();
    c0_ = node_ = 1;
    bit_ = 0;
    ready_ = false;
    load_lines(0);
  }

  // Whether the token ends at this byte boundary; at most once, before the bits.
  uint32_t predict_end(const NetworkInput& net) {
    c0_ = 0;
    find_slots(256, 0);
    return predict(net);
  }
  void update_end(int bit) {
    learn(bit);
    c0_ = 1;
    ready_ = false;
  }

  // The next bit of the byte, most significant first.
  uint32_t predict_bit(const NetworkInput& net = {}) {
    if (!ready_) {
      if (bit_ < 4) find_slots(0, 0);
      else find_slots(c0_ >> (bit_ - 3), c0_ >> (bit_ - 4) & 1);
    }
    return predict(net);
  }
  void update_bit(int bit) {
    learn(bit);
    shift(bit);
  }
  // A bit that is known without coding. The 8th bit appends the byte.
  void skip_bit(int bit) { shift(bit); }

  // After the last byte of a token (its id), for the token contexts.
  void token_done(uint32_t lane, uint32_t token) {
    Lane& l = lanes_[lane];
    l.token1 = l.token;
    l.token = token + 1;
    l.token_bytes = 0;
  }

 private:
  static int fit(uint64_t wanted, int least, int most) {
    int log2 = least;
    while (log2 < most && (uint64_t{1} << log2) < wanted) ++log2;
    return log2;
  }
  int inputs() const { return 2 * contexts_ + 2 * match_count_ + 4 + (network_ ? 2 : 0); }
  static int padded(int n) { return (n + 15) / 16 * 16; }
  std::vector<int> set_sizes() const { 
    const std::vector<int> all{2 * 64 * 8, 2 * 256, 2 * 256, 256 * 8};
    return {all.begin(), all.begin() + plan_.sets}; }
  std::vector<int32_t> first_weights() const {
    std::vector<int32_t> w(static_cast<size_t>(padded(inputs())), 0);
    for (int i = 0; i < contexts_ && !network_; ++i) w[static_cast<size_t>(i)] = 65536 * 3 / 10;
    if (network_) w[static_cast<size_t>(inputs() - 1)] = w[static_cast<size_t>(inputs() - 2)] = 65536 * 9 / 20;
    for (int i = 0; i < match_count_ && !network_; ++i) w[static_cast<size_t>(2 * contexts_ + 2 * i)] = 65536 / 4;
    return w;
  }

  void make_contexts() {
    const Lane& l = *lane_;
    const uint32_t index = extent_->limit - extent_->start;
    const uint64_t c8 = l.c8;
    const uint32_t c1 = c8 & 255, c2 = c8 >> 8 & 255, c3 = c8 >> 16 & 255;
    const uint32_t column = index - l.line_start;
    const uint32_t above = l.line_start - l.above_start > column ? back(index - (l.above_start + column)) : 0;
    const uint32_t s = l.strides.stride;
    const uint32_t r1 = s ? back(s) : 0, r2 = s ? back(2 * s) : 0;
    binary_ = l.control > 2048;
    const std::vector<Ctx>& plan = plan_.contexts[binary_];
    for (int i = 0; i < contexts_; ++i) {
      uint64_t v = 0;
      switch (plan[static_cast<size_t>(i)]) {
        case Ctx::order1: v = c1; break;
        case Ctx::order2: v = c8 & 0xffff; break;
        case Ctx::order3: v = c8 & 0xffffff; break;
        case Ctx::order4: v = c8 & 0xffffffff; break;
        case Ctx::order5: v = c8 & 0xffffffffffu; break;
        case Ctx::order6: v = c8 & 0xffffffffffffu; break;
        case Ctx::order7: v = c8 & 0xffffffffffffffu; break;
        case Ctx::word: v = uint64_t{l.word} << 8 | (l.word ? 0 : c1); break;
        case Ctx::word_pair: v = (uint64_t{l.word} << 32 | l.word1) * 3 + (l.word ? 0 : c1); break;
        case Ctx::word_skip: v = (uint64_t{l.word} << 32 | l.word2) * 5 + (l.word ? 0 : c1); break;
        case Ctx::sparse23: v = c8 & 0xffff00; break;
        case Ctx::sparse34: v = c8 & 0xffff0000; break;
        case Ctx::sparse13: v = c8 & 0xff00ff; break;
        case Ctx::sparse24: v = c8 & 0xff00ff00; break;
        case Ctx::above_column: v = above << 16 | c1 << 8 | (column < 255 ? column : 255); break;
        case Ctx::above_first: v = above << 16 | c1 << 8 | back(index - l.line_start); break;
        case Ctx::record2: v = uint64_t{s} << 32 | r1 << 8 | r2; break;
        case Ctx::record1: v = uint64_t{s} << 32 | r1 << 8 | c1; break;
        case Ctx::record_column: v = uint64_t{s} << 32 | (s ? index % s : 0) << 8 | r1; break;
        case Ctx::indirect1: v = c1 << 16 | follow1_[c1]; break;
        case Ctx::indirect2: v = uint64_t{c8 & 0xffff} << 16 | follow2_[c8 & 0xffff]; break;
        case Ctx::expected: {
          const MatchState& m = l.match[0].expected >= 0 ? l.match[0] : l.match[match_count_ - 1];
          v = m.expected < 0 ? 0 : (static_cast<uint32_t>(m.expected) + 1) << 8 | length_bucket(m.length);
          v = v << 8 | c1;
          break;
        }
        case Ctx::classes: v = l.classes; break;
        case Ctx::number_word: v = l.number_word; break;
        case Ctx::token: v = uint64_t{l.token} << 32 | l.token_bytes; break;
        case Ctx::token_pair: v = (uint64_t{l.token} << 32 | l.token1) * 7 + l.token_bytes; break;
        case Ctx::none: break;
      }
      (void)c2; (void)c3;
      hashes_[i] = hash64(v + (static_cast<uint64_t>(plan[static_cast<size_t>(i)]) * 2 + 2 + l.inside) * 0x9DDFEA08EB382D69u);
    }
    for (int m = 0; m < match_count_; ++m) {
      const MatchState& match = l.match[m];
      const int misses = ones(match.misses) < 3 ? ones(match.misses) : 3;
      const int bucket = static_cast<int>(length_bucket(match.length));
      expected_[m] = match.expected;
      match_cell_[m] = (m * 32 + bucket) * 4 + misses;
      match_selector_[m] = bucket / 4 * 4 + misses;
    }
    classes_ = static_cast<int>(l.classes & 255);
  }

  // The byte `distance` before the next one, 0 before the lane's start.
  uint32_t back(uint32_t distance) const {
    const uint32_t index = extent_->limit - extent_->start;
    return distance > 0 && distance <= index ? buffer_[extent_->limit - distance] : 0;
  }

  // Starts loading the histories of the next half byte: part is 0 for the
  // first half, 256 for `end`, and the first three bits (with a leading one)
  // for the second half, whose fourth bit only moves the check.
  void load_lines(uint32_t part) {
    for (int i = 0; i < contexts_; ++i) {
      uint32_t h = (hashes_[i] + part * 0x9E3779B1u) * 0x85EBCA6Bu;
      h ^= h >> 15;
      checks_[i] = static_cast<uint8_t>(h & 255);
      lines_[i] = histories_.line(h);
      __builtin_prefetch(lines_[i]);
    }
    part_ = part;
  }

  void find_slots(uint32_t part, uint32_t fourth) {
    if (part_ != part) load_lines(part);
    seen_ = 0;
    for (int i = 0; i < contexts_; ++i) {
      slots_[i] = HistoryTable::find(lines_[i], static_cast<uint8_t>(checks_[i] + fourth));
      if (i < plan_.orders && slots_[i][1] != 0) ++seen_;
    }
    ready_ = true;
  }

  uint32_t predict(const NetworkInput& net) {
    const uint32_t c1 = lane_->c8 & 255, c0 = c0_;
    int16_t* x = mixer_.x.data();

    // Match models: how often a match of this length was right, for the bit it expects.
    int k = 2 * contexts_, selector = 0;
    for (int m = 0; m < match_count_; ++m, k += 2) {
      const int e = expected_[m];
      x[k] = x[k + 1] = 0;
      match_map_[m] = nullptr;
      if (c0 != 0 && e >= 0 && static_cast<uint32_t>(e + 256) >> (8 - bit_) == c0) {
        const int expected_bit = e >> (7 - bit_) & 1;
        match_map_[m] = &match_maps_[static_cast<size_t>(match_cell_[m])];
        match_bit_[m] = expected_bit;
        const int p = static_cast<int>(match_map_[m]->p12());
        const int sign = expected_bit ? 1 : -1;
        x[k] = static_cast<int16_t>(sign * t_.stretch[static_cast<size_t>(p)]);
        x[k + 1] = static_cast<int16_t>(sign * ((p - 2048) >> 2));
        if (selector == 0) selector = match_selector_[m] * 2 + expected_bit;
      }
    }
    const int selected[4] = {(binary_ * 64 + selector) * 8 + seen_, binary_ * 256 + static_cast<int>(c0),
                             binary_ * 256 + static_cast<int>(c1), classes_ * 8 + bit_};
    mixer_.select(selected, static_cast<int>(c0));
    map1_.prefetch(c1 << 8 | c0);
    hashed_ = hash64((lane_->c8 & 0xffffff) << 8 | c0) >> (32 - MB2);
    if (plan_.maps > 1) map2_.prefetch(hashed_);

    // Bit histories.
    Adaptive* maps = maps_.data() + (binary_ ? contexts_ * 256 : 0);
    uint32_t* values = values_.data();
    const int contexts = contexts_;
    const uint32_t node = node_;
    for (int i = 0; i < contexts; ++i, maps += 256) {
      Adaptive* at = maps + slots_[i][node];
      at_[i] = at;
      values[i] = at->value;
    }
    (avx2_ ? inputs_avx2 : inputs_scalar)(t_, values, padded_, side_, side_ + 32);
    std::memcpy(x, side_, static_cast<size_t>(contexts) * 2);
    std::memcpy(x + contexts, side_ + 32, static_cast<size_t>(contexts) * 2);

    direct0_ = &order0_[c0];
    direct1_ = &order1_[c1 << 8 | c0];
    const size_t p1 = direct1_->p12();
    x[k++] = t_.stretch[direct0_->p12()];
    x[k++] = t_.stretch[p1];
    x[k++] = static_cast<int16_t>((static_cast<int>(p1) - 2048) >> 2);
    x[k++] = 256;
    if (network_) {
      x[k++] = input_of(stretch24(t_, net.p));
      x[k++] = input_of(stretch24(t_, net.p_bias));
    }
    const int32_t logit = mixer_.predict();
    const uint32_t p = squash24(t_, logit);
    const uint32_t q1 = map1_.refine(c1 << 8 | c0, logit);
    const uint32_t q2 = plan_.maps > 1 ? map2_.refine(hashed_, logit) : q1;
    const uint32_t r = (2 * p + q1 + q2 + 2) >> 2;
    return r < 16 ? 16 : r > (1u << 24) - 16 ? (1u << 24) - 16 : r;
  }

  static int16_t input_of(int32_t logit) {
    int32_t v = logit >> 4;
    if (v > kInputLimit) v = kInputLimit;
    if (v < -kInputLimit) v = -kInputLimit;
    return static_cast<int16_t>(v);
  }

  void learn(int bit) {
    mixer_.update(t_, bit);
    map1_.update(t_, bit);
    if (plan_.maps > 1) map2_.update(t_, bit);
    uint32_t* values = values_.data();
    (avx2_ ? learn_avx2 : learn_scalar)(t_, values, padded_, bit, kStateLimit);
    // Bytes may alias anything: what the loop needs is held in locals.
    const int contexts = contexts_;
    const uint32_t node = node_;
    uint8_t* const* slots = slots_;
    const uint8_t* next = t_.next[static_cast<size_t>(bit)].data();
    for (int i = 0; i < contexts; ++i) at_[i]->value = values[i];
    for (int i = 0; i < contexts; ++i) slots[i][node] = next[slots[i][node]];
    for (int m = 0; m < match_count_; ++m)
      if (match_map_[m]) match_map_[m]->update(t_, match_bit_[m] == bit, kMatchLimit);
    direct0_->update(t_, bit, kDirectLimit);
    direct1_->update(t_, bit, kDirectLimit);
  }

  void shift(int bit) {
    c0_ = c0_ * 2 + static_cast<uint32_t>(bit);
    ++bit_;
    node_ = node_ * 2 + static_cast<uint32_t>(bit);
    if (bit_ == 3) {
      load_lines(c0_);
    } else if (bit_ == 4) {
      ready_ = false;
      node_ = 1;
    } else if (bit_ == 8) {
      append(static_cast<uint8_t>(c0_ & 255));
      node_ = 1;
    }
  }

  void append(uint8_t c) {
    Lane& l = *lane_;
    const uint32_t index = extent_->limit - extent_->start;
    buffer_[extent_->limit++] = c;
    const uint32_t c1 = l.c8 & 255;
    follow1_[c1] = static_cast<uint16_t>(follow1_[c1] << 8 | c);
    uint16_t& f2 = follow2_[l.c8 & 0xffff];
    f2 = static_cast<uint16_t>(f2 << 8 | c);
    l.token_bytes = (l.token_bytes + c + 1) * 0x2C1B3C6Du;
    l.c16 = l.c16 << 8 | l.c8 >> 56;
    l.c8 = l.c8 << 8 | c;
    l.strides.append(index, c);
    const uint8_t lower = c >= 'A' && c <= 'Z' ? static_cast<uint8_t>(c + 32) : c;
    if ((lower >= 'a' && lower <= 'z') || c >= 128) {
      l.word = (l.word + lower + 1) * 0x2C1B3C6Du;
    } else if (l.word != 0) {
      l.word2 = l.word1;
      l.word1 = l.word;
      l.word = 0;
    }
    if (c == '\n') {
      l.above_start = l.line_start;
      l.line_start = index + 1;
    }
    const bool control = (c < 32 && c != '\n' && c != '\r' && c != '\t') || c == 127 || c == 255;
    l.control = l.control - (l.control >> 6) + (control ? 1024 : 0);
    l.classes = l.classes << 4 | byte_class(c);
    for (int k = 0; k < match_count_; ++k) {
      const uint32_t length = matches_[static_cast<size_t>(k)].min_length();
      const uint64_t low = length >= 8 ? l.c8 : l.c8 & ((uint64_t{1} << 8 * length) - 1);
      const uint64_t high = length > 8 ? l.c16 & ((uint64_t{1} << 8 * (length - 8)) - 1) : 0;
      const uint32_t hash = hash64(low + hash64(high + 1));
      matches_[static_cast<size_t>(k)].advance(l.match[k], buffer_.data(), extents_, l.number, hash);
    }
  }

  const Tables& t_;
  const Plan& plan_;
  bool network_;
  int contexts_, match_count_;
  ZeroedArray<uint8_t> buffer_;
  std::vector<Extent> extents_;
  std::vector<Lane> lanes_;
  HistoryTable histories_;
  int padded_;  // contexts_ rounded up for the vector loops; the extra ones never speak
  bool avx2_;
  ZeroedArray<uint32_t> values_;
  ZeroedArray<Adaptive> maps_;
  ZeroedArray<Adaptive> order0_, order1_;
  std::vector<MatchModel> matches_;
  ZeroedArray<Adaptive> match_maps_;
  Mixer mixer_;
  ProbabilityMap map1_, map2_;
  std::vector<uint16_t> follow1_, follow2_;

  // The byte being coded.
  Lane* lane_ = nullptr;
  Extent* extent_ = nullptr;
  uint32_t c0_ = 1, node_ = 1;
  int bit_ = 0, seen_ = 0;
  bool ready_ = false;  // slots_ belong to this half byte
  uint32_t part_ = 0;
  uint32_t hashes_[32] = {};
  uint8_t checks_[32] = {};
  uint8_t* lines_[32] = {};
  uint8_t* slots_[32] = {};
  Adaptive* at_[32] = {};  // the map entries of the bit being coded
  int binary_ = 0;
  int expected_[kMatches] = {};
  Adaptive* match_map_[kMatches] = {};
  int match_bit_[kMatches] = {};
  Adaptive* direct0_ = nullptr;
  Adaptive* direct1_ = nullptr;
  int match_cell_[kMatches] = {}, match_selector_[kMatches] = {};
  int classes_ = 0;
  size_t hashed_ = 0;
  int16_t side_[64] = {};
};

// Codes `size` bytes with one lane; Coder offers encode(bit, p24).
template <typename Coder>
void encode_bytes(Profile profile, const uint8_t* data, size_t size, Coder& coder) {
  if (size == 0) return;
  ByteMixer m(profile, false, {static_cast<uint32_t>(size)});
  for (size_t i = 0; i < size; ++i) {
    m.begin_byte(0, false);
    for (int k = 7; k >= 0; --k) {
      const int bit = data[i] >> k & 1;
      coder.encode(bit, m.predict_bit());
      m.update_bit(bit);
    }
  }
}

// Coder offers decode(p24) -> bit.
template <typename Coder>
void decode_bytes(Profile profile, uint8_t* data, size_t size, Coder& coder) {
  if (size == 0) return;
  ByteMixer m(profile, false, {static_cast<uint32_t>(size)});
  for (size_t i = 0; i < size; ++i) {
    m.begin_byte(0, false);
    for (int k = 0; k < 8; ++k) m.update_bit(coder.decode(m.predict_bit()));
    data[i] = m.buffer()[i];
  }
}

}  // namespace lmc::mixer
