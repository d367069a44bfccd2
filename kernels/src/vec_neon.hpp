// Four int32 in a 128-bit register.
struct V {
  static constexpr int width = 4;
  using Wide = int64x2_t;
  int32x4_t v;
  static inline V set(int32_t x) { return {vdupq_n_s32(x)}; }
  static inline V load(const int32_t* p) { return {vld1q_s32(p)}; }
  static inline void store(int32_t* p, V a) { vst1q_s32(p, a.v); }
  static inline V add(V a, V b) { return {vaddq_s32(a.v, b.v)}; }
  static inline V sub(V a, V b) { return {vsubq_s32(a.v, b.v)}; }
  static inline V max(V a, V b) { return {vmaxq_s32(a.v, b.v)}; }
  static inline V min(V a, V b) { return {vminq_s32(a.v, b.v)}; }
  static inline V cut(V a, V limit) { return {vmaxq_s32(vminq_s32(a.v, limit.v), vnegq_s32(limit.v))}; }
  static inline V abs(V a) { return {vabsq_s32(a.v)}; }
  static inline V bit_and(V a, V b) { return {vandq_s32(a.v, b.v)}; }
  static inline V bit_xor(V a, V b) { return {veorq_s32(a.v, b.v)}; }
  static inline V sll(V a, int n) { return {vshlq_s32(a.v, vdupq_n_s32(n))}; }
  static inline V sra(V a, int n) { return {vshlq_s32(a.v, vdupq_n_s32(-n))}; }
  static inline V srl(V a, int n) {
    return {vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a.v), vdupq_n_s32(-n)))};
  }
  static inline V srlv(V a, V n) {
    return {vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a.v), vnegq_s32(n.v)))};
  }
  static inline V mul31(V a, V b) { return {vqdmulhq_s32(a.v, b.v)}; }  // floor(2 a b / 2^32)
  static inline V mul16(V a, V b) { return {vmulq_s32(a.v, b.v)}; }
  static inline V gather(const int32_t* table, V i) {
    int32_t at[4];
    vst1q_s32(at, i.v);
    const int32_t got[4] = {table[at[0]], table[at[1]], table[at[2]], table[at[3]]};
    return {vld1q_s32(got)};
  }
  static inline int32_t largest(V a) { return vmaxvq_s32(a.v); }
  static inline int32_t sum(V a) { return vaddvq_s32(a.v); }
  static inline Wide wide_zero() { return vdupq_n_s64(0); }
  static inline Wide add_square(Wide s, V a) { return vmlal_high_s32(vmlal_s32(s, vget_low_s32(a.v), vget_low_s32(a.v)), a.v, a.v); }
  static inline int64_t wide_sum(Wide s) { return vaddvq_s64(s); }
  static inline void store_bytes(uint8_t* p, V a) {
    const int16x4_t s = vmovn_s32(a.v);
    const uint8x8_t b = vreinterpret_u8_s8(vmovn_s16(vcombine_s16(s, s)));
    vst1_lane_u32(reinterpret_cast<uint32_t*>(p), vreinterpret_u32_u8(b), 0);
  }
  static inline void store_shorts(int16_t* p, V a) { vst1_s16(p, vmovn_s32(a.v)); }
};
