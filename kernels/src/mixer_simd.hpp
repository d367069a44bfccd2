// The four loops that the mixer spends its time in, each as plain C++ (the
// definition) and for AVX2. Both give the same integers.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "mixer_tables.hpp"

namespace lmc::mixer {

constexpr int32_t kWeightLimit = (8 << 16) - 1;  // weights: units of 2^-16

// What N adaptive probabilities say: values[i] = *at[i] ^ flip[i], and two inputs of each: x[i], its
// logit, and x[N + i], its distance from 1/2 in units of 2^-10. N is a multiple of 8.
template <int N>
void inputs_scalar(const Tables& t, const uint32_t* const* at, const uint32_t* flip, uint32_t* values, int16_t* x) {
  for (int i = 0; i < N; ++i) {
    values[i] = *at[i] ^ flip[i];
    const int32_t p = static_cast<int32_t>(values[i] >> 20);
    x[i] = t.stretch[static_cast<size_t>(p)];
    x[N + i] = static_cast<int16_t>((p - 2048) >> 2);
  }
}

// One observed bit for each of N adaptive probabilities (see Adaptive).
template <int N>
void learn_scalar(const Tables& t, uint32_t* values, const uint32_t* limits, int bit) {
  const uint32_t mask = bit ? (1u << 22) - 1 : 0;
  for (int i = 0; i < N; ++i) {
    const uint32_t count = values[i] & 1023;
    uint32_t q = values[i] >> 10 ^ mask;
    q -= (q >> 7) * t.reciprocal[count] >> 9;
    values[i] = (q ^ mask) << 10 | (count + (count < limits[i]));
  }
}

// The logit of each of S weight vectors, units of 2^-12: the sum over pairs of
// (w[2k] x[2k] + w[2k+1] x[2k+1]) >> 8, the weights cut to units of 2^-12.
// N is a multiple of 16; x and the vectors are aligned to 32 bytes.
template <int S, int N>
void dots_scalar(const int32_t* const* w, const int16_t* x, int32_t* logits) {
  for (int s = 0; s < S; ++s) {
    int32_t sum = 0;
    for (int i = 0; i < N; i += 2) sum += ((w[s][i] >> 4) * x[i] + (w[s][i + 1] >> 4) * x[i + 1]) >> 8;
    logits[s] = sum;
  }
}

// w += (x gain + 2^13) >> 14, within the limit, for each vector.
template <int S, int N>
void trains_scalar(int32_t* const* w, const int16_t* x, const int32_t* gains) {
  for (int s = 0; s < S; ++s) {
    for (int i = 0; i < N; ++i) {
      const int32_t v = w[s][i] + ((x[i] * gains[s] + (1 << 13)) >> 14);
      w[s][i] = v > kWeightLimit ? kWeightLimit : v < -kWeightLimit ? -kWeightLimit : v;
    }
  }
}

#if defined(__x86_64__)
#define LMC_AVX2 __attribute__((target("avx2"))) inline

// Vectors are put together in registers and stored whole: a load that spans several stores waits until
// they have left the processor's pipeline.
template <int N>
LMC_AVX2 void inputs_avx2(const Tables& t, const uint32_t* const* at, const uint32_t* flip, uint32_t* values, int16_t* x) {
  __m256i logit[N / 8 + 1], linear[N / 8 + 1];
  logit[N / 8] = linear[N / 8] = _mm256_setzero_si256();
  for (int i = 0; i < N; i += 8) {
    const uint32_t* const* from = at + i;
    const uint32_t* by = flip + i;
    const __m256i v = _mm256_setr_epi32(
        static_cast<int>(*from[0] ^ by[0]), static_cast<int>(*from[1] ^ by[1]), static_cast<int>(*from[2] ^ by[2]),
        static_cast<int>(*from[3] ^ by[3]), static_cast<int>(*from[4] ^ by[4]), static_cast<int>(*from[5] ^ by[5]),
        static_cast<int>(*from[6] ^ by[6]), static_cast<int>(*from[7] ^ by[7]));
    _mm256_store_si256(reinterpret_cast<__m256i*>(values + i), v);
    const __m256i p = _mm256_srli_epi32(v, 20);
    // The gather reads 32 bits at each 16-bit entry: the upper half goes.
    const __m256i wide = _mm256_i32gather_epi32(reinterpret_cast<const int*>(t.stretch.data()), p, 2);
    logit[i / 8] = _mm256_srai_epi32(_mm256_slli_epi32(wide, 16), 16);
    linear[i / 8] = _mm256_srai_epi32(_mm256_sub_epi32(p, _mm256_set1_epi32(2048)), 2);
  }
  for (int i = 0; i < 2 * N; i += 16) {  // the last logits and the first distances may share a vector
    const __m256i a = i < N ? logit[i / 8] : linear[(i - N) / 8];
    const __m256i b = i + 8 < N ? logit[i / 8 + 1] : linear[(i + 8 - N) / 8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(x + i), _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8));
  }
}

