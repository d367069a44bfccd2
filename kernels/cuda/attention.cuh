// Rotary positions, the caches of keys and values, and attention over them.
#pragma once
#include <type_traits>

#include "matmul.cuh"

namespace lmc::cuda {

// Keys and values of one layer of a cache, tokens of all kinds side by side: a ring for each lane and head, which
// holds the newest tokens by position modulo its size; the anchor of each head, which all lanes share; and for each
// lane and head places for the rows of a tree, until one way of it is kept.
struct Keys {
  int8_t *key, *value;           // [tokens][head_dim]
  int *key_scale, *value_scale;  // [tokens]
  int size, window;              // of a ring; and the newest keys that a row sees
  int anchor, tree;              // the first tokens of these kinds
  int anchored, branches;        // tokens of the anchor; places for a lane's tree
  int far;                       // the last position from which the anchor is seen
  bool local;                    // the layer has a reach: it sees the anchor as keys before the lane
};
struct Heads {
  int heads, kv_heads, head_dim;
  __host__ __device__ int group() const { return heads / kv_heads; }
};

// Queries of a pass, as the lane's own keys see them, then as the anchor does: [2][rows][heads].
struct Queries {
  int8_t* q;  // [..][head_dim]
  int *factor, *down;
  int rows;
};

__device__ inline int sine(uint64_t phase, const int* table) {
  const int quarter = static_cast<int>(phase >> 62);
  uint64_t a = (phase >> 30) & 0xFFFFFFFF;
  if (quarter & 1) a = (uint64_t{1} << 32) - a;
  const int i = static_cast<int>(a >> 20);
  const int64_t f = static_cast<int64_t>(a & 0xFFFFF);
  const int value = table[i] + static_cast<int>((static_cast<int64_t>(table[i + 1] - table[i]) * f + (1 << 19)) >> 20);
  return quarter & 2 ? -value : value;
}

// turns [rows][4][half]: cosine and sine at the position; cosine and sine at which the anchor is seen.
__global__ void turn_angles(Heads h, const Keys* caches, const Row* rows, const uint64_t* frequency, const int* table, int* turns) {
  const Row& row = rows[blockIdx.x];
  if (row.lane < 0) return;
  const int half = h.head_dim / 2, last = caches[row.cache].far;
  int* const to = turns + static_cast<size_t>(blockIdx.x) * 4 * half;
  for (int i = threadIdx.x; i < half; i += blockDim.x) {
    const uint64_t near = static_cast<uint64_t>(row.position) * frequency[i];
    const uint64_t far = static_cast<uint64_t>(min(row.position, last)) * frequency[i];
    to[i] = sine(near + (uint64_t{1} << 62), table);
    to[half + i] = sine(near, table);
    to[2 * half + i] = sine(far + (uint64_t{1} << 62), table);
    to[3 * half + i] = sine(far, table);
  }
}

// The token that a row writes.
__device__ inline int place(const Heads& h, const Keys& keys, const Row& row, int head) {
  if (row.position < keys.anchored) return keys.anchor + head * keys.anchored + row.position;
  const int lane = row.lane * h.kv_heads + head;
  if (row.slot >= 0) return keys.tree + lane * keys.branches + row.slot;
  return lane * keys.size + row.position % keys.size;
}

// The norms of a layer's query and key heads; no gain: there is none.
struct HeadNorms {
  const int *gain[2];  // of queries, of keys
  int exponent[2];
  int64_t eps;
};

// Vectors of a row: queries, keys, values.
__host__ __device__ inline int vectors(const Heads& h) { return h.heads + 2 * h.kv_heads; }

// A warp writes one of a row's vectors, queries as the lane's keys see them and as the anchor's do, and what it is worth. y:
// what the layer's matrix gave, turns: as turn_angles() has them, both of this row; number: of the row in the pass. keys: of
// this layer and the row's cache.
template <int kPairs>  // of channels that a thread has, head_dim / 64 rounded up
__device__ inline void turn_vector(const Heads& h, const Keys& keys, const Row& row, int number, int head, const int* y, const int* turns,
                                   const HeadNorms& norms, const Queries& out) {
  const int lane = threadIdx.x % 32, half = h.head_dim / 2, up = 30 - bits(static_cast<uint32_t>(h.head_dim * 127 * 127));
  const bool query = head < h.heads, key = !query && head < h.heads + h.kv_heads, afar = query && keys.anchored > 0 && !keys.local;
  // A thread has pairs of channels: `lane`, `lane` + 32, … and the same plus half. All by constant places, which are registers;
  // all reads first, because each takes longer than the rest.
  int one[kPairs] = {}, two[kPairs] = {}, near[kPairs][2] = {}, far[kPairs][2] = {}, peak = 0;
  const auto each = [&](auto&& work) {
#pragma unroll
    for (int i = 0; i < kPairs; ++i)
      if (lane + 32 * i < half) work(lane + 32 * i, one[i], two[i]);
  };
  y += head * h.head_dim;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int at = lane + 32 * i;
    if (at >= half) continue;
    one[i] = y[at], two[i] = y[half + at];
    if (query || key) near[i][0] = turns[at], near[i][1] = turns[half + at];
    if (afar) far[i][0] = turns[2 * half + at], far[i][1] = turns[3 * half + at];
  }
  const auto look = [&](int, int a, int b) { peak = max(peak, max(abs(a), abs(b))); };
  each(look);
  peak = __reduce_max_sync(~0u, peak);
  const int *const gain = query ? norms.gain[0] : norms.gain[1], of_gain = query ? norms.exponent[0] : norms.exponent[1];
  if ((query || key) && gain) {
    const int m = max(1, peak), s = max(0, bits(static_cast<uint32_t>(m)) - 24), nx = 31 - bits(static_cast<uint32_t>(m));
    int64_t total = 0;
    each([&](int, int a, int b) { total += product(a >> s, a >> s) + product(b >> s, b >> s); });
    const uint64_t mean = static_cast<uint64_t>(max(int64_t{1}, quotient(warp_sum(total), h.head_dim) + (norms.eps >> (2 * s))));
    const int j = (62 - bits(mean)) >> 1, down = nx + of_gain + s - j - 17;
    const int64_t inverse = quotient(int64_t{1} << 61, static_cast<int64_t>(square_root(mean << (2 * j))));
    const int d = static_cast<int>(min(inverse, int64_t{INT32_MAX}));
    const auto scaled_by = [&](int v, int by) {
      return cut(shift(cut(mul31(mul31(static_cast<int>(static_cast<uint32_t>(v) << nx), by), d), kLimit), down), kLimit);
    };
    peak = 0;
    each([&](int at, int& a, int& b) { a = scaled_by(a, gain[at]), b = scaled_by(b, gain[half + at]); });
    each(look);
    peak = __reduce_max_sync(~0u, peak);
  }
  const int n1 = query || key ? room(peak) : 0;  // values are not turned
  int a[kPairs], b[kPairs];
  const auto turned = [&](const int (&by)[kPairs][2]) {
    int most = 0;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int h1 = static_cast<int>(static_cast<uint32_t>(one[i]) << n1), h2 = static_cast<int>(static_cast<uint32_t>(two[i]) << n1);
      a[i] = mul31(h1, by[i][0]) - mul31(h2, by[i][1]);
      b[i] = mul31(h2, by[i][0]) + mul31(h1, by[i][1]);
      most = max(most, max(abs(a[i]), abs(b[i])));
    }
    return __reduce_max_sync(~0u, most);
  };
  const auto write = [&](int8_t* to, const Scaled& scaled, const int (&a)[kPairs], const int (&b)[kPairs]) {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int at = lane + 32 * i;
      if (at < half) to[at] = scaled(a[i]), to[half + at] = scaled(b[i]);
    }
  };
  if (query) {
    const auto put = [&](size_t at, const int (&by)[kPairs][2]) {
      const Scaled scaled(turned(by));
      write(out.q + at * h.head_dim, scaled, a, b);
      if (lane != 0) return;
      out.factor[at] = mul31(scaled.mantissa, kC16129);
      out.down[at] = up + n1 + scaled.nb - 23;
    };
    put(static_cast<size_t>(number) * h.heads + head, near);
    if (afar) put((static_cast<size_t>(out.rows) + number) * h.heads + head, far);
    return;
  }
  const int at = place(h, keys, row, (head - h.heads) % h.kv_heads);
  if (key) {
    peak = turned(near);
    write(keys.key + static_cast<size_t>(at) * h.head_dim, Scaled(peak), a, b);
  } else {
    write(keys.value + static_cast<size_t>(at) * h.head_dim, Scaled(peak), one, two);
  }
  if (lane != 0) return;
  peak = max(peak, 1);
  const int left = 7 - n1;
  const int64_t wide = !key ? int64_t{peak} << 6 : left >= 0 ? int64_t{peak} << left : (int64_t{peak} + (int64_t{1} << (-left - 1))) >> -left;
  (key ? keys.key_scale : keys.value_scale)[at] = static_cast<int>(min(wide, int64_t{INT32_MAX}));
}

