// Numbers of 64 bits side by side, for squares.hpp, in AVX-512.
//
// Included by variants of photo_*.cpp and video_*.cpp in a namespace of their own: no #pragma once.

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
