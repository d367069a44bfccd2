// The byte predictor: bit histories under many contexts, match models and, in
// network mode, a language model's probabilities, mixed online. Integers only;
// ARITHMETIC.md defines every step and kernels/reference_mixer.py is equal.
//
//   ByteMixer m(Profile::strong, true, ends);      // lane l writes buffer()[ends[l-1], ends[l])
//   m.begin_byte(lane, inside);                    // at a byte boundary, before `end` or the bits
//   p = m.predict_end(net);  m.update_end(bit);    // network mode only: does the token end here?
//   p = m.predict_bit(net);  m.update_bit(bit);    // 8 times a byte, most significant bit first,
//   m.skip_bit(bit);                               // or this where the bit is known anyway
//   m.token_done(lane, id);                        // after a token's last byte
//
// A probability is that of a one, in units of 2^-24, within [16, 2^24 - 16].
// The 8th bit appends its byte to buffer(), the only bytes that predictions
// depend on: the encoder cannot look ahead. Lanes share everything but their
// recent past; a byte must be finished before another lane's begins.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "mixer_contexts.hpp"
#include "mixer_counters.hpp"
#include "mixer_match.hpp"
#include "mixer_plans.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"

namespace lmc::mixer {

// What the network says about a decision: the probability of a one, units of
// 2^-24, in [1, 2^24 - 1], by itself and with its online bias.
struct NetworkInput {
  uint32_t p = 1 << 23, p_bias = 1 << 23;
};

class ByteMixer {
 public:
  // ends: where each lane's part of the buffer ends, not falling; the last one
  // is the size of the buffer. Throws std::invalid_argument.
  ByteMixer(Profile profile, bool network, const std::vector<uint32_t>& ends)
      : t_(tables()),
        plan_(plan_of(profile, network)),
        network_(network),
        avx2_(use_avx2()),
        contexts_(static_cast<int>(plan_.contexts[0].size())),
        padded_((contexts_ + 7) / 8 * 8),
        matches_count_(static_cast<int>(plan_.matches.size())),
        size_(checked_size(ends)),
        buffer_(size_ + 1),
        histories_(fit(uint64_t{size_} * static_cast<uint64_t>(contexts_) / 2, 10, plan_.log2_slots)),
        values_(static_cast<size_t>(padded_)),
        maps_(static_cast<size_t>(contexts_) * 2 * 256),
        order0_(256),
        order1_(65536),
        match_maps_(static_cast<size_t>(matches_count_) * 128),
        mixer_((inputs() + 15) / 16 * 16, set_sizes(), first_weights(), 256),
        refine_bits_{fit(uint64_t{size_} * 4, 8, 16), fit(uint64_t{size_} * 4, 8, plan_.log2_refine)},
        refine_{ProbabilityMap(t_, size_t{1} << refine_bits_[0], kMapLimit),
                ProbabilityMap(t_, size_t{1} << refine_bits_[1], kMapLimit)},
        follow1_(256),
        follow2_(65536) {
    for (uint32_t length : plan_.matches) matches_.emplace_back(fit(size_, 8, 22), length);
    values_.fill(kFrozenHalf);
    order0_.fill({1u << 31});
    order1_.fill({1u << 31});
    // A context never seen (history 0) says nothing, for ever.
    for (size_t i = 0; i < maps_.size(); ++i) maps_[i] = {i % 256 == 0 ? kFrozenHalf : t_.prior[i % 256] << 10};
    for (size_t i = 0; i < match_maps_.size(); ++i) {
      const uint32_t bucket = static_cast<uint32_t>(i / 4 % 32);
      match_maps_[i] = {((1u << 22) - (1u << 21) / (bucket + 2)) << 10};
    }
    uint32_t start = 0;
    for (uint32_t end : ends) {
      extents_.push_back({start, start, end});
      lanes_.emplace_back();
      start = end;
    }
  }