constexpr int kTurned = 8;  // warps of a block, each with a vector

// qkv: [rows][all]; turns: [rows][4][half]. caches: the keys of this layer, by cache; likewise below.
template <int kPairs>
__global__ void turn(Heads h, const Keys* caches, const Row* rows, const int* qkv, const int* turns, HeadNorms norms, Queries out) {
  const int number = static_cast<int>(blockIdx.x), item = static_cast<int>(blockIdx.y * kTurned + threadIdx.x / 32);
  const Row& row = rows[number];
  if (row.lane < 0 || item >= vectors(h)) return;
  const int* const y = qkv + static_cast<size_t>(number) * (h.heads + 2 * h.kv_heads) * h.head_dim;
  turn_vector<kPairs>(h, caches[row.cache], row, number, item, y, turns + static_cast<size_t>(number) * 2 * h.head_dim, norms, out);
}

// 2^-(d / 2048), Q30, d < 2^16. Each step of the polynomial, c - (f a / 2^15 rounded), is one sum and one shift: f has 11
// bits and the processor's 4 more below them, so all is divided by 16; and what is taken away rounded is added unrounded.
__device__ inline int exp2_negative(int d) {
  const int f = d & 2047;
  const auto less = [&](int c, int a) { return (c << 11) + 1023 - f * a; };
  const int y = less(32767, less(22657, less(7572, 1300) >> 11) >> 11);
  return ((y & ~2047) << 4) >> (d >> 11);
}

constexpr int kAttend = 256;  // threads of a block
constexpr int kTogether = 4;  // queries of a head group that a block works on at a time, at most

// Over all threads of a block, some numbers at once: the first kMost become the largest, the others sums. `shared` is written.
template <int kMost, int kCount>
__device__ inline void all_of(int (&v)[kCount], int (*shared)[kAttend / 32]) {
#pragma unroll
  for (int j = 0; j < kCount; ++j) v[j] = j < kMost ? __reduce_max_sync(~0u, v[j]) : __reduce_add_sync(~0u, v[j]);
  if (threadIdx.x % 32 == 0)
    for (int j = 0; j < kCount; ++j) shared[j][threadIdx.x / 32] = v[j];
  __syncthreads();
  static_assert(kAttend == 8 * 32);
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const int4 a = *reinterpret_cast<const int4*>(shared[j]), b = *reinterpret_cast<const int4*>(shared[j] + 4);
    v[j] = j < kMost ? max(max(max(a.x, a.y), max(a.z, a.w)), max(max(b.x, b.y), max(b.z, b.w))) : a.x + a.y + a.z + a.w + b.x + b.y + b.z + b.w;
  }
}

