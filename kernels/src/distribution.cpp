#include "distribution.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "dispatch.hpp"

#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace lmc {
namespace {

inline int32_t biased(int32_t logit, int32_t bias) {
  return logit + (bias >> kBiasShift);
}

uint32_t square_root(uint64_t x) {
  uint64_t root = 0;
  for (uint64_t bit = uint64_t{1} << 31; bit != 0; bit >>= 1) {
    if ((root | bit) * (root | bit) <= x) root |= bit;
  }
  return static_cast<uint32_t>(root);
}

#if defined(__x86_64__)
#define LMC_AVX2 __attribute__((target("avx2")))

LMC_AVX2 inline __m256i biased_avx2(const int32_t* logit, const int32_t* bias) {
  __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(logit));
  if (bias != nullptr) {
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bias));
    x = _mm256_add_epi32(x, _mm256_srai_epi32(b, kBiasShift));
  }
  return x;
}

LMC_AVX2 int32_t maximum_avx2(const int32_t* logits, const int32_t* bias, uint32_t n) {
  __m256i best = _mm256_set1_epi32(INT32_MIN);
  for (uint32_t v = 0; v < n; v += 8) {
    best = _mm256_max_epi32(best, biased_avx2(logits + v, bias == nullptr ? nullptr : bias + v));
  }
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), best);
  return *std::max_element(lanes, lanes + 8);
}

LMC_AVX2 void weights_avx2(const int32_t* logits, const int32_t* bias, uint32_t n, int32_t best,
                           uint32_t* weights, uint64_t* prefix) {
  const __m256i top = _mm256_set1_epi32(best);
  const __m256i limit = _mm256_set1_epi32(kDistanceLimit << 16);
  const __m256i low16 = _mm256_set1_epi32(0xffff);
  const __m256i a = _mm256_set1_epi32(kA), b = _mm256_set1_epi32(kB);
  const __m256i one = _mm256_set1_epi32(static_cast<int>(kOne));
  uint64_t sum = prefix[0];
  for (uint32_t v = 0; v < n; v += 16) {
    __m256i pair = _mm256_setzero_si256();
    for (uint32_t half = v; half < v + 16; half += 8) {
      __m256i distance = _mm256_sub_epi32(
          top, biased_avx2(logits + half, bias == nullptr ? nullptr : bias + half));
      distance = _mm256_min_epi32(distance, limit);
      const __m256i f = _mm256_and_si256(distance, low16);
      const __m256i slope = _mm256_sub_epi32(a, _mm256_srli_epi32(_mm256_mullo_epi32(b, f), 16));
      const __m256i drop = _mm256_srli_epi32(_mm256_mullo_epi32(slope, f), 4);
      const __m256i w = _mm256_srlv_epi32(_mm256_sub_epi32(one, drop),
                                          _mm256_srli_epi32(distance, 16));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(weights + half), w);
      pair = _mm256_add_epi32(pair, w);
    }
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(pair), _mm256_extracti128_si256(pair, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    prefix[v / 16] = sum;
    sum += static_cast<uint32_t>(_mm_cvtsi128_si32(four));
  }
  prefix[n / 16] = sum;
}

// Lowers values by rate * p; appends to `strong` the tokens with p24 >= 2^16.
LMC_AVX2 void lower_avx2(const uint32_t* weights, uint64_t reciprocal, const uint32_t* rates,
                         int32_t* values, uint32_t low, uint32_t high,
                         std::vector<uint32_t>& strong) {
  const __m256i r = _mm256_set1_epi64x(static_cast<long long>(reciprocal));
  const __m256i threshold = _mm256_set1_epi32((1 << 16) - 1);
  const __m256i floor = _mm256_set1_epi32(-Bias::kLimit);
  for (uint32_t v = low; v < high; v += 8) {
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + v));
    const __m256i rate = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rates + v));
    const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(w, r), 32);
    const __m256i odd = _mm256_srli_epi64(_mm256_mul_epu32(_mm256_srli_epi64(w, 32), r), 32);
    const __m256i even_step = _mm256_srli_epi64(_mm256_mul_epu32(even, rate), 15);
    const __m256i odd_step =
        _mm256_srli_epi64(_mm256_mul_epu32(odd, _mm256_srli_epi64(rate, 32)), 15);
    const __m256i step = _mm256_or_si256(even_step, _mm256_slli_epi64(odd_step, 32));
    __m256i* value = reinterpret_cast<__m256i*>(values + v);
    _mm256_storeu_si256(
        value, _mm256_max_epi32(_mm256_sub_epi32(_mm256_loadu_si256(value), step), floor));
    const __m256i p = _mm256_or_si256(even, _mm256_slli_epi64(odd, 32));
    int found = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(p, threshold)));
    for (; found != 0; found &= found - 1) {
      strong.push_back(v + static_cast<uint32_t>(__builtin_ctz(static_cast<unsigned>(found))));
    }
  }
}

