// Online logistic mixing: several sets of weight vectors, one vector of each
// set chosen by context, each giving its own logit; a small final mixer joins
// them. Every vector learns from its own error.
//
// Method: M. Mahoney, "Adaptive weighing of context models for lossless data
// compression", 2005 (gated logistic mixing), in integers.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

#include "mixer_counters.hpp"
#include "mixer_simd.hpp"

namespace lmc::mixer {

class Mixer {
 public:
  static constexpr int kMaxSets = 8;
  static constexpr uint16_t kInherited = 5;     // most of the count that a first use takes over
  static constexpr int32_t kNegligible = 256;   // errors below 2^-8 teach nothing

  // inputs: a multiple of 16; sizes: the number of vectors of each set;
  // first: the first value of every vector (inputs numbers, units of 2^-16).
  Mixer(int inputs, const std::vector<int>& sizes, const std::vector<int32_t>& first, int final_size)
      : x(static_cast<size_t>(inputs) + 16),
        inputs_(inputs),
        sets_(static_cast<int>(sizes.size())),
        avx2_(use_avx2()),
        weights_(total(sizes) * static_cast<size_t>(inputs)),
        counts_(total(sizes)),
        final_weights_(static_cast<size_t>(final_size) * kMaxSets) {
    size_t base = 0;
    for (int s = 0; s < sets_; ++s) {
      base_[s] = base;
      base += static_cast<size_t>(sizes[static_cast<size_t>(s)]);
    }
    for (size_t v = 0; v < base; ++v)
      for (int i = 0; i < inputs; ++i)
        weights_[v * static_cast<size_t>(inputs) + static_cast<size_t>(i)] = first[static_cast<size_t>(i)];
    for (size_t i = 0; i < final_weights_.size(); ++i)
      final_weights_[i] = static_cast<int>(i % kMaxSets) < sets_ ? 65536 / sets_ : 0;
  }

  // Chooses a vector of each set, and of the final mixer, for the next bit.
  void select(const int* selected, int final_context) {
    final_ = &final_weights_[static_cast<size_t>(final_context) * kMaxSets];
    for (int s = 0; s < sets_; ++s) {
      chosen_[s] = base_[s] + static_cast<size_t>(selected[s]);
      const int32_t* w = weights_.data() + chosen_[s] * static_cast<size_t>(inputs_);
      for (int i = 0; i < inputs_; i += 16) __builtin_prefetch(w + i);
    }
    // A vector that is used for the first time starts as the last set's vector.
    const size_t common = chosen_[sets_ - 1];
    for (int s = 0; s < sets_ - 1; ++s) {
      uint16_t& count = counts_[chosen_[s]];
      if (count != 0 || counts_[common] == 0) continue;
      std::memcpy(weights_.data() + chosen_[s] * static_cast<size_t>(inputs_),
                  weights_.data() + common * static_cast<size_t>(inputs_), static_cast<size_t>(inputs_) * 4);
      count = counts_[common] < kInherited ? counts_[common] : kInherited;
    }
  }

  // The logit of the inputs x, units of 2^-12.
  int32_t predict() {
    switch (sets_) {
      case 2: return predict_sets<2>();
      case 4: return predict_sets<4>();
      case 5: return predict_sets<5>();
      default: return predict_sets<6>();
    }
  }
  void update(const Tables& t, int bit) {
    switch (sets_) {
      case 2: return update_sets<2>(t, bit);
      case 4: return update_sets<4>(t, bit);
      case 5: return update_sets<5>(t, bit);
      default: return update_sets<6>(t, bit);
    }
  }

  ZeroedArray<int16_t> x;  // inputs, units of 2^-8

 private:
  template <int S>
  int32_t predict_sets() {
    const int32_t* final = final_;
    int32_t* w[S];
    int32_t logits[S];
    for (int s = 0; s < S; ++s) w[s] = weights_.data() + chosen_[s] * static_cast<size_t>(inputs_);
    (avx2_ ? dots_avx2<S> : dots_scalar<S>)(w, x.data(), inputs_, logits);
    int64_t sum = 0;
    for (int s = 0; s < S; ++s) {
      logit_[s] = clamp_logit(logits[s]);
      sum += int64_t{final[s]} * logit_[s];
    }
    out_ = clamp_logit(static_cast<int32_t>(sum >> 16));
    return out_;
  }

  template <int S>
  void update_sets(const Tables& t, int bit) {
    const int32_t target = bit ? 65535 : 0;
    const int32_t error = target - static_cast<int32_t>(squash24(t, out_) >> 8);
    int32_t* final = final_;
    int32_t* w[S];
    int32_t gains[S];
    int32_t any = 0;
    for (int s = 0; s < S; ++s) {
      const int32_t logit = logit_[s];
      // (logit / 2^12) (error / 2^16) 2^16 / 2^9: learning rate 1/512
      final[s] += static_cast<int32_t>((int64_t{logit} * error + (1 << 20)) >> 21);
      uint16_t& n = counts_[chosen_[s]];
      int32_t miss = target - static_cast<int32_t>(squash24(t, logit) >> 8);
      if (miss < kNegligible && miss > -kNegligible) miss = 0;
      gains[s] = (miss * t.rate[n]) >> 10;
      any |= miss;
      n = static_cast<uint16_t>(n + (n < 1023));
      w[s] = weights_.data() + chosen_[s] * static_cast<size_t>(inputs_);
    }
    if (any) (avx2_ ? trains_avx2<S> : trains_scalar<S>)(w, x.data(), inputs_, gains);
  }

  static size_t total(const std::vector<int>& sizes) {
    size_t sum = 0;
    for (int v : sizes) sum += static_cast<size_t>(v);
    return sum;
  }

  int inputs_, sets_;
  bool avx2_;
  ZeroedArray<int32_t> weights_;
  std::vector<uint16_t> counts_;
  std::vector<int32_t> final_weights_;
  size_t base_[kMaxSets] = {};
  size_t chosen_[kMaxSets] = {};
  int32_t* final_ = nullptr;
  int32_t logit_[kMaxSets] = {};
  int32_t out_ = 0;
};

}  // namespace lmc::mixer