// d += a b, with unsigned a.
__device__ inline void multiply_add_unsigned(int (&d)[4], int a0, int a1, int a2, int a3, int b0, int b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Byte i of words a, b, c, d together in word i.
__device__ inline void transpose(int a, int b, int c, int d, int (&to)[4]) {
  const int ab = __byte_perm(a, b, 0x5140), cd = __byte_perm(c, d, 0x5140);
  const int ab2 = __byte_perm(a, b, 0x7362), cd2 = __byte_perm(c, d, 0x7362);
  to[0] = __byte_perm(ab, cd, 0x5410);
  to[1] = __byte_perm(ab, cd, 0x7632);
  to[2] = __byte_perm(ab2, cd2, 0x5410);
  to[3] = __byte_perm(ab2, cd2, 0x7632);
}

constexpr int kKeys = 32;   // that a warp weighs at a time
constexpr int kApart = 20;  // integers between the scores of two queries, so that they lie in other banks
__host__ __device__ inline int padded(int keys) { return (keys + kKeys - 1) / kKeys * kKeys; }

// What a score, the sum of products of a query and a key, is multiplied by and shifted, 31 at most.
struct Scored {
  int factor, down;
  // kPlain: down > 0. Then nothing is to be cut: a sum raised by `up` is below 2^30, a factor at most kC16129 = .51 * 2^31.
  template <bool kPlain>
  __device__ int of(int sum, int up, int key_scale) const {
    const int v = mul31(mul31(static_cast<int>(static_cast<uint32_t>(sum) << up), factor), key_scale);
    return kPlain ? halved(v, down) : cut(shift(v, down), kScoreLimit);
  }
};

// What the value of a key is weighed by, before the weights are cut to their bits; with the largest of these, and the sum of
// what they are without the value's scale.
__device__ inline int weight_of(int score, int best, int value_scale, int& peak, int& total) {
  const uint32_t distance = static_cast<uint32_t>(best) - static_cast<uint32_t>(score);
  const int e = exp2_negative(static_cast<int>(min(distance, 0xFFFFu)));
  total += e >> 12;
  const int p = mul31(e, value_scale);
  peak = max(peak, p);
  return p;
}
// A weight of b bits. kDown: down > 0.
template <bool kDown>
__device__ inline int weighed(int p, int down, int b) {
  return min(kDown || down > 0 ? halved(p, down) : p << -down, (1 << b) - 1);
}
// The lower and the upper bytes of four weights.
__device__ inline int2 split(int x, int y, int z, int w) {
  const int xy = static_cast<int>(__byte_perm(x, y, 0x5140)), zw = static_cast<int>(__byte_perm(z, w, 0x5140));
  return {static_cast<int>(__byte_perm(xy, zw, 0x5410)), static_cast<int>(__byte_perm(xy, zw, 0x7632))};
}
__device__ inline int joined(int low, int high) { return low + static_cast<int>(static_cast<uint32_t>(high) << 8); }

// Reads of keys and values, of which many are under way at a time: the compiler itself would not read behind a store to shared
// memory.
template <class T>
__device__ inline T read(const int8_t* from, int token, int hd, int column) {
  return __ldg(reinterpret_cast<const T*>(from + product(static_cast<unsigned>(token), static_cast<unsigned>(hd)) + column));
}
// Columns of the values of four tokens: read, then by columns.
template <int kFours>  // columns
struct Values {
  using Columns = std::conditional_t<kFours == 2, int2, int>;
  union {
    Columns of[4];
    int four[4][kFours];
  };
  __device__ void read_from(const int8_t* value, const int* token, int hd, int column) {
    const int4 at = *reinterpret_cast<const int4*>(token);
    of[0] = read<Columns>(value, at.x, hd, column), of[1] = read<Columns>(value, at.y, hd, column);
    of[2] = read<Columns>(value, at.z, hd, column), of[3] = read<Columns>(value, at.w, hd, column);
  }
  __device__ void by_columns(int (&to)[kFours][4]) const {
#pragma unroll
    for (int i = 0; i < kFours; ++i) transpose(four[0][i], four[1][i], four[2][i], four[3][i], to[i]);
  }
};
// What a sum over values with weights of `total` is multiplied by and shifted.
struct Mixed {
  int factor, down;
  __device__ Mixed(int total, int weights_down) {
    const int bit = bits(static_cast<uint32_t>(total));
    const int64_t inverse = quotient(int64_t{1} << 61, int64_t{total} << (31 - bit));
    factor = mul31(static_cast<int>(min(inverse, int64_t{INT32_MAX})), kC127);
    down = bit - 8 - weights_down;
  }
};

// d += a b, with unsigned b.
__device__ inline void multiply_by_unsigned(int (&d)[4], int a0, int a1, int a2, int a3, int b0, int b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Shared memory of a block that attends one row: slots of its warps' streams, tokens and their scales, then scores and
// mixtures of queries.
constexpr int kManySlots = 5, kFewSlots = 2;  // of a warp: three blocks find room beside one another; where windows are long
constexpr int kSlot = 4 * (4 * 64 + 32);  // bytes: four fours of tokens, 64 columns each, apart so that they lie in other banks
__host__ __device__ inline size_t room_of_row(int keys, int queries, int head_dim, int slots) {
  const size_t wide = static_cast<size_t>(padded(keys + 3));
  const size_t streams = static_cast<size_t>(kAttend / 32 * slots * kSlot);
  return streams + 4 * (3 * wide + static_cast<size_t>(queries) * (wide + kApart + static_cast<size_t>(head_dim)));
}

// The keys of a block that attends one row: first the anchor's, filled up to a multiple of four, then the lane's, then those
// of the row's way in its tree. token: where they lie, of `wide` places; scales likewise; scores: [queries][wide + kApart];
// mixed: [queries][head_dim].
struct Seen {
  int count, from_anchor, from_lane, all, wide;
  int *token, *key_scale, *value_scale, *scores, *mixed;
};

// Copies to shared memory while the thread goes on.
__device__ inline unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }
__device__ inline void copy_later(int* to, const int* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

// What a warp reads of keys and then of values, in units of 16 tokens and 64 columns, through kSlots slots of shared memory:
// while it works on one, the others are filled, with values already while weights are made. Of every 128 keys a warp has 16,
// of every 256 values 32.
template <int kPieces, int kSlots>
class Stream {
 public:
  __device__ Stream(const Keys& keys, int hd, const int* token, int all, int wide, int8_t* slots)
      : hd_(hd), wide_(wide), slots_(slots), values_(keys.value) {
    const int lane = threadIdx.x % 32, row = lane / 4;  // and the row eight behind it
    column_ = 16 * (lane % 4);
    token_ = token + row;
    to_ = shared_address(slots + place(row, column_));
    from_ = keys.key;
    at_ = 16 * warp();
    left_ = max(0, (all - at_ + 16 * kWarps - 1) / (16 * kWarps));
    if (left_ == 0) begin_values();
    for (int i = 0; i < kSlots; ++i) ask(i * kSlot);
  }
  // Waits for the kUnits oldest slots.
  template <int kUnits>
  __device__ void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kSlots - kUnits) : "memory");
    __syncwarp();
  }
  __device__ const int8_t* slot(int number) const {
    const int at = now_ + number * kSlot;
    return slots_ + (at >= kSlots * kSlot ? at - kSlots * kSlot : at);
  }
  // They are read: fills them anew.
  template <int kUnits>
  __device__ void next() {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      ask(now_);
      now_ = now_ == (kSlots - 1) * kSlot ? 0 : now_ + kSlot;
    }
  }
  // A token's columns in a slot.
  __device__ static int place(int token, int column) { return token / 4 * (kSlot / 4) + token % 4 * 64 + column; }

 private:
  static constexpr int kWarps = kAttend / 32;
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }
  __device__ void begin_values() { from_ = values_, at_ = 32 * warp(), piece_ = 0; }
  __device__ void ask(int slot) {
    const int column = column_ + 64 * piece_;
    if (at_ < wide_ && column < hd_) {
      const int8_t* const from = from_ + column;
#pragma unroll
      for (int i = 0; i < 2; ++i)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to_ + slot + i * (kSlot / 2)),
                     "l"(from + product(static_cast<unsigned>(token_[at_ + 8 * i]), static_cast<unsigned>(hd_)))
                     : "memory");
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    if (left_ > 0) {  // all columns of a key, then the next
      if (kPieces > 1 && ++piece_ < kPieces) return;
      piece_ = 0;
      at_ += 16 * kWarps;
      if (--left_ == 0) begin_values();
    } else {  // all values of some columns
      at_ += at_ % 32 == 0 ? 16 : 32 * kWarps - 16;
      if (kPieces > 1 && at_ >= wide_) at_ = 32 * warp(), ++piece_;
    }
  }

  const int hd_, wide_;
  const int8_t* const slots_;
  const int8_t *const values_, *from_;
  const int* token_;
  unsigned to_;
  int column_, at_, left_, piece_ = 0;  // the keys left
  int now_ = 0;                         // the oldest slot
};

