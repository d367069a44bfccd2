// Eight int32 in a 256-bit register.
struct V {
  static constexpr int width = 8;
  using Wide = __m256i;
  __m256i v;
  static inline V set(int32_t x) { return {_mm256_set1_epi32(x)}; }
  static inline V load(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
  static inline void store(int32_t* p, V a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
  static inline V add(V a, V b) { return {_mm256_add_epi32(a.v, b.v)}; }
  static inline V sub(V a, V b) { return {_mm256_sub_epi32(a.v, b.v)}; }
  static inline V max(V a, V b) { return {_mm256_max_epi32(a.v, b.v)}; }
  static inline V min(V a, V b) { return {_mm256_min_epi32(a.v, b.v)}; }
  static inline V cut(V a, V limit) { return max(min(a, limit), sub(set(0), limit)); }
  static inline V abs(V a) { return {_mm256_abs_epi32(a.v)}; }
  static inline V bit_and(V a, V b) { return {_mm256_and_si256(a.v, b.v)}; }
  static inline V bit_xor(V a, V b) { return {_mm256_xor_si256(a.v, b.v)}; }
  static inline V sll(V a, int n) { return {_mm256_sll_epi32(a.v, _mm_cvtsi32_si128(n))}; }
  static inline V sra(V a, int n) { return {_mm256_sra_epi32(a.v, _mm_cvtsi32_si128(n))}; }
  static inline V srl(V a, int n) { return {_mm256_srl_epi32(a.v, _mm_cvtsi32_si128(n))}; }
  static inline V srlv(V a, V n) { return {_mm256_srlv_epi32(a.v, n.v)}; }
  static inline V mul31(V a, V b) {
    const __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(a.v, b.v), 31);
    const __m256i odd = _mm256_slli_epi64(
        _mm256_mul_epi32(_mm256_srli_epi64(a.v, 32), _mm256_srli_epi64(b.v, 32)), 1);
    return {_mm256_blend_epi32(even, odd, 0xAA)};
  }
  static inline V mul16(V a, V b) { return {_mm256_madd_epi16(a.v, b.v)}; }  // of values in [0, 2^15)
  static inline V gather(const int32_t* table, V i) { return {_mm256_i32gather_epi32(table, i.v, 4)}; }
  static inline int32_t largest(V a) {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1)));
  }
  static inline int32_t sum(V a) {
    __m128i m = _mm_add_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
    m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(m, _mm_shuffle_epi32(m, 0xB1)));
  }
  static inline Wide wide_zero() { return _mm256_setzero_si256(); }
  static inline Wide add_square(Wide s, V a) {
    const __m256i odd = _mm256_srli_epi64(a.v, 32);
    return _mm256_add_epi64(s, _mm256_add_epi64(_mm256_mul_epi32(a.v, a.v), _mm256_mul_epi32(odd, odd)));
  }
  static inline int64_t wide_sum(Wide s) {
    const __m128i m = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    return _mm_cvtsi128_si64(m) + _mm_extract_epi64(m, 1);
  }
  static inline __m128i shorts(V a) {
    return _mm_packs_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  }
  static inline void store_bytes(uint8_t* p, V a) {  // of values in [-128, 255]
    const __m128i s = _mm_and_si128(shorts(a), _mm_set1_epi16(0xFF));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(s, s));
  }
  static inline void store_shorts(int16_t* p, V a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), shorts(a)); }
};
