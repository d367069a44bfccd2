// From logits to the masses of token ranges, and the online bias on top.
//
// Both are defined in ARITHMETIC.md ("The distribution over tokens", "The
// online bias"); the scalar loops here are the definition in C++, the AVX2
// loops must give the same integers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lmc {

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

// A correction of each token's logit, learned while coding (Adagrad on the
// code length; Duchi et al. 2011). Shared by all lanes.
class Bias {
 public:
  static constexpr int kUnitBits = 22;  // values are in 2^-22 bit

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