  const uint8_t* buffer() const { return buffer_.data(); }

  void begin_byte(uint32_t lane, bool inside) {
    number_ = lane;
    lane_ = &lanes_[lane];
    extent_ = &extents_[lane];
    lane_->inside = inside;
    c0_ = node_ = 1;
    bit_ = 0;
    make_contexts();
    ready_ = false;
    load_lines(0);
  }

  uint32_t predict_end(const NetworkInput& net) {
    c0_ = 0;  // no byte has this partial value
    find_slots(kEndPart, 0);
    return predict(net);
  }
  void update_end(int bit) {
    learn(bit);
    c0_ = 1;
    ready_ = false;
  }

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
  void skip_bit(int bit) { shift(bit); }

  void token_done(uint32_t lane, uint32_t token) {
    Lane& l = lanes_[lane];
    l.token1 = l.token;
    l.token = token + 1;
    l.token_bytes = 0;
  }

 private:
  // Counts at which adaptive probabilities stop to slow down.
  static constexpr uint32_t kHistoryLimit = 255, kDirectLimit = 1022, kMatchLimit = 1022, kMapLimit = 255;
  static constexpr uint32_t kFrozenHalf = 1u << 31 | 1023;
  static constexpr uint32_t kEndPart = 256;
  static constexpr int kMaxContexts = 16;

  static uint32_t checked_size(const std::vector<uint32_t>& ends) {
    uint32_t last = 0;
    for (uint32_t end : ends) {
      if (end < last) throw std::invalid_argument("lane ends must not fall");
      last = end;
    }
    if (ends.empty() || last >= UINT32_MAX - 1) throw std::invalid_argument("no lanes, or too many bytes");
    return last;
  }
  // The least log2 in [least, most] with 2^log2 >= wanted, or most.
  static int fit(uint64_t wanted, int least, int most) {
    int log2 = least;
    while (log2 < most && (uint64_t{1} << log2) < wanted) ++log2;
    return log2;
  }

  int inputs() const { return 2 * contexts_ + 2 * matches_count_ + 4 + (network_ ? 2 : 0); }
  std::vector<int> set_sizes() const {
    std::vector<int> sizes;
    for (Select s : plan_.sets) sizes.push_back(kSelectSize[static_cast<int>(s)]);
    return sizes;
  }
  // With a network, its two inputs have 0.45 each; without, each history 0.3 and each match 0.25.
  std::vector<int32_t> first_weights() const {
    std::vector<int32_t> w(static_cast<size_t>((inputs() + 15) / 16 * 16), 0);
    if (network_) {
      w[static_cast<size_t>(inputs() - 1)] = w[static_cast<size_t>(inputs() - 2)] = 29491;
      return w;
    }
    for (int i = 0; i < contexts_; ++i) w[static_cast<size_t>(i)] = 19660;
    for (int m = 0; m < matches_count_; ++m) w[static_cast<size_t>(2 * (contexts_ + m))] = 16384;
    return w;
  }

  // The byte `distance` before the next one, 0 before the lane's start.
  uint32_t back(uint32_t distance) const {
    return distance > 0 && distance <= extent_->limit - extent_->start ? buffer_[extent_->limit - distance] : 0;
  }