// One row and kCount queries of a head of keys, from the query g0 of its group on. Sums of e >> 12 stay below 2^30: there
// are at most 4096 keys.
//
// Both products are the tensor cores'; which of their places the inputs take is free, because sums are exact. Rows of the first
// are four queries as the lane's keys see them, four as the anchor's do and eight that nobody reads, its columns are keys. Rows
// of the second are columns of values, its columns the lower and the upper bytes of the weights of four queries.
template <int kCount, int kPieces, int kSlots>
__device__ inline void attend_some(const Heads& h, const Keys& keys, const Queries& queries, int g0, const Seen& seen,
                                   int8_t* slots, int (*shared)[kAttend / 32], Scored (*by)[kTogether], int* out) {
  constexpr int kWarps = kAttend / 32;
  const int hd = h.head_dim, wide = seen.wide, stride = wide + kApart, *const token = seen.token;
  int *const scores = seen.scores, *const mixed = seen.mixed;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const size_t query = static_cast<size_t>(blockIdx.x) * h.heads + blockIdx.y * h.group() + g0;
  const size_t far = keys.local ? 0 : static_cast<size_t>(queries.rows) * h.heads;
  int4 own[kPieces] = {};
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int c = 64 * piece + 16 * t;
    if (c < hd && g % 4 < kCount && (g < 4 || seen.from_anchor > 0))
      own[piece] = *reinterpret_cast<const int4*>(queries.q + (query + g % 4 + (g < 4 ? 0 : far)) * hd + c);
  }
  bool plain = true;
  if (const int j = threadIdx.x % kTogether, afar = threadIdx.x / kTogether; afar < (seen.from_anchor > 0 ? 2 : 1) && j < kCount) {
    const size_t of = query + j + (afar ? far : 0);
    by[afar][j] = {queries.factor[of], min(queries.down[of], 31)};
    plain = by[afar][j].down > 0;
  }
  plain = __syncthreads_and(plain);
  for (int i = threadIdx.x; i < kCount * hd; i += kAttend) mixed[i] = 0;

  Stream<kPieces, kSlots> stream(keys, hd, token, seen.all, wide, slots + warp * kSlots * kSlot);
  for (int first = 16 * warp; first < seen.all; first += 16 * kWarps) {
    int dot[2][4] = {};
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      stream.template wait<1>();
      const int8_t* const slot = stream.slot(0);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int4 key = *reinterpret_cast<const int4*>(slot + stream.place(8 * half + g, 16 * t));
        multiply_add(dot[half], own[piece].x, 0, own[piece].y, 0, key.x, key.y);
        multiply_add(dot[half], own[piece].z, 0, own[piece].w, 0, key.z, key.w);
      }
      stream.template next<1>();
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = first + 8 * half + 2 * t;
      if (g % 4 < kCount && (at < seen.from_anchor) == (g >= 4))
        *reinterpret_cast<int2*>(scores + g % 4 * stride + at) = {dot[half][0], dot[half][1]};
    }
  }
  stream.template wait<1>();  // scales come with the first slot, which has come even if the warp has no keys
  __syncthreads();

  // Four keys of a thread at a time, all of the anchor or none.
  const int up = 30 - bits(static_cast<uint32_t>(hd * 127 * 127));
  const auto each = [&](auto&& work) {
    for (int i = 4 * static_cast<int>(threadIdx.x); i < wide; i += 4 * kAttend) work(i);
  };
  const auto four = [&](int j, int i) -> int4& { return *reinterpret_cast<int4*>(scores + j * stride + i); };
  int largest[kCount];
  for (int& l : largest) l = INT32_MIN;
  const auto score = [&](auto plain) {
    each([&](int i) {
      const int4 scale = *reinterpret_cast<const int4*>(seen.key_scale + i);
      const bool anchor = i < seen.from_anchor;
      const int left = (anchor ? seen.from_anchor : seen.all) - i;  // what is not there is far below all others, and so weighs nothing
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        const Scored to = by[anchor][j];
        const int4 dot = four(j, i);
        const auto of = [&](int d, int by) { return to.template of<plain.value>(d, up, by); };
        int s[4] = {of(dot.x, scale.x), of(dot.y, scale.y), of(dot.z, scale.z), of(dot.w, scale.w)};
        if (left < 4) {
#pragma unroll
          for (int c = 0; c < 4; ++c)
            if (c >= left) s[c] = INT32_MIN;
        }
        largest[j] = max(largest[j], max(max(s[0], s[1]), max(s[2], s[3])));
        four(j, i) = {s[0], s[1], s[2], s[3]};
      }
    });
  };
  plain ? score(std::true_type()) : score(std::false_type());
  all_of<kCount>(largest, shared);
  int found[2 * kCount] = {};  // the largest products, the sums of weights
  each([&](int i) {
    const int4 scale = *reinterpret_cast<const int4*>(seen.value_scale + i);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int4 x = four(j, i);
      const auto weight = [&](int s, int by) { return weight_of(s, largest[j], by, found[j], found[kCount + j]); };
      four(j, i) = {weight(x.x, scale.x), weight(x.y, scale.y), weight(x.z, scale.z), weight(x.w, scale.w)};
    }
  });
  all_of<kCount>(found, shared + kTogether);
  const int b = min(15, 24 - bits(static_cast<uint32_t>(seen.count - 1)));
  int down[kCount];
