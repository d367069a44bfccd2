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

// S sets over N inputs (a multiple of 16). The shifts slow the final mixer, the last set and the others.
template <int S, int N, int kFinalShift, int kLastShift, int kShift = 10>
class Mixer {
 public:
  static constexpr uint16_t kInherited = 5;    // most of the count that a first use takes over
  static constexpr int32_t kNegligible = 256;  // errors below 2^-8 teach nothing

  // sizes: the number of vectors of each set; first: N values that every
  // vector starts with, units of 2^-16; finals: vectors of the final mixer.
  Mixer(const int* sizes, const int32_t* first, int finals)
      : weights_(total(sizes) * N), counts_(total(sizes)), final_weights_(static_cast<size_t>(finals) * S, 65536 / S) {
    size_t base = 0;
    for (int s = 0; s < S; ++s) {
      base_[s] = base;
      base += static_cast<size_t>(sizes[s]);
    }
    for (size_t v = 0; v < base; ++v) std::memcpy(weights_.data() + v * N, first, N * sizeof(int32_t));
  }

  // Start from what was learned before (Start in mixer.hpp): count, N weights, S finals.
  void start(const uint32_t* from) {
    const uint16_t count = static_cast<uint16_t>(from[0] < 1023 ? from[0] : 1023);
    const auto bounded = [](uint32_t v) {
      const int32_t w = static_cast<int32_t>(v);
      return w > kWeightLimit ? kWeightLimit : w < -kWeightLimit ? -kWeightLimit : w;
    };
    int32_t first[N];
    for (int i = 0; i < N; ++i) first[i] = bounded(from[1 + i]);
    for (size_t v = 0; v < counts_.size(); ++v) std::memcpy(weights_.data() + v * N, first, sizeof first);
    for (size_t v = base_[S - 1]; v < counts_.size(); ++v) counts_[v] = count;
    for (size_t i = 0; i < final_weights_.size(); ++i) final_weights_[i] = bounded(from[1 + N + i % S]);
  }
  // What was learned, for start(): the mean of the last set's vectors, and of the final mixer's, each by its use.
  void learned(uint32_t* to) const {
    int64_t uses = 0, sums[N] = {}, finals[S] = {};
    for (size_t v = base_[S - 1]; v < counts_.size(); ++v) {
      uses += counts_[v];
      for (int i = 0; i < N; ++i) sums[i] += int64_t{counts_[v]} * weights_.data()[v * N + static_cast<size_t>(i)];
    }
    const int64_t vectors = static_cast<int64_t>(final_weights_.size()) / S;
    for (size_t i = 0; i < final_weights_.size(); ++i) finals[i % S] += final_weights_[i];
    const int64_t most = uses < 1 ? 1 : uses;
    to[0] = static_cast<uint32_t>(uses < 1023 ? uses : 1023);
    for (int i = 0; i < N; ++i) to[1 + i] = static_cast<uint32_t>(uses ? sums[i] / most : weights_.data()[i]);
    for (int s = 0; s < S; ++s) to[1 + N + s] = static_cast<uint32_t>(finals[s] / vectors);
  }
  static constexpr size_t kLearned = 1 + N + S;

  // Chooses a vector of each set, and of the final mixer, for the next bit.
  void select(const int* selected, int final_context) {
    final_ = &final_weights_[static_cast<size_t>(final_context) * S];
    for (int s = 0; s < S; ++s) {
      chosen_[s] = base_[s] + static_cast<size_t>(selected[s]);
      w_[s] = weights_.data() + chosen_[s] * N;
      for (int i = 0; i < N; i += 16) __builtin_prefetch(w_[s] + i);
    }
    // A vector that is used for the first time starts as the last set's vector.
    const uint16_t common = counts_[chosen_[S - 1]];
    if (common == 0) return;
    for (int s = 0; s < S - 1; ++s) {
      uint16_t& count = counts_[chosen_[s]];
      if (count != 0) continue;
      std::memcpy(w_[s], w_[S - 1], N * sizeof(int32_t));
      count = common < kInherited ? common : kInherited;
    }
  }

  // The logit of the inputs x, units of 2^-12.
  int32_t predict(bool avx2, const int16_t* x) {
    int32_t logits[S];
    (avx2 ? dots_avx2<S, N> : dots_scalar<S, N>)(w_, x, logits);
    const int32_t* final = final_;
    int64_t sum = 0;
    for (int s = 0; s < S; ++s) {
      logit_[s] = clamp_logit(logits[s]);
      sum += int64_t{final[s]} * logit_[s];
    }
    out_ = clamp_logit(static_cast<int32_t>(sum >> 16));
    return out_;
  }

  void update(bool avx2, const Tables& t, const int16_t* x, int bit) {
    const int32_t target = bit ? 65535 : 0;
    const int32_t error = target - static_cast<int32_t>(squash24(t, out_) >> 8);
    int32_t* final = final_;
    int32_t gains[S];
    for (int s = 0; s < S; ++s) {
      const int32_t logit = logit_[s];
      // (logit / 2^12) (error / 2^16) 2^16 times the learning rate, 2^(12 - shift)
      const int32_t moved = final[s] + static_cast<int32_t>((int64_t{logit} * error + (1 << (kFinalShift - 1))) >> kFinalShift);
      final[s] = moved > kWeightLimit ? kWeightLimit : moved < -kWeightLimit ? -kWeightLimit : moved;
      uint16_t& n = counts_[chosen_[s]];
      int32_t miss = target - static_cast<int32_t>(squash24(t, logit) >> 8);
      if (miss < kNegligible && miss > -kNegligible) miss = 0;
      gains[s] = (miss * t.rate[n]) >> (s == S - 1 ? kLastShift : kShift);
      n = static_cast<uint16_t>(n + (n < 1023));
    }
    (avx2 ? trains_avx2<S, N> : trains_scalar<S, N>)(w_, x, gains);
  }

 private:
  static size_t total(const int* sizes) {
    size_t sum = 0;
    for (int s = 0; s < S; ++s) sum += static_cast<size_t>(sizes[s]);
    return sum;
  }

  Buffer<int32_t> weights_;
  std::vector<uint16_t> counts_;
  std::vector<int32_t> final_weights_;
  size_t base_[S] = {};
  size_t chosen_[S] = {};
  int32_t* w_[S] = {};
  int32_t* final_ = nullptr;
  int32_t logit_[S] = {};
  int32_t out_ = 0;
};

}  // namespace lmc::mixer
