// Sixteen int32 in a 512-bit register.
struct V {
  static constexpr int width = 16;
  using Wide = __m512i;
  __m512i v;
  static inline V set(int32_t x) { return {_mm512_set1_epi32(x)}; }
  static inline V load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  static inline void store(int32_t* p, V a) { _mm512_storeu_si512(p, a.v); }
  static inline V add(V a, V b) { return {_mm512_add_epi32(a.v, b.v)}; }
  static inline V sub(V a, V b) { return {_mm512_sub_epi32(a.v, b.v)}; }
  static inline V max(V a, V b) { return {_mm512_max_epi32(a.v, b.v)}; }
  static inline V min(V a, V b) { return {_mm512_min_epi32(a.v, b.v)}; }
  static inline V cut(V a, V limit) { return max(min(a, limit), sub(set(0), limit)); }
  static inline V abs(V a) { return {_mm512_abs_epi32(a.v)}; }
  static inline V bit_and(V a, V b) { return {_mm512_and_si512(a.v, b.v)}; }
  static inline V bit_xor(V a, V b) { return {_mm512_xor_si512(a.v, b.v)}; }
  // A shift by one count for all takes two steps of the processor, one by a vector of counts only one.
  static inline V sll(V a, int n) { return {_mm512_sllv_epi32(a.v, _mm512_set1_epi32(n))}; }
  static inline V sra(V a, int n) { return {_mm512_srav_epi32(a.v, _mm512_set1_epi32(n))}; }
  static inline V srl(V a, int n) { return {_mm512_srlv_epi32(a.v, _mm512_set1_epi32(n))}; }
  static inline V srlv(V a, V n) { return {_mm512_srlv_epi32(a.v, n.v)}; }
  static inline V mul31(V a, V b) {
    const __m512i even = _mm512_srli_epi64(_mm512_mul_epi32(a.v, b.v), 31);
    const __m512i odd = _mm512_slli_epi64(
        _mm512_mul_epi32(_mm512_srli_epi64(a.v, 32), _mm512_srli_epi64(b.v, 32)), 1);
    return {_mm512_mask_blend_epi32(0xAAAA, even, odd)};
  }
  static inline V mul16(V a, V b) { return {_mm512_madd_epi16(a.v, b.v)}; }  // of values in [0, 2^15)
  static inline V gather(const int32_t* table, V i) { return {_mm512_i32gather_epi32(i.v, table, 4)}; }
  static inline int32_t largest(V a) { return _mm512_reduce_max_epi32(a.v); }
  static inline int32_t sum(V a) { return _mm512_reduce_add_epi32(a.v); }
  static inline Wide wide_zero() { return _mm512_setzero_si512(); }
  static inline Wide add_square(Wide s, V a) {
    const __m512i odd = _mm512_srli_epi64(a.v, 32);
    return _mm512_add_epi64(s, _mm512_add_epi64(_mm512_mul_epi32(a.v, a.v), _mm512_mul_epi32(odd, odd)));
  }
  static inline int64_t wide_sum(Wide s) { return _mm512_reduce_add_epi64(s); }
  static inline void store_bytes(uint8_t* p, V a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
  }
  static inline void store_shorts(int16_t* p, V a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
  }
};