#pragma unroll
  for (int j = 0; j < kCount; ++j) down[j] = bits(static_cast<uint32_t>(max(found[j], 1))) - b;
  const auto weigh = [&](auto by_down) {
    each([&](int i) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) {  // the lower bytes of four weights, then the upper
        const int4 p = four(j, i);
        const auto w = [&](int p) { return weighed<by_down.value>(p, down[j], b); };
        *reinterpret_cast<int2*>(scores + j * stride + i) = split(w(p.x), w(p.y), w(p.z), w(p.w));
      }
    });
  };
  bool all_down = true;
#pragma unroll
  for (int j = 0; j < kCount; ++j) all_down = all_down && down[j] > 0;
  all_down ? weigh(std::true_type()) : weigh(std::false_type());
  __syncthreads();

  // 32 keys of a warp and 64 columns at a time, 8 of each thread.
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int column = 64 * piece + 8 * g;
    int sum[4][4] = {};
    for (int at = kKeys * warp + 4 * t; at < wide; at += kKeys * kWarps) {
      int v[2][2][4];
      stream.template wait<2>();
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int8_t* const slot = stream.slot(half);
        Values<2> values;
        for (int i = 0; i < 4; ++i) values.of[i] = *reinterpret_cast<const int2*>(slot + stream.place(4 * t + i, 8 * g));
        values.by_columns(v[half]);
      }
      const int* const by = scores + min(g % 4, kCount - 1) * stride + at + g / 4;
#pragma unroll
      for (int c = 0; c < 4; ++c)
        multiply_by_unsigned(sum[c], v[0][c / 2][2 * c % 4], v[0][c / 2][2 * c % 4 + 1], v[1][c / 2][2 * c % 4], v[1][c / 2][2 * c % 4 + 1], by[0], by[16]);
      stream.template next<2>();
    }