  void make_contexts() {
    const Lane& l = *lane_;
    const uint32_t index = extent_->limit - extent_->start;
    const uint64_t c8 = l.c8;
    const uint32_t c1 = c8 & 255;
    const uint32_t column = index - l.line_start;
    const uint32_t above = l.line_start - l.above_start > column ? back(l.line_start - l.above_start) : 0;
    const uint32_t stride = l.strides.stride;
    const uint64_t record = uint64_t{stride} << 32 | back(stride) << 8;
    const uint32_t first = l.word ? 0 : c1;  // between words: the byte before instead
    binary_ = l.control > kBinary;
    const std::vector<Ctx>& plan = plan_.contexts[binary_];
    for (int i = 0; i < contexts_; ++i) {
      const Ctx context = plan[static_cast<size_t>(i)];
      uint64_t v = 0;
      switch (context) {
        case Ctx::order0: break;
        case Ctx::order1: v = c1; break;
        case Ctx::order2: v = c8 & 0xffff; break;
        case Ctx::order3: v = c8 & 0xffffff; break;
        case Ctx::order4: v = c8 & 0xffffffff; break;
        case Ctx::order5: v = c8 & 0xffffffffff; break;
        case Ctx::order6: v = c8 & 0xffffffffffff; break;
        case Ctx::word: v = uint64_t{l.word} << 8 | first; break;
        case Ctx::word_pair: v = (uint64_t{l.word} << 32 | l.word1) * 3 + first; break;
        case Ctx::word_skip: v = (uint64_t{l.word} << 32 | l.word2) * 5 + first; break;
        case Ctx::sparse13: v = c8 & 0xff00ff; break;
        case Ctx::sparse23: v = c8 & 0xffff00; break;
        case Ctx::sparse24: v = c8 & 0xff00ff00; break;
        case Ctx::sparse34: v = c8 & 0xffff0000; break;
        case Ctx::above: v = above << 16 | c1 << 8 | (column < 255 ? column : 255); break;
        case Ctx::record1: v = record | c1; break;
        case Ctx::record2: v = record | (stride ? back(2 * stride) : 0); break;
        case Ctx::record_column: v = uint64_t{stride} << 32 | (stride ? index % stride : 0) << 8 | back(stride); break;
        case Ctx::indirect1: v = c1 << 16 | follow1_[c1]; break;
        case Ctx::indirect2: v = (c8 & 0xffff) << 16 | follow2_[c8 & 0xffff]; break;
        case Ctx::expected: {
          const MatchState& m = l.match[0].expected >= 0 ? l.match[0] : l.match[matches_count_ - 1];
          if (m.expected >= 0) v = (static_cast<uint32_t>(m.expected) + 1) << 8 | length_bucket(m.length);
          v = v << 8 | c1;
          break;
        }
        case Ctx::classes: v = l.classes; break;
        case Ctx::token_pair: v = (uint64_t{l.token} << 32 | l.token1) * 7 + l.token_bytes; break;
      }
      hashes_[i] = hash64(v + (static_cast<uint64_t>(context) * 2 + 2 + l.inside) * 0x9DDFEA08EB382D69u);
    }
    for (int m = 0; m < matches_count_; ++m) {
      const MatchState& match = l.match[m];
      const int misses = ones(match.misses) < 3 ? ones(match.misses) : 3;
      const int bucket = static_cast<int>(length_bucket(match.length));
      expected_[m] = match.expected;
      match_cell_[m] = (m * 32 + bucket) * 4 + misses;
      match_select_[m] = bucket / 4 * 4 + misses;
    }
    loss_ = l.losses.select();
  }

  // Starts loading the histories of the next half byte: part is 0 for the
  // first half, kEndPart for `end`, and the first three bits (with a leading
  // one) for the second half, whose fourth bit only moves the check.
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

  int select(Select s, int match) const {
    const int c0 = static_cast<int>(c0_), c1 = static_cast<int>(lane_->c8 & 255);
    switch (s) {
      case Select::match: return (binary_ * 64 + match) * 8 + seen_;
      case Select::partial: return (network_ ? lane_->inside : binary_) * 256 + c0;
      case Select::order1: return binary_ * 256 + c1;
      case Select::classes: return static_cast<int>(lane_->classes & 255) * 8 + bit_;
      case Select::loss: return loss_;
      case Select::one: break;
    }
    return 0;
  }

