// Online logistic mixing: several sets of weight vectors, one vector of each
// set chosen by context, each giving its own logit; a small final mixer joins
// them. Every vector learns from its own error.
//
// Method: M. Mahoney, "Adaptive weighing of context models for lossless data
// compression", 2005 (gated logistic mixing), in integers.
#pragma once
#include <cstdint>
#include <vector>

#include "mixer_counters.hpp"
#include "mixer_simd.hpp"

namespace lmc::mixer {

#ifndef SKIP
#define SKIP 1
#endif
class Mixer {
 public:
  static constexpr int kMaxSets = 8;

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
  }
  // The logit of the inputs x, units of 2^-12.
  int32_t predict() { return sets_ == 2 ? predict_sets<2>() : predict_sets<4>(); }
  void update(const Tables& t, int bit) { sets_ == 2 ? update_sets<2>(t, bit) : update_sets<4>(t, bit); }

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
      if (miss < SKIP && miss > -SKIP) miss = 0;
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