#define LMC_AVX512 __attribute__((target("avx512f,avx512bw,prefer-vector-width=512")))

LMC_AVX512 inline __m512i biased_avx512(const int32_t* logit, const int32_t* bias) {
  const __m512i x = _mm512_loadu_si512(logit);
  if (bias == nullptr) return x;
  return _mm512_add_epi32(x, _mm512_srai_epi32(_mm512_loadu_si512(bias), kBiasShift));
}

LMC_AVX512 int32_t maximum_avx512(const int32_t* logits, const int32_t* bias, uint32_t n) {
  __m512i best[2] = {_mm512_set1_epi32(INT32_MIN), _mm512_set1_epi32(INT32_MIN)};
  for (uint32_t v = 0; v < n; v += 32) {
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t at = v + 16 * i;
      best[i] = _mm512_max_epi32(best[i], biased_avx512(logits + at, bias == nullptr ? nullptr : bias + at));
    }
  }
  return _mm512_reduce_max_epi32(_mm512_max_epi32(best[0], best[1]));
}

// n is a multiple of 64: the sums of four blocks are made together.
LMC_AVX512 void weights_avx512(const int32_t* logits, const int32_t* bias, uint32_t n, int32_t best,
                               uint32_t* weights, uint64_t* prefix) {
  const __m512i top = _mm512_set1_epi32(best);
  const __m512i limit = _mm512_set1_epi32(kDistanceLimit << 16);
  const __m512i low16 = _mm512_set1_epi32(0xffff);
  const __m512i a = _mm512_set1_epi32(kA), b = _mm512_set1_epi32(kB);
  const __m512i one = _mm512_set1_epi32(static_cast<int>(kOne));
  uint64_t sum = prefix[0];
  for (uint32_t v = 0; v < n; v += 64) {
    __m512i w[4];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t at = v + 16 * i;
      __m512i distance = _mm512_sub_epi32(top, biased_avx512(logits + at, bias == nullptr ? nullptr : bias + at));
      distance = _mm512_min_epi32(distance, limit);
      const __m512i f = _mm512_and_si512(distance, low16);
      const __m512i slope = _mm512_sub_epi32(a, _mm512_mulhi_epu16(b, f));  // f and b have 16 bits
      const __m512i drop = _mm512_srli_epi32(_mm512_mullo_epi32(slope, f), 4);
      w[i] = _mm512_srlv_epi32(_mm512_sub_epi32(one, drop), _mm512_srli_epi32(distance, 16));
      _mm512_storeu_si512(weights + at, w[i]);
    }
    const __m512i x = _mm512_add_epi32(_mm512_unpacklo_epi32(w[0], w[1]), _mm512_unpackhi_epi32(w[0], w[1]));
    const __m512i y = _mm512_add_epi32(_mm512_unpacklo_epi32(w[2], w[3]), _mm512_unpackhi_epi32(w[2], w[3]));
    const __m512i z = _mm512_add_epi32(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(z), _mm512_extracti64x4_epi64(z, 1));
    alignas(16) uint32_t sums[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(sums),
                    _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
    for (uint32_t i = 0; i < 4; ++i) {
      prefix[v / 16 + i] = sum;
      sum += sums[i];
    }
  }
  prefix[n / 16] = sum;
}

LMC_AVX512 void lower_avx512(const uint32_t* weights, uint64_t reciprocal, const uint32_t* rates, int32_t* values,
                             uint32_t low, uint32_t high, std::vector<uint32_t>& strong) {
  constexpr __mmask16 kOdd = 0xAAAA;
  const __m512i r = _mm512_set1_epi64(static_cast<long long>(reciprocal));
  const __m512i threshold = _mm512_set1_epi32((1 << 16) - 1);
  const __m512i floor = _mm512_set1_epi32(-Bias::kLimit);
  for (uint32_t v = low; v < high; v += 16) {
    const __m512i w = _mm512_loadu_si512(weights + v);
    const __m512i rate = _mm512_loadu_si512(rates + v);
    const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(w, r), 32);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(w, 32), r);  // in the upper halves
    const __m512i even_step = _mm512_srli_epi64(_mm512_mul_epu32(even, rate), 15);
    const __m512i odd_step =
        _mm512_slli_epi64(_mm512_mul_epu32(_mm512_srli_epi64(odd, 32), _mm512_srli_epi64(rate, 32)), 17);
    const __m512i step = _mm512_mask_blend_epi32(kOdd, even_step, odd_step);
    const __m512i value = _mm512_sub_epi32(_mm512_loadu_si512(values + v), step);
    _mm512_storeu_si512(values + v, _mm512_max_epi32(value, floor));
    unsigned found = _mm512_cmpgt_epi32_mask(_mm512_mask_blend_epi32(kOdd, even, odd), threshold);
    for (; found != 0; found &= found - 1) strong.push_back(v + static_cast<uint32_t>(__builtin_ctz(found)));
  }
}
#endif

}  // namespace

