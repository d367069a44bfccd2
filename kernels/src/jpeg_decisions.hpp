// How a decision about a coefficient gets its probability: adaptive probabilities of many contexts,
// mixed, and corrected by two maps.
//
// A voice keeps its probabilities in lines of 16, one line for each of its contexts, found by a hash
// and shared by whatever else falls there. All decisions of one symbol (a value, a number) have their
// nodes in it, so a symbol costs a voice one line of the cache.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "mixer_contexts.hpp"
#include "mixer_counters.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"

namespace lmc::jpeg {

class Decisions {
 public:
  static constexpr int kVoices = 32, kSets = 4;
  static constexpr int kSizes[kSets] = {7424, 2048, 2576, 80};  // vectors of each set
  static constexpr int kRefined = 54912;                        // contexts of the second map

  // 2^log2_lines lines, 1 to 31.
  Decisions(int log2_lines, bool avx2)
      : t_(mixer::tables()),
        avx2_(avx2),
        shift_(32 - log2_lines),
        lines_(kNodes << log2_lines),
        mixer_(kSizes, first().data(), kSizes[kSets - 1]),
        refine_{mixer::ProbabilityMap(t_, static_cast<size_t>(kSizes[0]), 255),
                mixer::ProbabilityMap(t_, kRefined, 255)} {
    lines_.fill({1u << 31});
    for (uint32_t& limit : limits_) limit = kLimit;
  }

  // Bytes that all this takes at most.
  static constexpr uint64_t bytes(int log2_lines) { return (uint64_t{12} << 20) + (uint64_t{64} << log2_lines); }

  // A voice's context of the next symbol, and the sign that it expects (-1, 0: none, 1).
  void set(int voice, uint64_t context, int sign) {
    hash_[voice] = mixer::hash64(context);
    sign_[voice] = sign;
    find(voice, hash_[voice]);
  }

  // Goes to other lines, where the first ones have no nodes for a decision.
  void move(uint32_t part) {
    for (int i = 0; i < kVoices; ++i) {
      uint32_t h = (hash_[i] + part * 0x9E3779B1u) * 0x85EBCA6Bu;
      h ^= h >> 15;
      find(i, h * 0x9E3779B1u);
    }
  }

  // The sign is known: voices that expected the other one turn to the line beside theirs.
  void turn(int sign) {
    for (int i = 0; i < kVoices; ++i) {
      if (sign_[i] * sign >= 0) continue;
      hash_[i] ^= uint32_t{1} << shift_;
      find(i, hash_[i]);
    }
  }

  // Codes a decision. selected: vectors of the sets, of which the first is the first map's context, too,
  // and the last the final mixer's; refined: the second map's context; is_sign: a voice's probability is
  // that of its sign not being the one that it expects.
  template <typename Bits>
  int code(Bits& bits, int known, int node, const int* selected, int refined, bool is_sign = false) {
    const uint32_t* from[kVoices];
    uint32_t flip[kVoices];
    for (int i = 0; i < kVoices; ++i) {
      from[i] = &at_[i][node].value;
      flip[i] = is_sign && sign_[i] < 0 ? kFlip : 0;
    }
    const size_t refined_at[2] = {static_cast<size_t>(selected[0]), static_cast<size_t>(refined)};
    for (int r = 0; r < 2; ++r) refine_[r].prefetch(refined_at[r]);
    mixer_.select(selected, selected[kSets - 1]);
    (avx2_ ? mixer::inputs_avx2<kVoices> : mixer::inputs_scalar<kVoices>)(t_, from, flip, values_, x_);
    const int32_t logit = mixer_.predict(avx2_, x_);
    const uint32_t p = mixer::squash24(t_, logit);
    const uint32_t a = refine_[0].refine(refined_at[0], logit), b = refine_[1].refine(refined_at[1], logit);
    const uint32_t r = (2 * p + a + b + 2) >> 2;
    const int bit = bits(known, r < 16 ? 16 : r > (1u << 24) - 16 ? (1u << 24) - 16 : r);
    mixer_.update(avx2_, t_, x_, bit);
    for (int i = 0; i < 2; ++i) refine_[i].update(t_, bit);
    (avx2_ ? mixer::learn_avx2<kVoices> : mixer::learn_scalar<kVoices>)(t_, values_, limits_, bit);
    for (int i = 0; i < kVoices; ++i) at_[i][node].value = values_[i] ^ flip[i];
    return bit;
  }

 private:
  static constexpr size_t kNodes = 16;  // of a line
  static constexpr uint32_t kLimit = 127, kFlip = ~1023u;

  // A voice's line starts loading.
  void find(int voice, uint32_t hash) {
    at_[voice] = &lines_[(hash >> shift_) * kNodes];
    __builtin_prefetch(at_[voice]);
  }
  static std::vector<int32_t> first() { return std::vector<int32_t>(kVoices, 12000); }

  const mixer::Tables& t_;
  const bool avx2_;
  const int shift_;
  Buffer<mixer::Adaptive> lines_;
  mixer::Mixer<kSets, kVoices, 22, 11, 11> mixer_;
  mixer::ProbabilityMap refine_[2];
  alignas(32) uint32_t values_[kVoices];
  alignas(32) uint32_t limits_[kVoices];
  alignas(32) int16_t x_[2 * kVoices] = {};  // logits, and distances from 1/2 that are not mixed
  uint32_t hash_[kVoices] = {};
  int sign_[kVoices] = {};
  mixer::Adaptive* at_[kVoices] = {};
};

}  // namespace lmc::jpeg