#pragma unroll
    for (int c = 0; c < 4; ++c)
      for (int i = 0; i < 4; ++i) {
        const int j = 2 * (t % 2) + i % 2;
        if (j < kCount && column < hd) atomicAdd(mixed + j * hd + column + 2 * c + i / 2, t < 2 ? sum[c][i] : joined(0, sum[c][i]));
      }
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kCount; ++j) {  // a warp for each query
    if (warp != j) continue;
    const Mixed m(found[kCount + j], down[j]);
    for (int i = threadIdx.x % 32; i < hd; i += 32) out[(query + j) * hd + i] = cut(shift(cut(mul31(mixed[j * hd + i], m.factor), kLimit), m.down), kLimit);
  }
}

// A block for each row and head of keys. together: queries that it works on at a time, kTogether at most.
template <int kPieces, int kSlots>  // of 64 columns; of each warp
__global__ void __launch_bounds__(kAttend, 3) attend(Heads h, const Keys* caches, const Row* rows, Queries queries, int together, int* out) {
  extern __shared__ __align__(16) int8_t slots[];
  int* const token = reinterpret_cast<int*>(slots + kAttend / 32 * kSlots * kSlot);
  __shared__ __align__(16) int shared[3 * kTogether][kAttend / 32];
  __shared__ Scored by[2][kTogether];  // as the lane's keys see a query, and the anchor's
  const Row row = rows[blockIdx.x];
  if (row.lane < 0) return;
  const Keys keys = caches[row.cache];

  const int kv = blockIdx.y, start = max(keys.anchored, row.position - keys.window + 1);
  const int a0 = keys.local ? max(0, row.position - keys.window + 1) : 0;
  const int hidden = row.slot >= 0 ? max(0, start - row.base) : 0;  // of the way, before the window
  const int of_way = row.slot >= 0 ? __popcll(row.ancestors) - hidden : 0;
  Seen seen;
  seen.from_anchor = max(0, min(keys.anchored, row.position + 1) - a0);
  seen.from_lane = max(0, row.base - start);
  seen.count = seen.from_anchor + seen.from_lane + of_way;
  const int anchored = (seen.from_anchor + 3) / 4 * 4;
  seen.all = anchored + seen.from_lane + of_way;
  seen.wide = padded(seen.all);
  seen.token = token;
  seen.key_scale = token + seen.wide;
  seen.value_scale = seen.key_scale + seen.wide;
  seen.scores = seen.value_scale + seen.wide;
  seen.mixed = seen.scores + together * (seen.wide + kApart);

  const int lane = row.lane * h.kv_heads + kv, first = start % keys.size;
  const auto find = [&](int i, int place) {
    token[i] = place;
    copy_later(seen.key_scale + i, keys.key_scale + place);
    copy_later(seen.value_scale + i, keys.value_scale + place);
  };
  for (int i = threadIdx.x; i < seen.wide; i += kAttend) {
    const int at = i - anchored;
    int place = 0;
    if (i < seen.from_anchor) {
      place = keys.anchor + kv * keys.anchored + a0 + i;
    } else if (at >= 0 && at < seen.from_lane) {
      place = lane * keys.size + (first + at >= keys.size ? first + at - keys.size : first + at);
    }
    if (at < seen.from_lane || at >= seen.from_lane + of_way) find(i, place);
  }
  if (threadIdx.x < 64 && (row.ancestors >> threadIdx.x & 1)) {
    const int depth = __popcll(row.ancestors & ((uint64_t{1} << threadIdx.x) - 1)) - hidden;
    if (depth >= 0) find(anchored + seen.from_lane + depth, keys.tree + lane * keys.branches + static_cast<int>(threadIdx.x));
  }
  for (int g0 = 0; g0 < h.group(); g0 += together) {
    const auto some = [&](auto count) { attend_some<decltype(count)::value, kPieces, kSlots>(h, keys, queries, g0, seen, slots, shared, by, out); };
    switch (min(h.group() - g0, together)) {
      case 1: some(std::integral_constant<int, 1>()); break;
      case 2: some(std::integral_constant<int, 2>()); break;
      case 3: some(std::integral_constant<int, 3>()); break;
      default: some(std::integral_constant<int, kTogether>());
    }
  }
}

// The same for runs of rows that follow one another in a lane: a block for each run and head of keys, which
// reads what all of its rows see once. At most kMostQueries rows times heads of a group. Dynamic shared memory:
// room_of_run().
constexpr int kMostQueries = 16;
__host__ __device__ inline size_t room_of_run(int keys, int queries, int head_dim) {
  const size_t wide = static_cast<size_t>(padded(keys + 7)), q = static_cast<size_t>(queries);
  return 4 * (3 + q) * (wide + kApart) + 4 * q * static_cast<size_t>(head_dim + 2);
}

