// The byte predictor: bit histories under many contexts, match models and, in
// network mode, a language model's probabilities, mixed online. Integers only;
// ARITHMETIC.md defines every step and kernels/reference_mixer.py is equal.
//
//   ByteMixer m(Profile::network, ends);           // lane l writes buffer()[ends[l-1], ends[l])
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
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "dispatch.hpp"
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

// What ByteMixer calls; the implementations below are one for each plan.
class Predictor {
 public:
  virtual ~Predictor() = default;
  virtual const uint8_t* buffer() const = 0;
  virtual void begin_byte(uint32_t lane, bool inside) = 0;
  virtual uint32_t predict_end(const NetworkInput& net) = 0;
  virtual void update_end(int bit) = 0;
  virtual uint32_t predict_bit(const NetworkInput& net) = 0;
  virtual void update_bit(int bit) = 0;
  virtual void skip_bit(int bit) = 0;
  virtual void token_done(uint32_t lane, uint32_t token) = 0;
  virtual std::vector<uint32_t> learned() const = 0;
};

// What a mixer begins with beside its tables: nothing (size 0), or what learned() gave.
struct Start {
  const uint32_t* data = nullptr;
  size_t size = 0;
};

template <Profile kProfile>
class PlannedMixer final : public Predictor {
  static constexpr Plan kPlan = plan_of(kProfile);
  static constexpr bool kNetwork = beside_network(kProfile);
  static constexpr int kContexts = kPlan.contexts;
  // Voices, and the network's two and a constant, in whole vectors.
  static constexpr int kVoices = kPlan.voices();
  static constexpr int kUnit = kNetwork ? 16 : 8;
  static constexpr int kWidth = (kVoices + (kNetwork ? 3 : 0) + kUnit - 1) / kUnit * kUnit;
  // Beside a network the distances from 1/2 add nothing (measured), and are left out.
  static constexpr int kInputs = kNetwork ? kWidth : 2 * kWidth;
  static_assert(kInputs % 16 == 0, "whole vectors");

 public:
  // Throws std::invalid_argument, also for a start of another plan.
  explicit PlannedMixer(const std::vector<uint32_t>& ends, Start start_from = {}, bool avx2 = use_avx2())
      : t_(tables()),
        avx2_(avx2),
        size_(checked_size(ends)),
        buffer_(size_ + 1),
        histories_(fit(uint64_t{size_} * kContexts / 2, 10, kPlan.log2_slots)),
        maps_(kContexts * 2 * 256),
        order0_(256),
        order1_(65536),
        match_maps_(kPlan.matches * 128),
        mixer_(set_sizes().data(), first_weights().data(), 256),
        refine_bits_{fit(uint64_t{size_} * 4, 8, 16), fit(uint64_t{size_} * 4, 8, kPlan.log2_refine)},
        refine_{ProbabilityMap(t_, size_t{1} << refine_bits_[0], kMapLimit),
                ProbabilityMap(t_, size_t{1} << refine_bits_[1], kMapLimit)},
        follow1_(256),
        follow2_(65536) {
    for (int m = 0; m < kPlan.matches; ++m) matches_.emplace_back(fit(size_, 8, 22), kPlan.lengths[m]);
    for (int i = 0; i < kWidth; ++i) {
      at_[i] = &silent_;
      limits_[i] = i < kContexts ? kHistoryLimit : kDirectLimit;
    }
    order0_.fill({1u << 31});
    order1_.fill({1u << 31});
    // A context never seen (history 0) says nothing, for ever.
    for (size_t i = 0; i < maps_.size(); ++i) maps_[i] = {i % 256 == 0 ? kFrozenHalf : t_.prior[i % 256] << 10};
    for (size_t i = 0; i < match_maps_.size(); ++i) {
      const uint32_t bucket = static_cast<uint32_t>(i / 4 % 32);
      match_maps_[i] = {((1u << 22) - (1u << 21) / (bucket + 2)) << 10};
    }
    if (start_from.size != 0) begin_from(start_from);
    uint32_t start = 0;
    for (uint32_t end : ends) {
      extents_.push_back({start, start, end});
      lanes_.emplace_back();
      start = end;
    }
  }

  const uint8_t* buffer() const override { return buffer_.data(); }

