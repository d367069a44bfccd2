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
#include "photo.hpp"
#include "photo_planes.hpp"
#include "quantiles.hpp"
#include "rangecoder.hpp"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,bmi,bmi2,prefer-vector-width=512")
namespace lmc::photo {
namespace {

constexpr int kRows = 8;

template <int kNow>
inline void dots_of(const uint8_t* a, int inputs, const int8_t* w, int32_t* out) {
  __m512i sum[kNow];
  for (int r = 0; r < kNow; ++r) sum[r] = _mm512_setzero_si512();
  for (int k = 0; k < inputs; k += 4) {
    const __m512i tile = _mm512_loadu_si512(w + k * kUnit);
    for (int r = 0; r < kNow; ++r) {
      int32_t four;
      std::memcpy(&four, a + r * inputs + k, 4);
      sum[r] = _mm512_dpbusd_epi32(sum[r], _mm512_set1_epi32(four), tile);
    }
  }
  for (int r = 0; r < kNow; ++r) _mm512_storeu_si512(out + r * kUnit, sum[r]);
}
void dots(const uint8_t* a, int inputs, int rows, const int8_t* w, int32_t* out) {
  if (rows > 2) return dots_of<kRows>(a, inputs, w, out);  // the rows behind the last are there, and nobody reads their sums
  for (int r = 0; r < rows; ++r) dots_of<1>(a + r * inputs, inputs, w, out + r * kUnit);
}

#define LMC_PHOTO_ROUNDED  // instead of the plain loop in photo_layers.hpp
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

// kLanes numbers of 64 bits, of which products take the low half.
constexpr int kLanes = 8;
using Wide = __m512i;
inline Wide all(int64_t v) { return _mm512_set1_epi64(v); }
inline Wide load(const int32_t* p) { return _mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline void store(int32_t* p, Wide x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi64_epi32(x)); }
inline Wide add(Wide x, Wide y) { return _mm512_add_epi64(x, y); }
inline Wide sub(Wide x, Wide y) { return _mm512_sub_epi64(x, y); }
inline Wide times(Wide x, Wide y) { return _mm512_mul_epi32(x, y); }
inline Wide most(Wide x, Wide y) { return _mm512_max_epi64(x, y); }
inline Wide least(Wide x, Wide y) { return _mm512_min_epi64(x, y); }
template <int k>
inline Wide lower(Wide x) {
  return _mm512_srai_epi64(x, k);
}
inline Wide raise(Wide x, Wide by) { return _mm512_sllv_epi64(x, by); }
// The quotient by a division of doubles, corrected to be exact.
inline Wide reciprocal(Wide d) {
  const Wide q = _mm512_cvttpd_epi64(_mm512_div_pd(_mm512_set1_pd(35184372088832.0), _mm512_cvtepi64_pd(d)));
  const __mmask8 above = _mm512_cmpgt_epi64_mask(_mm512_mul_epi32(q, d), all(int64_t{1} << 45));
  return _mm512_mask_sub_epi64(q, above, q, all(1));
}

#include "photo_variant.hpp"

}  // namespace

const Variant& variant_avx512vnni() {
  static const Variant table{"avx512vnni", encode, decode, record};
  return table;
}

}  // namespace lmc::photo
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
