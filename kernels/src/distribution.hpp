// From logits to the masses of token ranges, and the online bias on top.
//
// Both are defined in ARITHMETIC.md ("The distribution over tokens", "The
// online bias"); the scalar loops here are the definition in C++, the AVX2
// loops must give the same integers.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lmc {

// What the integers of this file mean to a GPU, too (kernels/cuda/views.cuh).
constexpr int kDistanceLimit = 60;       // bits below the maximum after which a weight is 0 anyway
// 2^-f for f in [0, 1) as 1 - f * (a - b * f): exact at both ends and within
// 0.35 % between them, which costs less than 10^-5 bit a token.
constexpr uint32_t kB = 11245;           // 0.17158 * 2^16
constexpr uint32_t kA = 32768 + kB;      // 0.5 + b
constexpr uint32_t kOne = (1u << 28) - 1;
constexpr int kBiasShift = 22 - 16;      // from the bias's unit to that of logits

// distance: max - logit >= 0 in 2^-16 bit.
inline uint32_t token_weight(uint32_t distance) {
  const uint32_t f = distance & 0xffff;
  const uint32_t slope = kA - ((kB * f) >> 16);
  const uint32_t whole = distance >> 16;
  return whole > 31 ? 0 : (kOne - ((slope * f) >> 4)) >> whole;
}

// Unnormalised probabilities of all tokens: weight(v) = 2^28 * 2^(logit_v - max),
// and sums over blocks of 16, so that the mass of any range costs a few adds.
class Distribution {
 public:
  static constexpr int kUnitBits = 16;   // logits are in 2^-16 bit here
  static constexpr int kWeightBits = 28; // weights are below 2^28, so 16 of them fit in 32 bits
  static constexpr uint32_t kBlock = 16;

  explicit Distribution(uint32_t vocabulary = 0) { resize(vocabulary); }
  void resize(uint32_t vocabulary);

  // logits: vocabulary values in units of 2^-16 bit, |logit| < 2^30.
  // bias: nullptr, or vocabulary values in units of 2^-Bias::kUnitBits bit.
  void assign(const int32_t* logits, const int32_t* bias);

  uint64_t total() const { return prefix_.back(); }
  // Sum of the weights of tokens low <= v < high.
  uint64_t mass(uint32_t low, uint32_t high) const { return below(high) - below(low); }
  const uint32_t* weights() const { return weights_.data(); }

 private:
  uint64_t below(uint32_t token) const {
    const uint32_t block = token / kBlock;
    uint64_t sum = prefix_[block];
    for (uint32_t v = block * kBlock; v < token; ++v) sum += weights_[v];
    return sum;
  }

  uint32_t vocabulary_ = 0;
  std::vector<uint32_t> weights_;  // padded with zeros to whole blocks
  std::vector<uint64_t> prefix_;   // mass of the blocks before each block
};

// The masses of a Distribution whose block sums are there already: weights are made when they are asked for.
class Sketch {
 public:
  // prefix: as a Distribution's, blocks + 1 of them. bias: may be null. best: the largest biased logit.
  Sketch(uint32_t vocabulary, const int32_t* logits, const int32_t* bias, int32_t best, const uint64_t* prefix)
      : blocks_((vocabulary + Distribution::kBlock - 1) / Distribution::kBlock), logits_(logits), bias_(bias), best_(best), prefix_(prefix) {}

  uint64_t total() const { return prefix_[blocks_]; }
  uint64_t mass(uint32_t low, uint32_t high) const { return below(high) - below(low); }

 private:
  uint64_t below(uint32_t token) const {
    const uint32_t block = token / Distribution::kBlock;
    uint64_t sum = prefix_[block];
    for (uint32_t v = block * Distribution::kBlock; v < token; ++v) {
      const int32_t distance = best_ - (logits_[v] + (bias_ ? bias_[v] >> kBiasShift : 0));
      sum += token_weight(static_cast<uint32_t>(std::min(distance, kDistanceLimit << 16)));
    }
    return sum;
  }

  uint32_t blocks_;
  const int32_t *logits_, *bias_;
  int32_t best_;
  const uint64_t* prefix_;
};

// A correction of each token's logit, learned while coding (Adagrad on the
// code length; Duchi et al. 2011). Shared by all lanes.
class Bias {
 public:
  static constexpr int kUnitBits = 22;  // values are in 2^-22 bit
  // Adagrad: rate = 0.4 / (0.3 + sqrt(sum of squares)) nat, in 2^-13 bit.
  static constexpr uint64_t kRate = 4727;      // 0.4 / ln 2 * 2^13
  static constexpr uint32_t kEpsilon = 19661;  // 0.3 * 2^16
  static constexpr uint32_t kFirstRate = static_cast<uint32_t>((kRate << 16) / kEpsilon);
  static constexpr int32_t kLimit = 1 << 29;   // |value| <= 128 bit, far beyond use: nothing can overflow

  explicit Bias(uint32_t vocabulary);
  uint32_t size() const { return static_cast<uint32_t>(values_.size()); }
  const int32_t* values() const { return values_.data(); }

  // What one coded token teaches the tokens low <= v < high: each value falls
  // by rate(v) * p(v), the coded token's rises by rate * (1 - p). `seen` is the
  // biased distribution it was coded with. Disjoint ranges may run in parallel;
  // within one range the calls must follow the order of coding.
  void learn(const Distribution& seen, uint32_t token, uint32_t low, uint32_t high);

 private:
  void learn_square(uint32_t token, uint32_t p24);

  std::vector<int32_t> values_;
  std::vector<uint32_t> squares_;  // sum of squared gradients, 2^-16
  std::vector<uint32_t> rates_;    // learning rate, 2^-13 bit
};

}  // namespace lmc