  uint32_t predict(const NetworkInput& net) {
    const uint32_t c0 = c0_;
    int16_t* x = mixer_.x.data();

    // Match models: how often a match like this one was right, for the bit it expects.
    int k = 2 * contexts_, match = 0;
    for (int m = 0; m < matches_count_; ++m, k += 2) {
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
        if (match == 0) match = match_select_[m] * 2 + expected_bit;
      }
    }

    // All that is needed later starts loading now.
    int selected[Mixer::kMaxSets];
    for (size_t s = 0; s < plan_.sets.size(); ++s) selected[s] = select(plan_.sets[s], match);
    mixer_.select(selected, static_cast<int>(c0));
    const uint64_t c8 = lane_->c8;
    refine_at_[0] = hash64((c8 & 0xff) << 8 | c0) >> (32 - refine_bits_[0]);
    refine_at_[1] = hash64((c8 & 0xffffff) << 8 | c0) >> (32 - refine_bits_[1]);
    for (int r = 0; r < plan_.refinements; ++r) refine_[r].prefetch(refine_at_[r]);

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
    int16_t logits[kMaxContexts], linear[kMaxContexts];
    (avx2_ ? inputs_avx2 : inputs_scalar)(t_, values, padded_, logits, linear);
    std::memcpy(x, logits, static_cast<size_t>(contexts) * 2);
    std::memcpy(x + contexts, linear, static_cast<size_t>(contexts) * 2);

    // Orders 0 and 1 without histories, a constant, the network.
    direct_[0] = &order0_[c0];
    direct_[1] = &order1_[(c8 & 255) << 8 | c0];
    const size_t p1 = direct_[1]->p12();
    x[k++] = t_.stretch[direct_[0]->p12()];
    x[k++] = t_.stretch[p1];
    x[k++] = static_cast<int16_t>((static_cast<int>(p1) - 2048) >> 2);
    x[k++] = 256;
    if (network_) {
      net_ = net.p_bias;
      x[k++] = network_input(net.p);
      x[k++] = network_input(net.p_bias);
    }

    const int32_t logit = mixer_.predict();
    const uint32_t p = squash24(t_, logit);
    const uint32_t q1 = refine_[0].refine(refine_at_[0], logit);
    const uint32_t q2 = plan_.refinements > 1 ? refine_[1].refine(refine_at_[1], logit) : q1;
    const uint32_t r = (2 * p + q1 + q2 + 2) >> 2;
    out_ = r < 16 ? 16 : r > (1u << 24) - 16 ? (1u << 24) - 16 : r;
    return out_;
  }

  int16_t network_input(uint32_t p) const {
    const int32_t v = stretch24(t_, p) >> 4;
    return static_cast<int16_t>(v > kNetworkLimit ? kNetworkLimit : v < -kNetworkLimit ? -kNetworkLimit : v);
  }

  void learn(int bit) {
    if (network_) lane_->losses.add(cost(t_, net_, bit), cost(t_, out_, bit));
    mixer_.update(t_, bit);
    for (int r = 0; r < plan_.refinements; ++r) refine_[r].update(t_, bit);
    uint32_t* values = values_.data();
    (avx2_ ? learn_avx2 : learn_scalar)(t_, values, padded_, bit, kHistoryLimit);
    // Bytes may alias anything: what the loops need is held in locals.
    const int contexts = contexts_;
    const uint32_t node = node_;
    uint8_t* const* slots = slots_;
    const uint8_t* next = t_.next[static_cast<size_t>(bit)].data();
    for (int i = 0; i < contexts; ++i) at_[i]->value = values[i];
    for (int i = 0; i < contexts; ++i) slots[i][node] = next[slots[i][node]];
    for (int m = 0; m < matches_count_; ++m)
      if (match_map_[m]) match_map_[m]->update(t_, match_bit_[m] == bit, kMatchLimit);
    direct_[0]->update(t_, bit, kDirectLimit);
    direct_[1]->update(t_, bit, kDirectLimit);
  }

