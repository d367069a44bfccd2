// The AVX-512 variant with the VNNI dot products.
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
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,bmi,bmi2")
namespace lmc::sound {
namespace {

void add_products(int64_t* m, int n, int width, const int32_t* u, int samples) {
  alignas(64) int64_t wide[kBlock * (kTaps + 8)];  // a product takes the low halves
  for (int k = 0; k < samples * width; k += 8)
    _mm512_store_si512(wide + k, _mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(u + k))));
  for (int i = 0; i <= n; ++i) {
    __m512i own[kBlock];
    for (int s = 0; s < samples; ++s) own[s] = _mm512_set1_epi64(wide[s * width + i]);
    for (int j = 0; j <= i; j += 8) {
      int64_t* const to = m + i * width + j;
      __m512i sum = _mm512_loadu_si512(to);
      for (int s = 0; s < samples; ++s)
        sum = _mm512_add_epi64(sum, _mm512_mul_epi32(own[s], _mm512_load_si512(wide + s * width + j)));
      _mm512_storeu_si512(to, sum);
    }
  }
}

uint32_t dot16(const int16_t* x, const int16_t* w, int n) {
  __m512i sum = _mm512_setzero_si512();
  int i = 0;
  for (; i + 32 <= n; i += 32) sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_loadu_si512(x + i), _mm512_loadu_si512(w + i)));
  if (i < n)
    sum = _mm512_add_epi32(sum, _mm512_zextsi256_si512(_mm256_madd_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i)),
                                                                         _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + i)))));
  return static_cast<uint32_t>(_mm512_reduce_add_epi32(sum));
}

void train16(int32_t* w, int16_t* high, const int16_t* x, int32_t step, int n) {
  const __m512i steps = _mm512_set1_epi32(step), top = _mm512_set1_epi32(1 << 30), bottom = _mm512_set1_epi32(-(1 << 30));
  for (int i = 0; i < n; i += 16) {
    const __m512i v = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i)));
    const __m512i moved = _mm512_add_epi32(_mm512_loadu_si512(w + i), _mm512_srai_epi32(_mm512_mullo_epi32(v, steps), 12));
    const __m512i kept = _mm512_max_epi32(_mm512_min_epi32(moved, top), bottom);
    _mm512_storeu_si512(w + i, kept);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + i), _mm512_cvtepi32_epi16(_mm512_srai_epi32(kept, 16)));
  }
}

#include "layers_avx512vnni.hpp"
#include "sound_variant.hpp"

}  // namespace

const Variant& variant_avx512vnni() {
  static const Variant table{"avx512vnni", encode, decode, record};
  return table;
}

}  // namespace lmc::sound
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