template <int kSets, int kPieces>  // of eight queries, of 64 columns
__global__ void __launch_bounds__(kAttend, 3) attend_runs(Heads h, const Keys* caches, const Row* rows, Queries queries, int* out) {
  extern __shared__ __align__(16) int token[];
  constexpr int kWarps = kAttend / 32;
  __shared__ int most[kWarps][8 * kSets];
  const int first_row = rows[blockIdx.x].first;
  if (first_row < 0) return;
  const Row row = rows[first_row];
  const Keys keys = caches[row.cache];
  const int hd = h.head_dim, kv = blockIdx.y, together = h.group(), count = row.run * together;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

  // The keys that any row sees: of the anchor, filled up to eights, and of the lane.
  const int last = row.position + row.run - 1, reach = keys.window - 1;
  const int start = max(keys.anchored, row.position - reach), a0 = keys.local ? max(0, row.position - reach) : 0;
  const int from_anchor = max(0, min(keys.anchored, last + 1) - a0), from_lane = max(0, last + 1 - start);
  const int anchored = (from_anchor + 7) / 8 * 8, wide = padded(anchored + from_lane), stride = wide + kApart;
  int* const key_scale = token + wide;
  int* const value_scale = key_scale + wide;
  int* const scores = value_scale + wide;           // [queries][stride]
  int* const mixed = scores + count * stride;       // [queries][hd]
  int* const factor = mixed + count * hd;           // of a query: its mixture is multiplied by this
  int* const down_by = factor + count;              // and shifted
  const int ring = row.lane * h.kv_heads + kv, oldest = start % keys.size;
  for (int i = threadIdx.x; i < wide; i += kAttend) {
    const int at = i - anchored;
    const bool there = i < from_anchor || (at >= 0 && at < from_lane);
    int place = 0;
    if (i < from_anchor) {
      place = keys.anchor + kv * keys.anchored + a0 + i;
    } else if (there) {
      place = ring * keys.size + (oldest + at >= keys.size ? oldest + at - keys.size : oldest + at);
    }
    token[i] = place;
    if (there) {
      copy_later(key_scale + i, keys.key_scale + place);
      copy_later(value_scale + i, keys.value_scale + place);
    } else {
      key_scale[i] = value_scale[i] = 0;
    }
  }
  const size_t far = keys.local ? 0 : static_cast<size_t>(queries.rows) * h.heads;
  const auto query = [&](int j) { return static_cast<size_t>(first_row + j / together) * h.heads + kv * together + j % together; };
  for (int i = threadIdx.x; i < count * hd; i += kAttend) mixed[i] = 0;
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();

  // Scores: a thread has two keys of eight, and the queries g and g + 8. Those of keys that a row does not see are far below
  // all others, and so weigh nothing.
  const int up = 30 - bits(static_cast<uint32_t>(hd * 127 * 127));
  int largest[2] = {INT32_MIN, INT32_MIN};
  const auto score = [&](auto plain, bool anchor, const Scored (&by)[kSets], const int (&position)[kSets]) {
    // The keys that a row at a position sees of this kind.
    const auto low = [&](int p) { return anchor ? (keys.local ? max(0, p - reach) - a0 : 0) : anchored + max(keys.anchored, p - reach) - start; };
    const auto high = [&](int p) { return anchor ? min(keys.anchored, p + 1) - a0 : anchored + p + 1 - start; };
    int from[kSets], seen[kSets], own_query[kPieces][8] = {};  // as the products take them
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
      from[set] = low(position[set]);
      seen[set] = max(0, high(position[set]) - from[set]);
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
        const int j = g + 8 * set, c = 64 * piece + 16 * t;
        if (j >= count || c >= hd) continue;
        const int4 q = *reinterpret_cast<const int4*>(queries.q + (query(j) + (anchor ? far : 0)) * hd + c);
        int(&to)[8] = own_query[piece];
        to[set] = q.x, to[2 + set] = q.y, to[4 + set] = q.z, to[6 + set] = q.w;
      }
    }
    const int all_from = low(last), all_to = high(row.position), end = anchor ? anchored : wide;
    constexpr int kAhead = kPieces == 1 ? 4 : kPieces == 2 ? 2 : 1, kStep = 8 * kWarps;  // eights of keys that are read together
    for (int begin = (anchor ? 0 : anchored) + 8 * warp; begin < end; begin += kAhead * kStep) {
      int4 k[kAhead][kPieces];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int of = token[min(begin + i * kStep, end - 8) + g];
#pragma unroll
        for (int piece = 0; piece < kPieces; ++piece) k[i][piece] = read<int4>(keys.key, of, hd, min(64 * piece + 16 * t, hd - 16));
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int first = begin + i * kStep;
        if (first >= end) break;
        const int2 scale = *reinterpret_cast<const int2*>(key_scale + first + 2 * t);
        int dot[4] = {};
#pragma unroll
        for (int piece = 0; piece < kPieces; ++piece) {
          const int(&q)[8] = own_query[piece];
          multiply_add(dot, q[0], q[1], q[2], q[3], k[i][piece].x, k[i][piece].y);
          multiply_add(dot, q[4], q[5], q[6], q[7], k[i][piece].z, k[i][piece].w);
        }
        const bool all = first >= all_from && first + 8 <= all_to;
#pragma unroll
        for (int set = 0; set < kSets; ++set) {
          int2 s = {by[set].template of<plain.value>(dot[2 * set], up, scale.x), by[set].template of<plain.value>(dot[2 * set + 1], up, scale.y)};
          if (__builtin_expect(!all, 0)) {
            const auto of = static_cast<uint32_t>(first + 2 * t - from[set]);
            if (of >= static_cast<uint32_t>(seen[set])) s.x = INT32_MIN;
            if (of + 1 >= static_cast<uint32_t>(seen[set])) s.y = INT32_MIN;
          }
          largest[set] = max(largest[set], max(s.x, s.y));
          if (g + 8 * set < count) *reinterpret_cast<int2*>(scores + (g + 8 * set) * stride + first + 2 * t) = s;
        }
      }
    }
  };
  for (const bool anchor : {true, false}) {
    if (anchor && from_anchor == 0) continue;
    Scored by[kSets];
    int position[kSets];
    bool plain = true;
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
      const int j = min(g + 8 * set, count - 1);
      const size_t of = query(j) + (anchor ? far : 0);
      by[set] = {queries.factor[of], min(queries.down[of], 31)};
      position[set] = row.position + j / together;
      plain = plain && by[set].down > 0;
    }
    if (__all_sync(~0u, plain)) {
      score(std::true_type(), anchor, by, position);
    } else {
      score(std::false_type(), anchor, by, position);
    }
  }
