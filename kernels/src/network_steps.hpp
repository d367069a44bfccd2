// The operations of ARITHMETIC.md over a vector type V of int32 (vec_*.hpp). Each variant's file
// includes this inside an anonymous namespace, behind its vector type and its target pragma.

// Moves by r as `shift` of ARITHMETIC.md does.
struct Shift {
  int right, left;
  V half, limit;
  explicit Shift(int r)
      : right(r > 31 ? 31 : r),
        left(r > 0 ? 0 : (-r > 30 ? 30 : -r)),
        half(V::set(r > 0 ? static_cast<int32_t>(1u << (right - 1)) : 0)),
        limit(V::set(LIMIT >> left)) {}
  inline V operator()(V t) const {
    if (right > 0) return V::sra(V::add(t, half), right);
    return V::sll(V::cut(t, limit), left);
  }
};

static int32_t peak(const int32_t* z, int n) {
  V m = V::set(0);
  for (int i = 0; i < n; i += V::width) m = V::max(m, V::abs(V::load(z + i)));
  return V::largest(m);
}

static int64_t squares(const int32_t* x, int n, int s) {
  V::Wide sum = V::wide_zero();
  for (int i = 0; i < n; i += V::width) sum = V::add_square(sum, V::sra(V::load(x + i), s));
  return V::wide_sum(sum);
}

static int32_t gain(int32_t* z, const int32_t* g, int n, int nx) {
  V m = V::set(0);
  for (int i = 0; i < n; i += V::width) {
    const V v = V::mul31(V::sll(V::load(z + i), nx), V::load(g + i));
    V::store(z + i, v);
    m = V::max(m, V::abs(v));
  }
  return V::largest(m);
}

static void narrow(const int32_t* z, int n, int nb, int32_t reciprocal, int offset, uint8_t* q) {
  const V r = V::set(reciprocal), half = V::set(1 << 22), off = V::set(offset);
  for (int i = 0; i < n; i += V::width) {
    const V v = V::mul31(V::sll(V::load(z + i), nb), r);
    V::store_bytes(q + i, V::add(V::sra(V::add(v, half), 23), off));
  }
}

static int32_t silu(int32_t* z, int n, const int32_t* table) {
  const V last = V::set((1 << 20) - 1), low10 = V::set(1023), low16 = V::set(0xFFFF);
  const V half = V::set(512), one = V::set(1 << 16);
  V m = V::set(0);
  for (int i = 0; i < n; i += V::width) {
    const V g = V::load(z + i);
    const V a = V::min(V::abs(g), last);
    const V entry = V::gather(table, V::sra(a, 10));
    const V step = V::mul16(V::bit_and(entry, low16), V::bit_and(a, low10));
    const V sigmoid = V::add(V::srl(entry, 16), V::sra(V::add(step, half), 10));
    const V negative = V::sra(g, 31);  // -sigmoid + one where g < 0
    const V s = V::add(V::sub(V::bit_xor(sigmoid, negative), negative), V::bit_and(one, negative));
    const V v = V::mul31(g, V::sll(s, 15));
    V::store(z + i, v);
    m = V::max(m, V::abs(v));
  }
  return V::largest(m);
}

static int32_t product(int32_t* z, int nz, const int32_t* u, int nu, int n) {
  V m = V::set(0);
  for (int i = 0; i < n; i += V::width) {
    const V v = V::mul31(V::sll(V::load(z + i), nz), V::sll(V::load(u + i), nu));
    V::store(z + i, v);
    m = V::max(m, V::abs(v));
  }
  return V::largest(m);
}

static int32_t turn(const int32_t* y, int half, int n1, const int32_t* c, const int32_t* s,
                    int32_t* out) {
  V m = V::set(0);
  for (int i = 0; i < half; i += V::width) {
    const V h1 = V::sll(V::load(y + i), n1), h2 = V::sll(V::load(y + half + i), n1);
    const V cs = V::load(c + i), sn = V::load(s + i);
    const V first = V::sub(V::mul31(h1, cs), V::mul31(h2, sn));
    const V second = V::add(V::mul31(h2, cs), V::mul31(h1, sn));
    V::store(out + i, first);
    V::store(out + half + i, second);
    m = V::max(m, V::max(V::abs(first), V::abs(second)));
  }
  return V::largest(m);
}

static int32_t scores(int32_t* s, const uint8_t* const* tiles, int n, int head_dim, int up,
                      int32_t query, int down, int from, int to) {
  const size_t at = TileShape{head_dim}.key_scales();
  const V q = V::set(query), limit = V::set(SCORE_LIMIT);
  const Shift shift(down);
  for (int t = 0; t < n; ++t) {
    const int32_t* scale = reinterpret_cast<const int32_t*>(tiles[t] + at);
    for (int i = 0; i < TILE; i += V::width) {
      int32_t* p = s + t * TILE + i;
      const V v = V::mul31(V::mul31(V::sll(V::load(p), up), q), V::load(scale + i));
      V::store(p, V::cut(shift(v), limit));
    }
  }
  for (int i = 0; i < from; ++i) s[i] = MASKED;
  for (int i = to; i < n * TILE; ++i) s[i] = MASKED;
  V m = V::set(MASKED);
  for (int i = 0; i < n * TILE; i += V::width) m = V::max(m, V::load(s + i));
  return V::largest(m);
}

