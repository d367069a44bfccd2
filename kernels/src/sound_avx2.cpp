// The AVX2 variant.
#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12's own avx512fintrin.h
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "dispatch.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"
#include "quantiles.hpp"
#include "rangecoder.hpp"
#include "sound.hpp"

#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2")
namespace lmc::sound {
namespace {

void add_products(int64_t* m, int n, int width, const int32_t* u, int samples) {
  alignas(32) int64_t wide[kBlock * (kTaps + 8)];  // a product takes the low halves
  for (int k = 0; k < samples * width; k += 4)
    _mm256_store_si256(reinterpret_cast<__m256i*>(wide + k),
                       _mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(u + k))));
  for (int i = 0; i <= n; ++i) {
    __m256i own[kBlock];
    for (int s = 0; s < samples; ++s) own[s] = _mm256_set1_epi64x(wide[s * width + i]);
    for (int j = 0; j <= i; j += 4) {
      __m256i* const to = reinterpret_cast<__m256i*>(m + i * width + j);
      __m256i sum = _mm256_loadu_si256(to);
      for (int s = 0; s < samples; ++s)
        sum = _mm256_add_epi64(sum, _mm256_mul_epi32(own[s], _mm256_load_si256(reinterpret_cast<const __m256i*>(wide + s * width + j))));
      _mm256_storeu_si256(to, sum);
    }
  }
}

uint32_t dot16(const int16_t* x, const int16_t* w, int n) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < n; i += 16)
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i)),
                                                  _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + i))));
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1))));
}

void train16(int32_t* w, int16_t* high, const int16_t* x, int32_t step, int n) {
  const __m256i steps = _mm256_set1_epi32(step), top = _mm256_set1_epi32(1 << 30), bottom = _mm256_set1_epi32(-(1 << 30));
  const auto eight = [&](int i) {
    const __m256i v = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i)));
    __m256i* const at = reinterpret_cast<__m256i*>(w + i);
    const __m256i moved = _mm256_add_epi32(_mm256_loadu_si256(at), _mm256_srai_epi32(_mm256_mullo_epi32(v, steps), 12));
    const __m256i kept = _mm256_max_epi32(_mm256_min_epi32(moved, top), bottom);
    _mm256_storeu_si256(at, kept);
    return _mm256_srai_epi32(kept, 16);
  };
  for (int i = 0; i < n; i += 16) {
    const __m256i both = _mm256_packs_epi32(eight(i), eight(i + 8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + i), _mm256_permute4x64_epi64(both, 0xd8));
  }
}

#include "layers_avx2.hpp"
#include "sound_variant.hpp"

}  // namespace

const Variant& variant_avx2() {
  static const Variant table{"avx2", encode, decode, record};
  return table;
}

}  // namespace lmc::sound
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