  // What this mixer has learned that other content can start from: the mixer's weights, then the
  // adaptive probabilities of the histories, the matches and order 0 and, without a network, order 1.
  std::vector<uint32_t> learned() const override {
    std::vector<uint32_t> out(kLearned);
    mixer_.learned(out.data());
    uint32_t* to = out.data() + MixerType::kLearned;
    for (const auto* part : {&maps_, &match_maps_, &order0_, &order1_}) {
      if (kNetwork && part == &order1_) break;
      for (size_t i = 0; i < part->size(); ++i) *to++ = part->data()[i].value;
    }
    return out;
  }

  void begin_byte(uint32_t lane, bool inside) override {
    number_ = lane;
    lane_ = &lanes_[lane];
    extent_ = &extents_[lane];
    lane_->inside = inside;
    c0_ = node_ = 1;
    bit_ = 0;
    ready_ = false;
    part_ = 0;
    begin_contexts();
    for (int i = 0; i < kContexts; ++i)
      if (kNetwork || plan_[i] != Ctx::expected) make_context(i);
    if (!kNetwork) {
      // The matches' memory loads last: it has been on its way while the rest was made.
      advance_matches();
      for (int i = 0; i < kContexts; ++i)
        if (plan_[i] == Ctx::expected) make_context(i);
    }
    for (int m = 0; m < kPlan.matches; ++m) {
      const MatchState& match = lane_->match[m];
      const int misses = ones(match.misses) < 3 ? ones(match.misses) : 3;
      const int bucket = static_cast<int>(length_bucket(match.length));
      expected_[m] = match.expected;
      match_cell_[m] = (m * 32 + bucket) * 4 + misses;
      match_select_[m] = bucket / 4 * 4 + misses;
    }
    loss_ = lane_->losses.select();
  }

  uint32_t predict_end(const NetworkInput& net) override {
    c0_ = 0;  // no byte has this partial value
    find_slots(kEndPart, 0);
    return predict(net);
  }
  void update_end(int bit) override {
    learn(bit);
    c0_ = 1;
    ready_ = false;
  }

  uint32_t predict_bit(const NetworkInput& net) override {
    if (!ready_) {
      if (bit_ < 4) find_slots(0, 0);
      else find_slots(c0_ >> (bit_ - 3), c0_ >> (bit_ - 4) & 1);
    }
    return predict(net);
  }
  void update_bit(int bit) override {
    learn(bit);
    shift(bit);
  }
  void skip_bit(int bit) override { shift(bit); }

  void token_done(uint32_t lane, uint32_t token) override {
    Lane& l = lanes_[lane];
    l.token1 = l.token;
    l.token = token + 1;
    l.token_bytes = 0;
  }

  // Numbers in what learned() returns, and how many of them are the mixer's.
  static constexpr size_t learned_size() { return kLearned; }
  static constexpr size_t learned_weights() { return MixerType::kLearned; }

 private:
  // Counts at which adaptive probabilities stop to slow down.
  static constexpr uint32_t kHistoryLimit = 255, kDirectLimit = 1022, kMapLimit = 255;
  static constexpr uint32_t kFrozenHalf = 1u << 31 | 1023;
  static constexpr uint32_t kFlip = ~1023u;  // turns a probability of a one into that of a zero
  static constexpr uint32_t kEndPart = 256;

  static constexpr size_t kMaps = kContexts * 2 * 256, kMatchMaps = kPlan.matches * 128;
  static constexpr size_t kLearned =
      1 + kInputs + kPlan.sets + kMaps + kMatchMaps + 256 + (kNetwork ? 0 : 65536);

  void begin_from(const Start& start) {
    if (start.size != kLearned) throw std::invalid_argument("what the mixer starts from is of another plan");
    mixer_.start(start.data);
    const uint32_t* from = start.data + MixerType::kLearned;
    for (auto* part : {&maps_, &match_maps_, &order0_, &order1_}) {
      if (kNetwork && part == &order1_) break;
      for (size_t i = 0; i < part->size(); ++i) (*part)[i].value = *from++;
    }
    // A context never seen says nothing, whatever a start says.
    for (size_t i = 0; i < maps_.size(); i += 256) maps_[i].value = kFrozenHalf;
  }

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

  static std::vector<int> set_sizes() {
    std::vector<int> sizes;
    for (int s = 0; s < kPlan.sets; ++s) sizes.push_back(kSelectSize[static_cast<int>(kPlan.set[s])]);
    return sizes;
  }
  // With a network, its two inputs have 0.45 each; without, each history 0.3 and each match 0.25.
  static std::vector<int32_t> first_weights() {
    std::vector<int32_t> w(kInputs, 0);
    for (size_t i = 0; i < 2; ++i)
      if (kNetwork) w[kVoices + i] = 29491;
    for (size_t i = 0; i < kContexts + kPlan.matches; ++i)
      if (!kNetwork) w[i] = i < kContexts ? 19660 : 16384;
    return w;
  }