static inline V scaled(V a, V b) { return V::sra(V::add(V::mul16(a, b), V::set(1 << 14)), 15); }

static int32_t weigh(int32_t* s, const uint8_t* const* tiles, int n, int head_dim, int32_t largest,
                     int32_t* total) {
  const size_t at = TileShape{head_dim}.value_scales();
  const V top = V::set(largest), far = V::set(0xFFFF), low11 = V::set(2047), last = V::set(31);
  const V c1 = V::set(22657), c2 = V::set(7572), c3 = V::set(1300), one = V::set(32767);
  V m = V::set(0), sum = V::set(0);
  for (int t = 0; t < n; ++t) {
    const int32_t* scale = reinterpret_cast<const int32_t*>(tiles[t] + at);
    for (int i = 0; i < TILE; i += V::width) {
      int32_t* p = s + t * TILE + i;
      const V d = V::min(V::sub(top, V::load(p)), far);
      const V f = V::sll(V::bit_and(d, low11), 4);
      const V y = V::sub(one, scaled(f, V::sub(c1, scaled(f, V::sub(c2, scaled(f, c3))))));
      const V e = V::srlv(V::sll(y, 15), V::min(V::sra(d, 11), last));
      sum = V::add(sum, V::sra(e, 12));
      const V v = V::mul31(e, V::load(scale + i));
      V::store(p, v);
      m = V::max(m, v);
    }
  }
  *total = V::sum(sum);
  return V::largest(m);
}

static void round_weights(const int32_t* p, int n, int b, int down, int16_t* w) {
  const V half = V::set(down > 0 ? 1 << (down - 1) : 0), most = V::set((1 << b) - 1);
  for (int i = 0; i < n; i += V::width) {
    const V v = V::load(p + i);
    const V moved = down > 0 ? V::sra(V::add(v, half), down) : V::sll(v, -down);
    V::store_shorts(w + i, V::min(moved, most));
  }
}

static void finish(const int32_t* acc, int n, int32_t factor, int down, int32_t* out) {
  const V f = V::set(factor), limit = V::set(LIMIT);
  const Shift shift(down);
  for (int i = 0; i < n; i += V::width) {
    V::store(out + i, V::cut(shift(V::cut(V::mul31(V::load(acc + i), f), limit)), limit));
  }
}

// One row's TILE outputs.
static inline void epilogue(const Matrix& m, const int32_t* acc, int n0, int32_t scale,
                            const Shift& shift, int32_t* out, bool add) {
  const V a = V::set(scale), limit = V::set(LIMIT);
  for (int i = 0; i < TILE; i += V::width) {
    const V sum = V::add(V::load(acc + i), V::load(m.correction.data() + n0 + i));
    V y = shift(V::mul31(V::mul31(V::sll(sum, m.up), V::load(m.scale.data() + n0 + i)), a));
    if (m.bias.data()) y = V::cut(V::add(y, V::load(m.bias.data() + n0 + i)), limit);
    if (add) y = V::cut(V::add(y, V::load(out + i)), limit);
    V::store(out + i, y);
  }
}

// acc[g][r][i]: products of up to TILE rows from r0, of `total`, with the tiles from `tile`.
static void products(const Matrix& m, const Acts& a, int tile, int r0, int rows, int total, int32_t* acc);

static void matmul(const Matrix& m, const Acts& a, int rows, int first, int last, int32_t* out,
                   size_t stride, bool add) {
  alignas(64) int32_t acc[GROUP * TILE * TILE];
  for (int tile = first; tile < last; tile += GROUP) {
    for (int r0 = 0; r0 < rows; r0 += TILE) {
      const int count = rows - r0 < TILE ? rows - r0 : TILE;
      products(m, a, tile, r0, count, rows, acc);
      for (int r = 0; r < count; ++r) {
        const int row = r0 + r;
        const Shift shift(m.exponent + a.exponent[row] + m.up - 71);
        for (int g = 0; g < GROUP; ++g) {
          const int n0 = (tile + g) * TILE;
          if (n0 >= m.n) break;
          int32_t* to = out + static_cast<size_t>(row) * stride + n0;
          const int32_t* from = acc + (g * TILE + r) * TILE;
          if (n0 + TILE <= m.n) {
            epilogue(m, from, n0, a.scale[row], shift, to, add);
          } else {  // a tile that hangs over the edge (never one that adds)
            alignas(64) int32_t edge[TILE] = {};
            epilogue(m, from, n0, a.scale[row], shift, edge, false);
            for (int i = 0; i < m.n - n0; ++i) to[i] = edge[i];
          }
        }
      }
    }
  }
}

static const Kernels table = {NAME,      OFFSET, GROUP, limit,  peak,  squares,       gain, narrow, silu, product, turn, matmul,
                              transpose, dots,   scores, weigh, round_weights, mix,  finish};
