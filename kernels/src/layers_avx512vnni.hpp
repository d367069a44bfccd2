// Products of rows and tiles of weights, for layers_run.hpp: AVX-512 with the VNNI dot products.
//
// Included by the variants of the models in a namespace of their own: no #pragma once.

constexpr int kRows = 8;

template <int kNow>
inline void dots_of(const uint8_t* a, int inputs, const int8_t* w, int32_t* out) {
  __m512i sum[kNow];
  for (int r = 0; r < kNow; ++r) sum[r] = _mm512_setzero_si512();
  for (int k = 0; k < inputs; k += 4) {
    const __m512i tile = _mm512_loadu_si512(w + k * layers::kUnit);
    for (int r = 0; r < kNow; ++r) {
      int32_t four;
      std::memcpy(&four, a + r * inputs + k, 4);
      sum[r] = _mm512_dpbusd_epi32(sum[r], _mm512_set1_epi32(four), tile);
    }
  }
  for (int r = 0; r < kNow; ++r) _mm512_storeu_si512(out + r * layers::kUnit, sum[r]);
}
void dots(const uint8_t* a, int inputs, int rows, const int8_t* w, int32_t* out) {
  if (rows > 2) return dots_of<kRows>(a, inputs, w, out);  // the rows behind the last are there, and nobody reads their sums
  for (int r = 0; r < rows; ++r) dots_of<1>(a + r * inputs, inputs, w, out + r * layers::kUnit);
}

#define LMC_LAYERS_ROUNDED  // instead of the plain loop in layers_run.hpp
// The products of the even and of the odd places take 64 bits each.
inline void rounded(const int32_t* sums, const int32_t* bias, const int32_t* factor, int shift, int32_t* y) {
  const __m512i x = _mm512_add_epi32(_mm512_loadu_si512(sums), _mm512_loadu_si512(bias));
  const __m512i f = _mm512_loadu_si512(factor);
  const __m512i half = _mm512_set1_epi64(int64_t{1} << (shift - 1));
  const __m128i by = _mm_cvtsi32_si128(shift);
  const __m512i even = _mm512_sra_epi64(_mm512_add_epi64(_mm512_mul_epi32(x, f), half), by);
  const __m512i odd = _mm512_sra_epi64(
      _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(f, 32)), half), by);
  _mm512_storeu_si512(y, _mm512_mask_mov_epi32(even, 0xaaaa, _mm512_slli_epi64(odd, 32)));
}
