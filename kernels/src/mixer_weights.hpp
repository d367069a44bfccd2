// Online logistic mixing: several sets of weight vectors, one vector of each
// set chosen by context, each giving its own logit; a small final mixer joins
// them. Every vector learns from its own error.
//
// Method: M. Mahoney, "Adaptive weighing of context models for lossless data
// compression", 2005 (gated logistic mixing), in integers.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "mixer_counters.hpp"

namespace lmc::mixer {

constexpr int32_t kWeightLimit = (8 << 16) - 1;  // weights: units of 2^-16

// dot: sum over pairs of (w[2k] x[2k] + w[2k+1] x[2k+1]) >> 8, weights cut to
// units of 2^-12, so the sum is a logit in units of 2^-12.
inline int32_t dot_scalar(const int32_t* w, const int16_t* x, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; i += 2) sum += ((w[i] >> 4) * x[i] + (w[i + 1] >> 4) * x[i + 1]) >> 8;
  return sum;
}

// train: w += (x g + 2^13) >> 14, clamped.
inline void train_scalar(int32_t* w, const int16_t* x, int n, int32_t g) {
  for (int i = 0; i < n; ++i) {
    int32_t v = w[i] + ((x[i] * g + (1 << 13)) >> 14);
    if (v > kWeightLimit) v = kWeightLimit;
    if (v < -kWeightLimit) v = -kWeightLimit;
    w[i] = v;
  }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) inline int32_t dot_avx2(const int32_t* w, const int16_t* x, int n) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < n; i += 16) {
    const __m256i a = _mm256_srai_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(w + i)), 4);
    const __m256i b = _mm256_srai_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(w + i + 8)), 4);
    const __m256i w16 = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(x + i));
    sum = _mm256_add_epi32(sum, _mm256_srai_epi32(_mm256_madd_epi16(w16, v), 8));
  }
  const __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  const __m128i s2 = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s2, _mm_shuffle_epi32(s2, 0xb1)));
}

__attribute__((target("avx2"))) inline void train_avx2(int32_t* w, const int16_t* x, int n, int32_t g) {
  const __m256i gain = _mm256_set1_epi32(g), half = _mm256_set1_epi32(1 << 13);
  const __m256i top = _mm256_set1_epi32(kWeightLimit), bottom = _mm256_set1_epi32(-kWeightLimit);
  for (int i = 0; i < n; i += 8) {
    const __m256i v = _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(x + i)));
    const __m256i step = _mm256_srai_epi32(_mm256_add_epi32(_mm256_mullo_epi32(v, gain), half), 14);
    __m256i* at = reinterpret_cast<__m256i*>(w + i);
    const __m256i sum = _mm256_add_epi32(_mm256_load_si256(at), step);
    _mm256_store_si256(at, _mm256_max_epi32(_mm256_min_epi32(sum, top), bottom));
  }
}
#endif

// LMC_KERNELS=scalar forces the plain loops.
inline bool use_avx2() {
#if defined(__x86_64__)
  const char* forced = std::getenv("LMC_KERNELS");
  return __builtin_cpu_supports("avx2") && (!forced || std::strcmp(forced, "scalar") != 0);
#else
  return false;
#endif
}

class Mixer {
 public:
  static constexpr int kMaxSets = 8;

  // inputs: a multiple of 16; sizes: the number of vectors of each set;
  // first: the first value of every vector (inputs numbers, units of 2^-16).
  Mixer(int inputs, const std::vector<int>& sizes, const std::vector<int32_t>& first, int final_size)
      : x(static_cast<size_t>(inputs)),
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

  // selected: one vector index of each set; final_context: of the final mixer.
  // Returns the logit, units of 2^-12.
  int32_t predict(const Tables& t, const int* selected, int final_context) {
    final_ = &final_weights_[static_cast<size_t>(final_context) * kMaxSets];
    int64_t sum = 0;
    for (int s = 0; s < sets_; ++s) {
      chosen_[s] = base_[s] + static_cast<size_t>(selected[s]);
      const int32_t* w = &weights_[chosen_[s] * static_cast<size_t>(inputs_)];
      int32_t logit;
#if defined(__x86_64__)
      if (avx2_) logit = dot_avx2(w, x.data(), inputs_);
      else
#endif
        logit = dot_scalar(w, x.data(), inputs_);
      if (logit > kLogitLimit) logit = kLogitLimit;
      if (logit < -kLogitLimit) logit = -kLogitLimit;
      logit_[s] = logit;
      p_[s] = static_cast<int32_t>(squash24(t, logit) >> 8);
      sum += int64_t{final_[s]} * logit;
    }
    int64_t out = sum >> 16;
    if (out > kLogitLimit) out = kLogitLimit;
    if (out < -kLogitLimit) out = -kLogitLimit;
    out_ = squash24(t, static_cast<int32_t>(out)) >> 8;
    return static_cast<int32_t>(out);
  }

  void prefetch(int set, int vector) const {
    const char* at = reinterpret_cast<const char*>(weights_.data() + (base_[set] + static_cast<size_t>(vector)) * static_cast<size_t>(inputs_));
    for (size_t i = 0; i < static_cast<size_t>(inputs_) * 4; i += 64) __builtin_prefetch(at + i);
  }

  void update(const Tables& t, int bit) {
    const int32_t target = bit ? 65535 : 0;
    const int32_t final_error = target - static_cast<int32_t>(out_);
    for (int s = 0; s < sets_; ++s) {
      // (logit / 2^12) (error / 2^16) 2^16 / 2^8: learning rate 1/256
      final_[s] += static_cast<int32_t>((int64_t{logit_[s]} * final_error + (1 << 20)) >> 21);
      uint16_t& n = counts_[chosen_[s]];
      const int32_t g = ((target - p_[s]) * t.rate[n]) >> 10;
      if (n < 1023) ++n;
      int32_t* w = &weights_[chosen_[s] * static_cast<size_t>(inputs_)];
#if defined(__x86_64__)
      if (avx2_) train_avx2(w, x.data(), inputs_, g);
      else
#endif
        train_scalar(w, x.data(), inputs_, g);
    }
  }

  ZeroedArray<int16_t> x;  // inputs, units of 2^-8

 private:
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
  int32_t p_[kMaxSets] = {};
  uint32_t out_ = 0;
};

}  // namespace lmc::mixer