void Distribution::resize(uint32_t vocabulary) {
  vocabulary_ = vocabulary;
  const uint32_t blocks = (vocabulary + kBlock - 1) / kBlock;
  weights_.assign(size_t{blocks} * kBlock, 0);
  prefix_.assign(size_t{blocks} + 1, 0);
}

void Distribution::assign(const int32_t* logits, const int32_t* bias) {
  const uint32_t n = vocabulary_;
  const uint32_t whole = use_avx512() ? n / 64 * 64 : n / kBlock * kBlock;  // the part for vectors
  int32_t best = INT32_MIN;
  uint32_t start = 0;
  prefix_[0] = 0;
#if defined(__x86_64__)
  if (use_avx2()) {
    best = (use_avx512() ? maximum_avx512 : maximum_avx2)(logits, bias, whole);
    start = whole;
  }
#endif
  for (uint32_t v = start; v < n; ++v) {
    best = std::max(best, biased(logits[v], bias == nullptr ? 0 : bias[v]));
  }
#if defined(__x86_64__)
  if (use_avx2()) {
    (use_avx512() ? weights_avx512 : weights_avx2)(logits, bias, whole, best, weights_.data(), prefix_.data());
  }
#endif
  uint64_t sum = prefix_[start / kBlock];
  for (uint32_t v = start; v < n; ++v) {
    if (v % kBlock == 0) prefix_[v / kBlock] = sum;
    const int32_t distance =
        best - biased(logits[v], bias == nullptr ? 0 : bias[v]);
    weights_[v] = token_weight(static_cast<uint32_t>(std::min(distance, kDistanceLimit << 16)));
    sum += weights_[v];
  }
  prefix_.back() = sum;
}

Bias::Bias(uint32_t vocabulary)
    : values_(vocabulary, 0), squares_(vocabulary, 0), rates_(vocabulary, kFirstRate) {}

void Bias::learn(const Distribution& seen, uint32_t token, uint32_t low, uint32_t high) {
  // total >= 2^28 - 1, so the reciprocal and p24 fit in 32 and 25 bits.
  const uint64_t reciprocal = (uint64_t{1} << 56) / seen.total();
  const uint32_t* weights = seen.weights();
  static thread_local std::vector<uint32_t> strong;
  strong.clear();
  uint32_t v = low;
#if defined(__x86_64__)
  if (use_avx2()) {
    const uint32_t width = use_avx512() ? 16 : 8;
    v = low + (high - low) / width * width;
    (use_avx512() ? lower_avx512 : lower_avx2)(weights, reciprocal, rates_.data(), values_.data(), low, v, strong);
  }
#endif
  for (; v < high; ++v) {
    const uint64_t p24 = (weights[v] * reciprocal) >> 32;
    const int32_t step = static_cast<int32_t>((p24 * rates_[v]) >> 15);
    values_[v] = std::max(values_[v] - step, -kLimit);
    if (p24 >= 1 << 16) strong.push_back(v);
  }
  if (token >= low && token < high) {
    const int32_t step = static_cast<int32_t>(rates_[token] << 9);  // p = 1 - 0
    values_[token] = std::min(values_[token] + step, kLimit);
  }
  // Gradients under 2^-8 would add nothing at this precision.
  for (const uint32_t u : strong) {
    if (u != token) learn_square(u, static_cast<uint32_t>((weights[u] * reciprocal) >> 32));
  }
  if (token >= low && token < high) {
    const uint32_t p24 = static_cast<uint32_t>((weights[token] * reciprocal) >> 32);
    learn_square(token, p24 >> 24 ? 0 : (1u << 24) - p24);
  }
}

void Bias::learn_square(uint32_t token, uint32_t p24) {
  const uint64_t square = (uint64_t{p24} * p24) >> 32;
  squares_[token] = static_cast<uint32_t>(
      std::min<uint64_t>(squares_[token] + square, UINT32_MAX));
  const uint32_t root = square_root(uint64_t{squares_[token]} << 16);
  rates_[token] = static_cast<uint32_t>((kRate << 16) / (kEpsilon + root));
}

}  // namespace lmc