  // The byte `distance` before the next one, 0 before the lane's start.
  uint32_t back(uint32_t distance) const {
    return distance > 0 && distance <= extent_->limit - extent_->start ? buffer_[extent_->limit - distance] : 0;
  }

  void begin_contexts() {
    const Lane& l = *lane_;
    index_ = extent_->limit - extent_->start;
    column_ = index_ - l.line_start;
    above_ = l.line_start - l.above_start > column_ ? back(l.line_start - l.above_start) : 0;
    record_ = uint64_t{l.strides.stride} << 32 | back(l.strides.stride) << 8;
    binary_ = l.control > kBinary;
    plan_ = binary_ ? kPlan.binary : kPlan.text;
  }

  // The hash of a context, whose histories start loading.
  void make_context(int i) {
    const Lane& l = *lane_;
    const uint64_t c8 = l.c8;
    const uint32_t c1 = c8 & 255;
    const uint32_t stride = l.strides.stride;
    const uint32_t first = l.word ? 0 : c1;  // between words: the byte before instead
    const Ctx context = plan_[i];
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
      case Ctx::above: v = above_ << 16 | c1 << 8 | (column_ < 255 ? column_ : 255); break;
      case Ctx::record1: v = record_ | c1; break;
      case Ctx::record2: v = record_ | (stride ? back(2 * stride) : 0); break;
      case Ctx::record_column: v = uint64_t{stride} << 32 | (stride ? index_ % stride : 0) << 8 | back(stride); break;
      case Ctx::indirect1: v = c1 << 16 | follow1_[c1]; break;
      case Ctx::indirect2: v = (c8 & 0xffff) << 16 | follow2_[c8 & 0xffff]; break;
      case Ctx::expected: {
        const MatchState& m = l.match[0].expected >= 0 ? l.match[0] : l.match[kPlan.matches - 1];
        if (m.expected >= 0) v = (static_cast<uint32_t>(m.expected) + 1) << 8 | length_bucket(m.length);
        v = v << 8 | c1;
        break;
      }
      case Ctx::classes: v = l.classes; break;
      case Ctx::token_pair: v = (uint64_t{l.token} << 32 | l.token1) * 7 + l.token_bytes; break;
    }
    hashes_[i] = hash64(v + (static_cast<uint64_t>(context) * 2 + 2 + l.inside) * 0x9DDFEA08EB382D69u);
    load_line(i, 0);
  }

  // Starts loading the histories of the next half byte: part is 0 for the
  // first half, kEndPart for `end`, and the first three bits (with a leading
  // one) for the second half, whose fourth bit only moves the check.
  void load_lines(uint32_t part) {
    for (int i = 0; i < kContexts; ++i) load_line(i, part);
    part_ = part;
  }
  void load_line(int i, uint32_t part) {
    uint32_t h = (hashes_[i] + part * 0x9E3779B1u) * 0x85EBCA6Bu;
    h ^= h >> 15;
    checks_[i] = static_cast<uint8_t>(h & 255);
    lines_[i] = histories_.line(h);
    __builtin_prefetch(lines_[i]);
  }

  void find_slots(uint32_t part, uint32_t fourth) {
    if (part_ != part) load_lines(part);
    seen_ = 0;
    for (int i = 0; i < kContexts; ++i) {
      slots_[i] = HistoryTable::find(lines_[i], static_cast<uint8_t>(checks_[i] + fourth));
      if (i < kPlan.orders && slots_[i][1] != 0) ++seen_;
    }
    ready_ = true;
  }

  int select(Select s, int match) const {
    const int c0 = static_cast<int>(c0_), c1 = static_cast<int>(lane_->c8 & 255);
    switch (s) {
      case Select::match: return (binary_ * 64 + match) * 8 + seen_;
      case Select::partial: return (kNetwork ? lane_->inside : binary_) * 256 + c0;
      case Select::order1: return binary_ * 256 + c1;
      case Select::classes: return static_cast<int>(lane_->classes & 255) * 8 + bit_;
      case Select::loss: return loss_;
      case Select::one: break;
    }
    return 0;
  }

  uint32_t predict(const NetworkInput& net) {
    const uint32_t c0 = c0_;

    // Match models: how often a match like this one was right, for the bit it expects.
    int match = 0;
    for (int m = 0; m < kPlan.matches; ++m) {
      const int e = expected_[m];
      const int i = kContexts + m;
      if (c0 != 0 && e >= 0 && static_cast<uint32_t>(e + 256) >> (8 - bit_) == c0) {
        const int expected_bit = e >> (7 - bit_) & 1;
        flip_[i] = expected_bit ? 0 : kFlip;
        at_[i] = &match_maps_[static_cast<size_t>(match_cell_[m])].value;
        if (match == 0) match = match_select_[m] * 2 + expected_bit;
      } else {
        flip_[i] = 0;
        at_[i] = &silent_;
      }
    }

    // All that is needed later starts loading now.
    int selected[kPlan.sets];
    for (int s = 0; s < kPlan.sets; ++s) selected[s] = select(kPlan.set[s], match);
    mixer_.select(selected, static_cast<int>(c0));
    const uint64_t c8 = lane_->c8;
    refine_at_[0] = hash64((c8 & 0xff) << 8 | c0) >> (32 - refine_bits_[0]);
    if (kPlan.refinements > 1) refine_at_[1] = hash64((c8 & 0xffffff) << 8 | c0) >> (32 - refine_bits_[1]);
    for (int r = 0; r < kPlan.refinements; ++r) refine_[r].prefetch(refine_at_[r]);

    // Bit histories, and orders 0 and 1 without.
    Adaptive* maps = maps_.data() + (binary_ ? kContexts * 256 : 0);
    const uint32_t node = node_;
    for (int i = 0; i < kContexts; ++i) {
      at_[i] = &maps[i * 256 + slots_[i][node]].value;
    }
    at_[kVoices - 2] = &order0_[c0].value;
    at_[kVoices - 1] = &order1_[(c8 & 255) << 8 | c0].value;
    (avx2_ ? inputs_avx2<kWidth> : inputs_scalar<kWidth>)(t_, at_, flip_, values_, x_);
    if (kNetwork) {
      net_ = net.p_bias;
      x_[kVoices] = network_input(net.p);
      x_[kVoices + 1] = network_input(net.p_bias);
      x_[kVoices + 2] = 256;
    }

    const int32_t logit = mixer_.predict(avx2_, x_);
    const uint32_t p = squash24(t_, logit);
    const uint32_t q1 = refine_[0].refine(refine_at_[0], logit);
    const uint32_t q2 = kPlan.refinements > 1 ? refine_[1].refine(refine_at_[1], logit) : q1;
    const uint32_t r = (2 * p + q1 + q2 + 2) >> 2;
    out_ = r < 16 ? 16 : r > (1u << 24) - 16 ? (1u << 24) - 16 : r;
    return out_;
  }

  int16_t network_input(uint32_t p) const {
    const int32_t v = stretch24(t_, p) >> 4;
    return static_cast<int16_t>(v > kNetworkLimit ? kNetworkLimit : v < -kNetworkLimit ? -kNetworkLimit : v);
  }

  void learn(int bit) {
    if (kNetwork) lane_->losses.add(cost(t_, net_, bit), cost(t_, out_, bit));
    mixer_.update(avx2_, t_, x_, bit);
    for (int r = 0; r < kPlan.refinements; ++r) refine_[r].update(t_, bit);
    (avx2_ ? learn_avx2<kWidth> : learn_scalar<kWidth>)(t_, values_, limits_, bit);
    for (int i = 0; i < kVoices; ++i) *at_[i] = values_[i] ^ flip_[i];
    // Bytes may alias anything: what the loop needs is held in locals.
    const uint32_t node = node_;
    const uint8_t* next = t_.next[static_cast<size_t>(bit)].data();
    uint8_t* slots[kContexts];
    for (int i = 0; i < kContexts; ++i) slots[i] = slots_[i] + node;
    for (int i = 0; i < kContexts; ++i) *slots[i] = next[*slots[i]];
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
    for (int m = 0; m < kPlan.matches; ++m) {
      const MatchModel& model = matches_[static_cast<size_t>(m)];
      match_hash_[m] = l.newest(model.min_length());
      model.prefetch(match_hash_[m]);
    }
    // Lanes see each other's bytes as they are written; a lone lane's matches can wait for memory.
    if (kNetwork) advance_matches();
  }

  // Follows the matches over the newest byte; at most once for each.
  void advance_matches() {
    if (extent_->limit == extent_->start) return;
    for (int m = 0; m < kPlan.matches; ++m) {
      matches_[static_cast<size_t>(m)].advance(lane_->match[m], buffer_.data(), extents_, number_, match_hash_[m]);
    }
  }

  const Tables& t_;
  const bool avx2_;
  const uint32_t size_;
  alignas(32) uint32_t values_[kWidth];  // of the voices, for the bit being coded
  alignas(32) uint32_t limits_[kWidth];
  alignas(32) int16_t x_[2 * kWidth] = {};  // inputs: logits, then distances from 1/2
  Buffer<uint8_t> buffer_;
  std::vector<Extent> extents_;
  std::vector<Lane> lanes_;
  HistoryTable histories_;
  Buffer<Adaptive> maps_;  // [binary][context][history]
  Buffer<Adaptive> order0_, order1_;
  std::vector<MatchModel> matches_;
  Buffer<Adaptive> match_maps_;  // [model][length bucket][misses]
  using MixerType = Mixer<kPlan.sets, kInputs, kPlan.final_shift, kPlan.last_shift>;
  MixerType mixer_;
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
  const Ctx* plan_ = nullptr;
  uint32_t index_ = 0, column_ = 0, above_ = 0;
  uint64_t record_ = 0;
  uint32_t hashes_[kContexts] = {}, match_hash_[kMaxMatches] = {};
  uint8_t checks_[kContexts] = {};
  uint8_t* lines_[kContexts] = {};
  uint8_t* slots_[kContexts] = {};
  uint32_t* at_[kWidth];         // where the voices come from
  uint32_t flip_[kWidth] = {};   // the bits in which they are complemented
  uint32_t silent_ = kFrozenHalf;  // a voice that says nothing; learning leaves it as it is
  int expected_[kMaxMatches] = {}, match_cell_[kMaxMatches] = {}, match_select_[kMaxMatches] = {};
  size_t refine_at_[2] = {};
  uint32_t net_ = 0, out_ = 0;
};

