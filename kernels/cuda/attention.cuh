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
    each([&](int, int a, int b) { total += int64_t{a >> s} * (a >> s) + int64_t{b >> s} * (b >> s); });
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

__device__ inline int exp2_negative(int d) {  // 2^-(d / 2048), Q30
  const int i = min(d >> 11, 31), f = (d & 2047) << 4;
  const auto h = [](int a, int b) { return (a * b + (1 << 14)) >> 15; };
  const int y = 32767 - h(f, 22657 - h(f, 7572 - h(f, 1300)));
  return (y << 15) >> i;
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
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    v[j] = shared[j][0];
#pragma unroll
    for (int i = 1; i < kAttend / 32; ++i) v[j] = j < kMost ? max(v[j], shared[j][i]) : v[j] + shared[j][i];
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

// A weight of b bits.
__device__ inline int weighed(int p, int down, int b) {
  const int w = down > 0 ? rounded(p, down) : p << -down;
  return min(w, (1 << b) - 1);
}
// The lower and the upper bytes of four weights.
__device__ inline int2 split(int x, int y, int z, int w) {
  const int xy = static_cast<int>(__byte_perm(x, y, 0x5140)), zw = static_cast<int>(__byte_perm(z, w, 0x5140));
  return {static_cast<int>(__byte_perm(xy, zw, 0x5410)), static_cast<int>(__byte_perm(xy, zw, 0x7632))};
}
__device__ inline int joined(int low, int high) { return low + static_cast<int>(static_cast<uint32_t>(high) << 8); }
// Eight columns, from `column` on, of the values of four tokens, by columns.
__device__ inline void values_of(const Keys& keys, const int* token, bool there, int hd, int column, int (&to)[2][4]) {
  int2 x[4] = {};
  const int4 tokens = *reinterpret_cast<const int4*>(token);
  if (there) {
    const auto read = [&](int of) { return *reinterpret_cast<const int2*>(keys.value + static_cast<size_t>(of) * hd + column); };
    x[0] = read(tokens.x), x[1] = read(tokens.y), x[2] = read(tokens.z), x[3] = read(tokens.w);
  }
  transpose(x[0].x, x[1].x, x[2].x, x[3].x, to[0]);
  transpose(x[0].y, x[1].y, x[2].y, x[3].y, to[1]);
}
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

// Shared memory of a block that attends one row: tokens, then scores and mixtures of queries.
__host__ __device__ inline size_t room_of_row(int keys, int queries, int head_dim) {
  const size_t wide = static_cast<size_t>(padded(keys + 3));
  return 4 * (wide + static_cast<size_t>(queries) * (wide + kApart + static_cast<size_t>(head_dim)));
}

// The keys of a block that attends one row: first the anchor's, filled up to a multiple of four, then the lane's, then those
// of the row's way in its tree. token: where they lie, of `wide` places; scores: [queries][wide + kApart]; mixed:
// [queries][head_dim].
struct Seen {
  int count, from_anchor, from_lane, all, wide;
  int *token, *scores, *mixed;
};

// One row and kCount queries of a head of keys, from the query g0 of its group on. Sums of e >> 12 stay below 2^30: there
// are at most 4096 keys.
//
// Both products are the tensor cores', with keys, then columns of values, as their 16 rows, read as they lie: which of a
// product's places they take is free, because sums are exact. Their 8 columns are four queries as the lane's keys see
// them and as the anchor's do; then the lower and the upper bytes of the weights of four queries.
template <int kCount, int kPieces>
__device__ inline void attend_some(const Heads& h, const Keys& keys, const Queries& queries, int g0, const Seen& seen,
                                   int (*shared)[kAttend / 32], int* out) {
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
  __syncthreads();
  for (int i = threadIdx.x; i < kCount * hd; i += kAttend) mixed[i] = 0;

#pragma unroll 4
  for (int first = 16 * warp; first < seen.all; first += 16 * kWarps) {
    const int8_t* const one = keys.key + static_cast<size_t>(token[first + g]) * hd;
    const int8_t* const two = keys.key + static_cast<size_t>(token[first + g + 8]) * hd;
    int dot[4] = {};
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      const int c = 64 * piece + 16 * t;
      int4 upper{}, lower{};
      if (c < hd) {
        upper = *reinterpret_cast<const int4*>(one + c);
        lower = *reinterpret_cast<const int4*>(two + c);
      }
      multiply_add(dot, upper, lower, own[piece]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = first + g + 8 * (i / 2), j = 2 * (t % 2) + i % 2;
      if (j < kCount && (at < seen.from_anchor) == (t >= 2)) scores[j * stride + at] = dot[i];
    }
  }
  __syncthreads();

  // Four keys of a thread at a time, all of the anchor or none.
  const int up = 30 - bits(static_cast<uint32_t>(hd * 127 * 127));
  const auto each = [&](auto&& work) {
    for (int i = 4 * static_cast<int>(threadIdx.x); i < wide; i += 4 * kAttend) work(i, *reinterpret_cast<const int4*>(token + i));
  };
  const auto four = [&](int j, int i) -> int4& { return *reinterpret_cast<int4*>(scores + j * stride + i); };
  int largest[kCount];
  for (int& l : largest) l = INT32_MIN;
  each([&](int i, const int4& of) {
    const int scale[4] = {keys.key_scale[of.x], keys.key_scale[of.y], keys.key_scale[of.z], keys.key_scale[of.w]};
    const bool anchor = i < seen.from_anchor;
    const int left = (anchor ? seen.from_anchor : seen.all) - i;  // what is not there is far below all others, and so weighs nothing
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const size_t by = query + j + (anchor ? far : 0);
      const int factor = queries.factor[by], down = queries.down[by];
      const int4 dot = four(j, i);
      const auto raw = [&](int d, int c) { return mul31(mul31(static_cast<int>(static_cast<uint32_t>(d) << up), factor), scale[c]); };
      int s[4] = {raw(dot.x, 0), raw(dot.y, 1), raw(dot.z, 2), raw(dot.w, 3)};
      if (down > 0) {  // for most threads the same
#pragma unroll
        for (int& v : s) v = cut(rounded(v, down), kScoreLimit);
      } else {
#pragma unroll
        for (int& v : s) v = cut(shift(v, down), kScoreLimit);
      }
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (c >= left) s[c] = INT32_MIN;
        largest[j] = max(largest[j], s[c]);
      }
      four(j, i) = {s[0], s[1], s[2], s[3]};
    }
  });
  all_of<kCount>(largest, shared);
  int found[2 * kCount] = {};  // the largest products, the sums of weights
  each([&](int i, const int4& of) {
    const int scale[4] = {keys.value_scale[of.x], keys.value_scale[of.y], keys.value_scale[of.z], keys.value_scale[of.w]};
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int4 x = four(j, i);
      int s[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const uint32_t distance = static_cast<uint32_t>(largest[j]) - static_cast<uint32_t>(s[c]);
        const int e = exp2_negative(static_cast<int>(min(distance, 0xFFFFu)));
        s[c] = mul31(e, scale[c]);
        found[j] = max(found[j], s[c]);
        found[kCount + j] += e >> 12;
      }
      four(j, i) = {s[0], s[1], s[2], s[3]};
    }
  });
  all_of<kCount>(found, shared + kTogether);
  const int b = min(15, 24 - bits(static_cast<uint32_t>(seen.count - 1)));
  int down[kCount];
