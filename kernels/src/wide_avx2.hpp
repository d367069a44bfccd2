// Numbers of 64 bits side by side, for squares.hpp, in AVX2.
//
// Included by variants of photo_*.cpp and video_*.cpp in a namespace of their own: no #pragma once.

// kLanes numbers of 64 bits, of which products take the low half.
constexpr int kLanes = 8;
struct Wide {
  __m256i a, b;
};
inline Wide all(int64_t v) { return {_mm256_set1_epi64x(v), _mm256_set1_epi64x(v)}; }
inline Wide load(const int32_t* p) {
  return {_mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 4)))};
}
inline void store(int32_t* p, const Wide& x) {
  const __m256i even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(x.a, even)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 4), _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(x.b, even)));
}
inline Wide add(const Wide& x, const Wide& y) { return {_mm256_add_epi64(x.a, y.a), _mm256_add_epi64(x.b, y.b)}; }
inline Wide sub(const Wide& x, const Wide& y) { return {_mm256_sub_epi64(x.a, y.a), _mm256_sub_epi64(x.b, y.b)}; }
inline Wide times(const Wide& x, const Wide& y) { return {_mm256_mul_epi32(x.a, y.a), _mm256_mul_epi32(x.b, y.b)}; }
inline __m256i most4(__m256i x, __m256i y) { return _mm256_blendv_epi8(y, x, _mm256_cmpgt_epi64(x, y)); }
inline Wide most(const Wide& x, const Wide& y) { return {most4(x.a, y.a), most4(x.b, y.b)}; }
inline __m256i least4(__m256i x, __m256i y) { return _mm256_blendv_epi8(x, y, _mm256_cmpgt_epi64(x, y)); }
inline Wide least(const Wide& x, const Wide& y) { return {least4(x.a, y.a), least4(x.b, y.b)}; }
// There is no arithmetic shift of 64 bits: the sign is put back.
template <int k>
inline __m256i lower4(__m256i x) {
  const __m256i sign = _mm256_set1_epi64x(int64_t{1} << (63 - k));
  return _mm256_sub_epi64(_mm256_xor_si256(_mm256_srli_epi64(x, k), sign), sign);
}
template <int k>
inline Wide lower(const Wide& x) {
  return {lower4<k>(x.a), lower4<k>(x.b)};
}
inline Wide raise(const Wide& x, const Wide& by) { return {_mm256_sllv_epi64(x.a, by.a), _mm256_sllv_epi64(x.b, by.b)}; }
// The quotient by a division of doubles, corrected to be exact.
inline Wide reciprocal(const Wide& d) {
  int32_t v[kLanes], q[kLanes];
  store(v, d);
  for (int i = 0; i < kLanes; ++i) q[i] = static_cast<int32_t>(35184372088832.0 / v[i]);
  for (int i = 0; i < kLanes; ++i) q[i] -= int64_t{q[i]} * v[i] > int64_t{1} << 45;
  return load(q);
}