#pragma unroll
  for (int set = 0; set < kSets; ++set) {
    for (int i = 1; i < 4; i *= 2) largest[set] = max(largest[set], __shfl_xor_sync(~0u, largest[set], i));
    if (t == 0) most[warp][8 * set + g] = largest[set];
  }
  __syncthreads();

  // Weights: a warp for each query, four keys of a thread at a time. The lower bytes of four come first, then the upper.
  for (int j = warp; j < count; j += kWarps) {
    int* const own_scores = scores + j * stride;
    const int best = __reduce_max_sync(~0u, most[lane % kWarps][j]);
    int peak = 0, total = 0;
#pragma unroll 2
    for (int i = 4 * lane; i < wide; i += 128) {
      int4& at = *reinterpret_cast<int4*>(own_scores + i);
      const int4 x = at, scale = *reinterpret_cast<const int4*>(value_scale + i);
      const auto weight = [&](int s, int by) { return weight_of(s, best, by, peak, total); };
      at = {weight(x.x, scale.x), weight(x.y, scale.y), weight(x.z, scale.z), weight(x.w, scale.w)};
    }
    peak = __reduce_max_sync(~0u, peak);
    total = __reduce_add_sync(~0u, total);
    const int position = row.position + j / together;
    const int oldest_seen = max(0, position - reach);
    const int sees = max(0, min(keys.anchored, position + 1) - (keys.local ? oldest_seen : 0)) + max(0, position + 1 - max(keys.anchored, oldest_seen));
    const int b = min(15, 24 - bits(static_cast<uint32_t>(sees - 1))), down = bits(static_cast<uint32_t>(max(peak, 1))) - b;
    const auto weigh = [&](auto by_down) {
#pragma unroll 2
      for (int i = 4 * lane; i < wide; i += 128) {
        const int4 x = *reinterpret_cast<const int4*>(own_scores + i);
        const auto w = [&](int p) { return weighed<by_down.value>(p, down, b); };
        *reinterpret_cast<int2*>(own_scores + i) = split(w(x.x), w(x.y), w(x.z), w(x.w));
      }
    };
    down > 0 ? weigh(std::true_type()) : weigh(std::false_type());
    if (lane == 0) {
      const Mixed m(total, down);
      factor[j] = m.factor;
      down_by[j] = m.down;
    }
  }
  __syncthreads();

  // Mixtures: a warp has every kWarps / kSets-th 32 keys and as many of 64 columns as kSets leave it, kWide of them a thread.
  constexpr int kWide = 8 / kSets, kAhead = 2, kStep = kKeys * (kWarps / kSets);
  for (int left = 0; left < hd; left += 64) {
    const int column = left + 64 / kSets * (warp % kSets) + kWide * g, there = min(column, hd - kWide);
    int sum[kSets][kWide][4] = {};
    for (int begin = kKeys * (warp / kSets) + 4 * t; begin < wide; begin += kAhead * kStep) {
      Values<kWide / 4> values[kAhead][2];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int* const at = token + (begin + i * kStep < wide ? begin + i * kStep : begin);
        for (int half = 0; half < 2; ++half) values[i][half].read_from(keys.value, at + 16 * half, hd, there);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (begin + i * kStep >= wide) break;
        int v[2][kWide / 4][4];
        for (int half = 0; half < 2; ++half) values[i][half].by_columns(v[half]);
#pragma unroll
        for (int set = 0; set < kSets; ++set) {
          const int* const at = scores + min(g + 8 * set, count - 1) * stride + begin + i * kStep;
          const int2 near = *reinterpret_cast<const int2*>(at), behind = *reinterpret_cast<const int2*>(at + 16);
#pragma unroll
          for (int c = 0; c < kWide; ++c)
            multiply_add_unsigned(sum[set][c], near.x, near.y, behind.x, behind.y, v[0][c / 4][c % 4], v[1][c / 4][c % 4]);
        }
      }
    }
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
      if (g + 8 * set >= count) continue;
#pragma unroll
      for (int c = 0; c < kWide; ++c)
        for (int i = 0; i < 2; ++i) {
          const int to = column + kWide * (2 * t + i - g) + c;
          if (to < hd) atomicAdd(mixed + (g + 8 * set) * hd + to, joined(sum[set][c][i], sum[set][c][2 + i]));
        }
    }
  }
  __syncthreads();
  for (int j = warp; j < count; j += kWarps) {
    int* const to = out + query(j) * hd;
    for (int c = lane; c < hd; c += 32) to[c] = cut(shift(cut(mul31(mixed[j * hd + c], factor[j]), kLimit), down_by[j]), kLimit);
  }
}

// A way in a tree of a lane, from its end to its beginning.
constexpr int kTree = 64;  // rows of a tree
struct Way {
  int lane, rows;
  struct {
    int slot, position;
  } row[kTree];
};
// Makes it part of its lane: a block for each row, head of keys and layer. keys: of each layer, `stride` apart.
__global__ void keep_rows(Heads h, const Keys* all, int stride, Way way) {
  const Keys keys = all[blockIdx.z * stride];
  const int lane = way.lane * h.kv_heads + static_cast<int>(blockIdx.y);
  const int from = keys.tree + lane * keys.branches + way.row[blockIdx.x].slot, to = lane * keys.size + way.row[blockIdx.x].position % keys.size;
  for (int i = threadIdx.x; i < h.head_dim; i += blockDim.x) {
    keys.key[static_cast<size_t>(to) * h.head_dim + i] = keys.key[static_cast<size_t>(from) * h.head_dim + i];
    keys.value[static_cast<size_t>(to) * h.head_dim + i] = keys.value[static_cast<size_t>(from) * h.head_dim + i];
  }
  if (threadIdx.x == 0) {
    keys.key_scale[to] = keys.key_scale[from];
    keys.value_scale[to] = keys.value_scale[from];
  }
}

}  // namespace lmc::cuda