template <int N>
LMC_AVX2 void learn_avx2(const Tables& t, uint32_t* values, const uint32_t* limits, int bit) {
  const __m256i mask = _mm256_set1_epi32(bit ? (1 << 22) - 1 : 0);
  for (int i = 0; i < N; i += 8) {
    __m256i* at = reinterpret_cast<__m256i*>(values + i);
    const __m256i v = _mm256_load_si256(at);
    const __m256i most = _mm256_load_si256(reinterpret_cast<const __m256i*>(limits + i));
    const __m256i count = _mm256_and_si256(v, _mm256_set1_epi32(1023));
    const __m256i rate = _mm256_i32gather_epi32(reinterpret_cast<const int*>(t.reciprocal.data()), count, 4);
    __m256i q = _mm256_xor_si256(_mm256_srli_epi32(v, 10), mask);
    q = _mm256_sub_epi32(q, _mm256_srli_epi32(_mm256_mullo_epi32(_mm256_srli_epi32(q, 7), rate), 9));
    // A comparison that holds is -1.
    const __m256i next = _mm256_sub_epi32(count, _mm256_cmpgt_epi32(most, count));
    _mm256_store_si256(at, _mm256_or_si256(_mm256_slli_epi32(_mm256_xor_si256(q, mask), 10), next));
  }
}

template <int S, int N>
LMC_AVX2 void dots_avx2(const int32_t* const* w, const int16_t* x, int32_t* logits) {
  __m256i sum[S];
  for (int s = 0; s < S; ++s) sum[s] = _mm256_setzero_si256();
  for (int i = 0; i < N; i += 16) {
    // The pack below works within halves: x in the order that it leaves.
    const __m256i v = _mm256_permute4x64_epi64(_mm256_load_si256(reinterpret_cast<const __m256i*>(x + i)), 0xd8);
    for (int s = 0; s < S; ++s) {
      const __m256i* at = reinterpret_cast<const __m256i*>(w[s] + i);
      const __m256i a = _mm256_srai_epi32(_mm256_load_si256(at), 4);
      const __m256i b = _mm256_srai_epi32(_mm256_load_si256(at + 1), 4);
      sum[s] = _mm256_add_epi32(sum[s], _mm256_srai_epi32(_mm256_madd_epi16(_mm256_packs_epi32(a, b), v), 8));
    }
  }
  for (int s = 0; s < S; ++s) {
    const __m128i a = _mm_add_epi32(_mm256_castsi256_si128(sum[s]), _mm256_extracti128_si256(sum[s], 1));
    const __m128i b = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    logits[s] = _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
  }
}

template <int S, int N>
LMC_AVX2 void trains_avx2(int32_t* const* w, const int16_t* x, const int32_t* gains) {
  const __m256i half = _mm256_set1_epi32(1 << 13);
  const __m256i top = _mm256_set1_epi32(kWeightLimit), bottom = _mm256_set1_epi32(-kWeightLimit);
  for (int s = 0; s < S; ++s) {
    if (gains[s] == 0) continue;
    const __m256i gain = _mm256_set1_epi32(gains[s]);
    for (int i = 0; i < N; i += 8) {
      const __m256i v = _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(x + i)));
      const __m256i step = _mm256_srai_epi32(_mm256_add_epi32(_mm256_mullo_epi32(v, gain), half), 14);
      __m256i* at = reinterpret_cast<__m256i*>(w[s] + i);
      const __m256i sum = _mm256_add_epi32(_mm256_load_si256(at), step);
      _mm256_store_si256(at, _mm256_max_epi32(_mm256_min_epi32(sum, top), bottom));
    }
  }
}
#undef LMC_AVX2
#else
// Elsewhere only the plain loops exist (the compiler vectorises them).
template <int N>
void inputs_avx2(const Tables& t, const uint32_t* const* at, const uint32_t* flip, uint32_t* values, int16_t* x) {
  inputs_scalar<N>(t, at, flip, values, x);
}
template <int N>
void learn_avx2(const Tables& t, uint32_t* values, const uint32_t* limits, int bit) { learn_scalar<N>(t, values, limits, bit); }
template <int S, int N>
void dots_avx2(const int32_t* const* w, const int16_t* x, int32_t* logits) { dots_scalar<S, N>(w, x, logits); }
template <int S, int N>
void trains_avx2(int32_t* const* w, const int16_t* x, const int32_t* gains) { trains_scalar<S, N>(w, x, gains); }
#endif

}  // namespace lmc::mixer
