// One int32 as a "vector": the portable variant.
struct V {
  static constexpr int width = 1;
  using Wide = int64_t;
  int32_t v;
  static V set(int32_t x) { return {x}; }
  static V load(const int32_t* p) { return {*p}; }
  static void store(int32_t* p, V a) { *p = a.v; }
  static V add(V a, V b) { return {static_cast<int32_t>(static_cast<uint32_t>(a.v) + static_cast<uint32_t>(b.v))}; }
  static V sub(V a, V b) { return {static_cast<int32_t>(static_cast<uint32_t>(a.v) - static_cast<uint32_t>(b.v))}; }
  static V max(V a, V b) { return {a.v > b.v ? a.v : b.v}; }
  static V min(V a, V b) { return {a.v < b.v ? a.v : b.v}; }
  static V cut(V a, V limit) { return max(min(a, limit), {-limit.v}); }
  static V abs(V a) { return {a.v < 0 ? -a.v : a.v}; }
  static V bit_and(V a, V b) { return {a.v & b.v}; }
  static V bit_xor(V a, V b) { return {a.v ^ b.v}; }
  static V sll(V a, int n) { return {static_cast<int32_t>(static_cast<uint32_t>(a.v) << n)}; }
  static V sra(V a, int n) { return {a.v >> n}; }
  static V srl(V a, int n) { return {static_cast<int32_t>(static_cast<uint32_t>(a.v) >> n)}; }
  static V srlv(V a, V n) { return {static_cast<int32_t>(static_cast<uint32_t>(a.v) >> n.v)}; }
  static V mul31(V a, V b) { return {lmc::mul31(a.v, b.v)}; }
  static V mul16(V a, V b) { return {a.v * b.v}; }  // of values in [0, 2^15]
  static V gather(const int32_t* table, V i) { return {table[i.v]}; }
  static int32_t largest(V a) { return a.v; }
  static int32_t sum(V a) { return a.v; }
  static Wide wide_zero() { return 0; }
  static Wide add_square(Wide s, V a) { return s + static_cast<int64_t>(a.v) * a.v; }
  static int64_t wide_sum(Wide s) { return s; }
  static void store_bytes(uint8_t* p, V a) { *p = static_cast<uint8_t>(a.v); }
  static void store_shorts(int16_t* p, V a) { *p = static_cast<int16_t>(a.v); }
};