#pragma unroll
  for (int j = 0; j < kCount; ++j) down[j] = bits(static_cast<uint32_t>(max(found[j], 1))) - b;
  each([&](int i, const int4&) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {  // the lower bytes of four weights, then the upper
      const int4 p = four(j, i);
      *reinterpret_cast<int2*>(scores + j * stride + i) =
          split(weighed(p.x, down[j], b), weighed(p.y, down[j], b), weighed(p.z, down[j], b), weighed(p.w, down[j], b));
    }
  });
  __syncthreads();

  // 32 keys of a warp and 64 columns at a time, 8 of each thread.
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int column = 64 * piece + 8 * g;
    int sum[4][4] = {};
    for (int first = kKeys * warp; first < wide; first += kKeys * kWarps) {
      int by[2] = {}, v[2][2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = first + 16 * half + 4 * t;
        if (g % 4 < kCount) by[half] = scores[g % 4 * stride + at + g / 4];
        values_of(keys, token + at, column < hd, hd, column, v[half]);
      }
#pragma unroll
      for (int c = 0; c < 4; ++c)
        multiply_by_unsigned(sum[c], v[0][c / 2][2 * c % 4], v[0][c / 2][2 * c % 4 + 1], v[1][c / 2][2 * c % 4], v[1][c / 2][2 * c % 4 + 1], by[0], by[1]);
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

// A block for each row and head of keys. (Values by asynchronous copies while keys are weighed: slower, because fewer
// blocks find room beside one another.)
template <int kPieces>  // of 64 columns
__global__ void __launch_bounds__(kAttend, 4) attend(Heads h, const Keys* caches, const Row* rows, Queries queries, int* out) {
  extern __shared__ __align__(16) int token[];
  __shared__ int shared[3 * kTogether][kAttend / 32];
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
  seen.scores = token + seen.wide;
  seen.mixed = seen.scores + min(h.group(), kTogether) * (seen.wide + kApart);

  const int lane = row.lane * h.kv_heads + kv, first = start % keys.size;
  for (int i = threadIdx.x; i < seen.wide; i += kAttend) {
    const int at = i - anchored;
    int place = 0;
    if (i < seen.from_anchor) {
      place = keys.anchor + kv * keys.anchored + a0 + i;
    } else if (at >= 0 && at < seen.from_lane) {
      place = lane * keys.size + (first + at >= keys.size ? first + at - keys.size : first + at);
    }
    if (at < seen.from_lane || at >= seen.from_lane + of_way) token[i] = place;
  }
  if (threadIdx.x < 64 && (row.ancestors >> threadIdx.x & 1)) {
    const int depth = __popcll(row.ancestors & ((uint64_t{1} << threadIdx.x) - 1)) - hidden;
    if (depth >= 0) token[anchored + seen.from_lane + depth] = keys.tree + lane * keys.branches + static_cast<int>(threadIdx.x);
  }
  for (int g0 = 0; g0 < h.group(); g0 += kTogether) {
    const auto some = [&](auto count) { attend_some<decltype(count)::value, kPieces>(h, keys, queries, g0, seen, shared, out); };
    switch (h.group() - g0) {
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
  const size_t wide = static_cast<size_t>(padded(keys)), q = static_cast<size_t>(queries);
  return 4 * (3 + q) * (wide + kApart) + 2 * q * static_cast<size_t>(head_dim) + 4 * q * static_cast<size_t>(head_dim + 2);
}

template <int kSets, int kPieces>  // of eight queries, of 64 columns
__global__ void __launch_bounds__(kAttend, 3) attend_runs(Heads h, const Keys* caches, const Row* rows, Queries queries, int* out) {
  extern __shared__ __align__(16) int token[];
  constexpr int kWarps = kAttend / 32;
  const int first_row = rows[blockIdx.x].first;
  if (first_row < 0) return;
  const Row row = rows[first_row];
  const Keys keys = caches[row.cache];
  const int hd = h.head_dim, kv = blockIdx.y, together = h.group(), count = row.run * together;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

  // The keys that any row sees: of the anchor, of the lane.
  const int last = row.position + row.run - 1, reach = keys.window - 1;
  const int start = max(keys.anchored, row.position - reach), a0 = keys.local ? max(0, row.position - reach) : 0;
  const int from_anchor = max(0, min(keys.anchored, last + 1) - a0), from_lane = max(0, last + 1 - start);
  const int n = from_anchor + from_lane, wide = padded(n), stride = wide + kApart;
  int* const key_scale = token + wide;
  int* const value_scale = key_scale + wide;
  int* const scores = value_scale + wide;           // [queries][stride]
  int* const mixed = scores + count * stride;       // [queries][hd]
  int8_t* const own = reinterpret_cast<int8_t*>(mixed + count * hd);  // [2][queries][hd]
  int* const factor = reinterpret_cast<int*>(own + 2 * count * hd);   // of a query: its mixture is multiplied by this
  int* const down_by = factor + count;                                // and shifted
  const int ring = row.lane * h.kv_heads + kv, oldest = start % keys.size;
  for (int i = threadIdx.x; i < wide; i += kAttend) {
    const int at = i - from_anchor;
    int place = 0;
    if (i < from_anchor) {
      place = keys.anchor + kv * keys.anchored + a0 + i;
    } else if (i < n) {
      place = ring * keys.size + (oldest + at >= keys.size ? oldest + at - keys.size : oldest + at);
    }
    token[i] = place;
    key_scale[i] = i < n ? keys.key_scale[place] : 0;
    value_scale[i] = i < n ? keys.value_scale[place] : 0;
  }
  const size_t far = keys.local ? 0 : static_cast<size_t>(queries.rows) * h.heads;
  const auto query = [&](int j) { return static_cast<size_t>(first_row + j / together) * h.heads + kv * together + j % together; };
  for (int j = warp; j < count; j += kWarps) {
    const size_t of = query(j);
    for (int c = lane; c < hd / 4; c += 32) {
      reinterpret_cast<int*>(own + j * hd)[c] = reinterpret_cast<const int*>(queries.q + of * hd)[c];
      if (from_anchor > 0) reinterpret_cast<int*>(own + (count + j) * hd)[c] = reinterpret_cast<const int*>(queries.q + (of + far) * hd)[c];
    }
    for (int c = lane; c < hd; c += 32) mixed[j * hd + c] = 0;
  }
  __syncthreads();

  const int anchored = (from_anchor + 7) / 8, groups = anchored + (from_lane + 7) / 8;
#pragma unroll 4
  for (int group = warp; group < groups; group += kWarps) {
    const bool a = group < anchored;
    const int first = a ? 8 * group : from_anchor + 8 * (group - anchored), end = a ? from_anchor : n;
    const int8_t* const key = keys.key + static_cast<size_t>(token[min(first + g, end - 1)]) * hd;
    const int8_t* const by = own + (a ? count * hd : 0);
    int dot[4] = {};
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      const int c = 64 * piece + 16 * t;
      int4 k{}, upper{}, lower{};
      if (c < hd) {
        k = *reinterpret_cast<const int4*>(key + c);
        if (g < count) upper = *reinterpret_cast<const int4*>(by + g * hd + c);
        if (kSets > 1 && g + 8 < count) lower = *reinterpret_cast<const int4*>(by + (g + 8) * hd + c);
      }
      multiply_add(dot, upper.x, lower.x, upper.y, lower.y, k.x, k.y);
      multiply_add(dot, upper.z, lower.z, upper.w, lower.w, k.z, k.w);
    }
#pragma unroll
    for (int i = 0; i < 2 * kSets; ++i) {
      const int j = g + 8 * (i / 2), at = first + 2 * t + i % 2;
      if (j < count && at < end) scores[j * stride + at] = dot[i];
    }
  }
  __syncthreads();

  // A warp for each query.
  const int up = 30 - bits(static_cast<uint32_t>(hd * 127 * 127));
  for (int j = warp; j < count; j += kWarps) {
    const int position = row.position + j / together;
    const int a_low = keys.local ? max(0, position - reach) - a0 : 0, a_high = max(a_low, min(keys.anchored, position + 1) - a0);
    const int low = from_anchor + max(keys.anchored, position - reach) - start, high = max(low, from_anchor + position + 1 - start);
    // Four keys at a time. What a row does not see is far below all it sees, and so weighs nothing.
    const auto anchors = static_cast<uint32_t>(a_high - a_low), nears = static_cast<uint32_t>(high - low);
    const size_t near = query(j), afar = near + (a_low < a_high ? far : 0);
    const int near_factor = queries.factor[near], far_factor = queries.factor[afar], near_down = queries.down[near], far_down = queries.down[afar];
    const auto each = [&](auto&& work) {
#pragma unroll 2
      for (int i = 4 * lane; i < wide; i += 128) {
        int4& at = *reinterpret_cast<int4*>(scores + j * stride + i);
        int4 x = at;
        work(x.x, i), work(x.y, i + 1), work(x.z, i + 2), work(x.w, i + 3);
        at = x;
      }
    };
    int largest = INT32_MIN, peak = 0, total = 0;
    each([&](int& s, int i) {
      const bool anchor = i < from_anchor;
      const int v = mul31(mul31(static_cast<int>(static_cast<uint32_t>(s) << up), anchor ? far_factor : near_factor), key_scale[i]);
      const bool sees = static_cast<uint32_t>(i - a_low) < anchors || static_cast<uint32_t>(i - low) < nears;
      s = sees ? cut(shift(v, anchor ? far_down : near_down), kScoreLimit) : INT32_MIN;
      largest = max(largest, s);
    });
    largest = __reduce_max_sync(~0u, largest);
    each([&](int& s, int i) {
      const uint32_t distance = static_cast<uint32_t>(largest) - static_cast<uint32_t>(s);
      const int e = exp2_negative(static_cast<int>(min(distance, 0xFFFFu)));
      total += e >> 12;
      s = mul31(e, value_scale[i]);
      peak = max(peak, s);
    });
    peak = __reduce_max_sync(~0u, peak);
    total = __reduce_add_sync(~0u, total);
    const int b = min(15, 24 - bits(anchors + nears - 1));
    const int down = bits(static_cast<uint32_t>(max(peak, 1))) - b;
    each([&](int& s, int) { s = weighed(s, down, b); });
    if (lane == 0) {
      const Mixed m(total, down);
      factor[j] = m.factor;
      down_by[j] = m.down;
    }
  }
  __syncthreads();

  // Each warp works on one of the sets.
  const int set = 8 * (warp % kSets);
  for (int left = 0; left < hd; left += 64) {
    int sum[8][4] = {};
    const bool there = left + 8 * g < hd;
    for (int first = kKeys * (warp / kSets); first < wide; first += kKeys * (kWarps / kSets)) {
      int a[2][2] = {}, v[2][2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = first + 16 * half + 4 * t;
        if (set + g < count) {
          const int4 w = *reinterpret_cast<const int4*>(scores + (set + g) * stride + at);
          const int2 bytes = split(w.x, w.y, w.z, w.w);
          a[0][half] = bytes.x, a[1][half] = bytes.y;
        }
        values_of(keys, token + at, there, hd, left + 8 * g, v[half]);
      }
#pragma unroll
      for (int c = 0; c < 8; ++c) multiply_add_unsigned(sum[c], a[0][0], a[1][0], a[0][1], a[1][1], v[0][c / 4][c % 4], v[1][c / 4][c % 4]);
    }
    if (set + g >= count) continue;
#pragma unroll
    for (int c = 0; c < 8; ++c)
      for (int i = 0; i < 2; ++i) {
        const int column = left + 8 * (2 * t + i) + c;
        if (column < hd) atomicAdd(mixed + (set + g) * hd + column, joined(sum[c][i], sum[c][2 + i]));
      }
  }
  __syncthreads();
  for (int j = warp; j < count; j += kWarps) {
    int* const to = out + query(j) * hd;
    for (int c = lane; c < hd; c += 32) to[c] = cut(shift(cut(mul31(mixed[j * hd + c], factor[j]), kLimit), down_by[j]), kLimit);
  }
}

// Makes rows of trees part of their lanes: a block for each kept row and head of keys.
struct Kept {
  int lane, slot, position;
};
__global__ void keep_rows(Heads h, Keys keys, const Kept* kept) {
  const Kept k = kept[blockIdx.x];
  const int lane = k.lane * h.kv_heads + static_cast<int>(blockIdx.y);
  const int from = keys.tree + lane * keys.branches + k.slot, to = lane * keys.size + k.position % keys.size;
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