// Calls f with the mixer of a profile, whose type it then knows.
template <typename F>
auto with_mixer(Profile profile, const std::vector<uint32_t>& ends, Start start, bool avx2, F&& f) {
  switch (profile) {
    case Profile::fast: return f(std::make_unique<PlannedMixer<Profile::fast>>(ends, start, avx2));
    case Profile::normal: return f(std::make_unique<PlannedMixer<Profile::normal>>(ends, start, avx2));
    case Profile::strong: return f(std::make_unique<PlannedMixer<Profile::strong>>(ends, start, avx2));
    case Profile::network: return f(std::make_unique<PlannedMixer<Profile::network>>(ends, start, avx2));
    case Profile::network2: break;
  }
  return f(std::make_unique<PlannedMixer<Profile::network2>>(ends, start, avx2));
}

// A mixer of any profile. ends: where each lane's part of the buffer ends, not falling; the last one
// is the size of the buffer. Throws std::invalid_argument.
inline std::unique_ptr<Predictor> make_mixer(Profile profile, const std::vector<uint32_t>& ends, Start start = {},
                                             bool avx2 = use_avx2()) {
  return with_mixer(profile, ends, start, avx2,
                    [](auto mixer) -> std::unique_ptr<Predictor> { return mixer; });
}

// Codes bytes by a profile without a network: those of `data`, or, where that is null, unknown
// ones into `out`. bits(known, p) codes a bit, whose value is `known` where data
// is given, with probability p of a one, and returns it; report(i) is called
// before byte i. Returns what was learned, if that is asked for.
template <typename Bits, typename Report>
std::vector<uint32_t> code_bytes(Profile profile, Start start, const uint8_t* data, uint8_t* out, uint32_t size,
                                 Bits& bits, Report&& report, bool learn = false) {
  return with_mixer(profile, {size}, start, use_avx2(), [&](auto mixer) {
    for (uint32_t i = 0; i < size; ++i) {
      report(i);
      mixer->begin_byte(0, false);
      for (int k = 7; k >= 0; --k) {
        const int known = data == nullptr ? 0 : data[i] >> k & 1;
        mixer->update_bit(bits(known, mixer->predict_bit({})));
      }
    }
    if (out != nullptr) std::memcpy(out, mixer->buffer(), size);
    return learn ? mixer->learned() : std::vector<uint32_t>{};
  });
}

}  // namespace lmc::mixer