  void shift(int bit) {
    c0_ = c0_ * 2 + static_cast<uint32_t>(bit);
    node_ = node_ * 2 + static_cast<uint32_t>(bit);
    ++bit_;
    if (bit_ == 3) {
      load_lines(c0_);
    } else if (bit_ == 4) {
      ready_ = false;
      node_ = 1;
    } else if (bit_ == 8) {
      append(static_cast<uint8_t>(c0_ & 255));
    }
  }

  void append(uint8_t c) {
    Lane& l = *lane_;
    const uint32_t index = extent_->limit - extent_->start;
    buffer_[extent_->limit++] = c;
    uint16_t& after1 = follow1_[l.c8 & 255];
    uint16_t& after2 = follow2_[l.c8 & 0xffff];
    after1 = static_cast<uint16_t>(after1 << 8 | c);
    after2 = static_cast<uint16_t>(after2 << 8 | c);
    l.append(index, c);
    for (int m = 0; m < matches_count_; ++m) {
      MatchModel& model = matches_[static_cast<size_t>(m)];
      model.advance(l.match[m], buffer_.data(), extents_, number_, l.newest(model.min_length()));
    }
  }

  const Tables& t_;
  const Plan& plan_;
  bool network_, avx2_;
  int contexts_;
  int padded_;  // contexts_ rounded up for the vector loops; the extra ones never speak
  int matches_count_;
  uint32_t size_;
  ZeroedArray<uint8_t> buffer_;
  std::vector<Extent> extents_;
  std::vector<Lane> lanes_;
  HistoryTable histories_;
  ZeroedArray<uint32_t> values_;
  ZeroedArray<Adaptive> maps_;  // [binary][context][history]
  ZeroedArray<Adaptive> order0_, order1_;
  std::vector<MatchModel> matches_;
  ZeroedArray<Adaptive> match_maps_;  // [model][length bucket][misses]
  Mixer mixer_;
  int refine_bits_[2];
  ProbabilityMap refine_[2];
  std::vector<uint16_t> follow1_, follow2_;  // the last two bytes that followed one, two bytes

  // The byte and the bit being coded.
  uint32_t number_ = 0;
  Lane* lane_ = nullptr;
  Extent* extent_ = nullptr;
  uint32_t c0_ = 1;    // the bits so far behind a leading one; 0 for `end`
  uint32_t node_ = 1;  // the same within the half byte
  uint32_t part_ = 0;  // what lines_ belong to
  int bit_ = 0, seen_ = 0, binary_ = 0, loss_ = 0;
  bool ready_ = false;  // slots_ belong to this half byte
  uint32_t hashes_[kMaxContexts] = {};
  uint8_t checks_[kMaxContexts] = {};
  uint8_t* lines_[kMaxContexts] = {};
  uint8_t* slots_[kMaxContexts] = {};
  Adaptive* at_[kMaxContexts] = {};
  int expected_[kMatches] = {}, match_cell_[kMatches] = {}, match_select_[kMatches] = {}, match_bit_[kMatches] = {};
  Adaptive* match_map_[kMatches] = {};
  Adaptive* direct_[2] = {};
  size_t refine_at_[2] = {};
  uint32_t net_ = 0, out_ = 0;
};

// Codes `size` bytes with one lane; Coder offers encode(bit, probability of a one).
template <typename Coder>
void encode_bytes(Profile profile, const uint8_t* data, size_t size, Coder& coder) {
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

// Coder offers decode(probability of a one) -> bit.
template <typename Coder>
void decode_bytes(Profile profile, uint8_t* data, size_t size, Coder& coder) {
  ByteMixer m(profile, false, {static_cast<uint32_t>(size)});
  for (size_t i = 0; i < size; ++i) {
    m.begin_byte(0, false);
    for (int k = 0; k < 8; ++k) m.update_bit(coder.decode(m.predict_bit()));
    data[i] = m.buffer()[i];
  }
}

}  // namespace lmc::mixer
