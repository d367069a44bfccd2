// Rotary positions, the caches of keys and values, and attention over them.
#pragma once
#include <type_traits>

#include "matmul.cuh"

namespace lmc::cuda {

// Keys and values of one layer, tokens of all kinds side by side: a ring for each lane and head, which holds
// the newest tokens by position modulo its size; the anchor of each head, which all lanes share; and for each
// lane and head places for the rows of a tree, until one way of it is kept.
struct Keys {
  int8_t *key, *value;           // [tokens][head_dim]
  int *key_scale, *value_scale;  // [tokens]
  int size, window;              // of a ring; and the newest keys that a row sees
  int anchor, tree;              // the first tokens of these kinds
  bool local;                    // the layer has a reach: it sees the anchor as keys before the lane
};
struct Heads {
  int heads, kv_heads, head_dim, anchor, chunk, far;  // far: the last position from which the anchor is seen
  __host__ __device__ int group() const { return heads / kv_heads; }
};

// Queries of a pass, as the lane's own keys see them, then as the anchor does: [2][rows][heads].
struct Queries {
  int8_t* q;  // [..][head_dim]
  int *factor, *down;
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
__global__ void turn_angles(Heads h, const Row* rows, const uint64_t* frequency, const int* table, int* turns) {
  const Row& row = rows[blockIdx.x];
  if (row.lane < 0) return;
  const int half = h.head_dim / 2;
  int* const to = turns + static_cast<size_t>(blockIdx.x) * 4 * half;
  for (int i = threadIdx.x; i < half; i += blockDim.x) {
    const uint64_t near = static_cast<uint64_t>(row.position) * frequency[i];
    const uint64_t far = static_cast<uint64_t>(min(row.position, h.far)) * frequency[i];
    to[i] = sine(near + (uint64_t{1} << 62), table);
    to[half + i] = sine(near, table);
    to[2 * half + i] = sine(far + (uint64_t{1} << 62), table);
    to[3 * half + i] = sine(far, table);
  }
}

// The token that a row writes.
__device__ inline int place(const Heads& h, const Keys& keys, const Row& row, int head) {
  if (row.position < h.anchor) return keys.anchor + head * h.anchor + row.position;
  const int lane = row.lane * h.kv_heads + head;
  if (row.slot >= 0) return keys.tree + lane * h.chunk + row.slot;
  return lane * keys.size + row.position % keys.size;
}

// The norms of a layer's query and key heads; no gain: there is none.
struct HeadNorms {
  const int *gain[2];  // of queries, of keys
  int exponent[2];
  int64_t eps;
};

constexpr int kTurned = 8;  // warps of a block, each with a vector

// A warp for each vector of a row: queries as the lane sees them, as the anchor does, keys, values. qkv: [rows][all].
__global__ void turn(Heads h, Keys keys, const Row* rows, const int* qkv, const int* turns, HeadNorms norms, Queries out) {
  const int lane = threadIdx.x % 32, half = h.head_dim / 2, up = 30 - bits(static_cast<uint32_t>(h.head_dim * 127 * 127));
  const Row& row = rows[blockIdx.x];
  if (row.lane < 0) return;
  const int item = static_cast<int>(blockIdx.y * kTurned + threadIdx.x / 32);
  if (item >= 2 * (h.heads + h.kv_heads)) return;
  const bool far = item >= h.heads && item < 2 * h.heads;
  const int head = item < 2 * h.heads ? item % h.heads : item - h.heads;  // among queries, then keys, then values
  if (far && (h.anchor == 0 || keys.local)) return;
  const int* const y = qkv + static_cast<size_t>(blockIdx.x) * (h.heads + 2 * h.kv_heads) * h.head_dim + static_cast<size_t>(head) * h.head_dim;
  int v[8], peak = 0;  // pairs (lane + 32 i, the same plus half)
  const int pairs = (half + 31) / 32;
  for (int i = 0; i < pairs; ++i) {
    const int at = lane + 32 * i;
    v[2 * i] = at < half ? y[at] : 0;
    v[2 * i + 1] = at < half ? y[half + at] : 0;
    peak = max(peak, max(abs(v[2 * i]), abs(v[2 * i + 1])));
  }
  peak = __reduce_max_sync(~0u, peak);
  const int kind = head < h.heads ? 0 : 1;
  if (head < h.heads + h.kv_heads && norms.gain[kind]) {
    const int* const gain = norms.gain[kind];
    const int m = max(1, peak), s = max(0, bits(static_cast<uint32_t>(m)) - 24), nx = 31 - bits(static_cast<uint32_t>(m));
    int64_t total = 0;
    for (int i = 0; i < 2 * pairs; ++i) total += int64_t{v[i] >> s} * (v[i] >> s);
    const uint64_t mean = static_cast<uint64_t>(max(int64_t{1}, warp_sum(total) / h.head_dim + (norms.eps >> (2 * s))));
    const int j = (62 - bits(mean)) >> 1, down = nx + norms.exponent[kind] + s - j - 17;
    const int64_t inverse = (int64_t{1} << 61) / static_cast<int64_t>(square_root(mean << (2 * j)));
    const int d = static_cast<int>(min(inverse, int64_t{INT32_MAX}));
    peak = 0;
    for (int i = 0; i < 2 * pairs; ++i) {
      const int at = lane + 32 * (i / 2), by = at < half ? gain[i % 2 ? half + at : at] : 0;
      const int z = mul31(static_cast<int>(static_cast<uint32_t>(v[i]) << nx), by);
      v[i] = cut(shift(cut(mul31(z, d), kLimit), down), kLimit);
      peak = max(peak, abs(v[i]));
    }
    peak = __reduce_max_sync(~0u, peak);
  }
  int n1 = 0;
  if (head < h.heads + h.kv_heads) {  // values are not turned
    n1 = room(peak);
    const int* const by = turns + (static_cast<size_t>(blockIdx.x) * 4 + (far ? 2 : 0)) * half;
    peak = 0;
    for (int i = 0; i < pairs; ++i) {
      const int at = lane + 32 * i, c = at < half ? by[at] : 0, s = at < half ? by[half + at] : 0;
      const int h1 = static_cast<int>(static_cast<uint32_t>(v[2 * i]) << n1), h2 = static_cast<int>(static_cast<uint32_t>(v[2 * i + 1]) << n1);
      v[2 * i] = mul31(h1, c) - mul31(h2, s);
      v[2 * i + 1] = mul31(h2, c) + mul31(h1, s);
      peak = max(peak, max(abs(v[2 * i]), abs(v[2 * i + 1])));
    }
    peak = __reduce_max_sync(~0u, peak);
  }
  peak = max(peak, 1);
  const Scaled scaled(peak);
  int8_t* to;
  if (head < h.heads) {
    const size_t at = (static_cast<size_t>(far) * gridDim.x + blockIdx.x) * h.heads + head;
    to = out.q + at * h.head_dim;
    if (lane == 0) {
      out.factor[at] = mul31(scaled.mantissa, kC16129);
      out.down[at] = up + n1 + scaled.nb - 23;
    }
  } else {
    const bool key = head < h.heads + h.kv_heads;
    const int at = place(h, keys, row, (head - h.heads) % h.kv_heads);
    to = (key ? keys.key : keys.value) + static_cast<size_t>(at) * h.head_dim;
    if (lane == 0) {
      const int left = 7 - n1;
      const int64_t wide = !key ? int64_t{peak} << 6 : left >= 0 ? int64_t{peak} << left : (int64_t{peak} + (int64_t{1} << (-left - 1))) >> -left;
      (key ? keys.key_scale : keys.value_scale)[at] = static_cast<int>(min(wide, int64_t{INT32_MAX}));
    }
  }
  for (int i = 0; i < pairs; ++i) {
    const int at = lane + 32 * i;
    if (at >= half) continue;
    to[at] = scaled(v[2 * i]);
    to[half + at] = scaled(v[2 * i + 1]);
  }
}

__device__ inline int exp2_negative(int d) {  // 2^-(d / 2048), Q30
  const int i = min(d >> 11, 31), f = (d & 2047) << 4;
  const auto h = [](int a, int b) { return (a * b + (1 << 14)) >> 15; };
  const int y = 32767 - h(f, 22657 - h(f, 7572 - h(f, 1300)));
  return (y << 15) >> i;
}

constexpr int kAttend = 256;  // threads of a block
constexpr int kTogether = 4;  // queries of a head group that a block works on at a time, at most

// Over all threads of a block, kCount numbers at once; `most`: the largest, else the sum.
template <int kCount, bool kMost>
__device__ inline void all_of(int (&v)[kCount], int (*shared)[kAttend / 32]) {
#pragma unroll
  for (int j = 0; j < kCount; ++j) v[j] = kMost ? __reduce_max_sync(~0u, v[j]) : __reduce_add_sync(~0u, v[j]);
  __syncthreads();
  if (threadIdx.x % 32 == 0)
    for (int j = 0; j < kCount; ++j) shared[j][threadIdx.x / 32] = v[j];
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    v[j] = shared[j][0];
    for (int i = 1; i < kAttend / 32; ++i) v[j] = kMost ? max(v[j], shared[j][i]) : v[j] + shared[j][i];
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

constexpr int kKeys = 32;  // that a warp weighs at a time
__host__ __device__ inline int padded(int keys) { return (keys + kKeys - 1) / kKeys * kKeys; }

// One row and kCount queries of a head of keys, from the query g0 of its group on. Dynamic shared memory:
// 1 + kCount integers for each key, padded. Sums of e >> 12 stay below 2^30: there are at most 4096 keys.
//
// Both products are the tensor cores', with the queries as the first rows of 16: keys and values are read as
// they lie, and which of a product's places they take is free, because sums are exact.
template <int kCount>
__device__ inline void attend_some(const Heads& h, const Keys& keys, const Row& row, const Queries& queries, int g0, int n, int from_anchor,
                                   const int* token, int* scores, int* out) {
  constexpr int kWarps = kAttend / 32;
  __shared__ int shared[kCount][kWarps];
  __shared__ __align__(16) int8_t own[2][kCount][256];
  __shared__ int mixed[kCount][256];
  const int hd = h.head_dim, wide = padded(n);
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const size_t query = static_cast<size_t>(blockIdx.x) * h.heads + blockIdx.y * h.group() + g0;
  const size_t far = keys.local ? 0 : static_cast<size_t>(gridDim.x) * h.heads;
  __syncthreads();
  for (int i = threadIdx.x; i < kCount * hd / 4; i += kAttend) {
    reinterpret_cast<int*>(own[0][4 * i / hd])[i % (hd / 4)] = reinterpret_cast<const int*>(queries.q + query * hd)[i];
    if (from_anchor > 0) reinterpret_cast<int*>(own[1][4 * i / hd])[i % (hd / 4)] = reinterpret_cast<const int*>(queries.q + (query + far) * hd)[i];
  }
  for (int i = threadIdx.x; i < kCount * 256; i += kAttend) mixed[0][i] = 0;
  __syncthreads();

  // Eight keys of a warp at a time: first the anchor's, which see other queries.
  const int anchored = (from_anchor + 7) / 8, groups = anchored + (n - from_anchor + 7) / 8;
  for (int group = warp; group < groups; group += kWarps) {
    const bool a = group < anchored;
    const int first = a ? 8 * group : from_anchor + 8 * (group - anchored), end = a ? from_anchor : n;
    const int8_t* const key = keys.key + static_cast<size_t>(token[min(first + g, end - 1)]) * hd;
    int dot[4] = {};
    for (int left = 0; left < hd; left += 64) {
      const int c = left + 16 * t;
      int4 k{}, q{};
      if (c < hd) {
        k = *reinterpret_cast<const int4*>(key + c);
        if (g < kCount) q = *reinterpret_cast<const int4*>(own[a][g] + c);
      }
      multiply_add(dot, q.x, 0, q.y, 0, k.x, k.y);
      multiply_add(dot, q.z, 0, q.w, 0, k.z, k.w);
    }
    if (g < kCount) {
      if (first + 2 * t < end) scores[g * wide + first + 2 * t] = dot[0];
      if (first + 2 * t + 1 < end) scores[g * wide + first + 2 * t + 1] = dot[1];
    }
  }
  __syncthreads();

  const int up = 30 - bits(static_cast<uint32_t>(hd * 127 * 127));
  int largest[kCount];
  for (int& l : largest) l = INT32_MIN;
  for (int i = threadIdx.x; i < n; i += kAttend) {
    const int scale = keys.key_scale[token[i]];
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const size_t of = query + j + (i < from_anchor ? far : 0);
      const int dot = scores[j * wide + i];
      const int v = mul31(mul31(static_cast<int>(static_cast<uint32_t>(dot) << up), queries.factor[of]), scale);
      const int s = cut(shift(v, queries.down[of]), kScoreLimit);
      scores[j * wide + i] = s;
      largest[j] = max(largest[j], s);
    }
  }
  all_of<kCount, true>(largest, shared);
  int peak[kCount] = {}, total[kCount] = {};
  for (int i = threadIdx.x; i < n; i += kAttend) {
    const int scale = keys.value_scale[token[i]];
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int e = exp2_negative(min(largest[j] - scores[j * wide + i], 0xFFFF)), p = mul31(e, scale);
      total[j] += e >> 12;
      scores[j * wide + i] = p;
      peak[j] = max(peak[j], p);
    }
  }
  all_of<kCount, true>(peak, shared);
  all_of<kCount, false>(total, shared);
  const int b = min(15, 24 - bits(static_cast<uint32_t>(n - 1)));
  int down[kCount];
#pragma unroll
  for (int j = 0; j < kCount; ++j) down[j] = bits(static_cast<uint32_t>(max(peak[j], 1))) - b;
  for (int i = threadIdx.x; i < wide; i += kAttend) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int p = i < n ? scores[j * wide + i] : 0;
      const int w = down[j] > 0 ? static_cast<int>((int64_t{p} + (1 << (down[j] - 1))) >> down[j]) : p << -down[j];
      scores[j * wide + i] = min(w, (1 << b) - 1);
    }
  }
  __syncthreads();

  // 32 keys of a warp and 64 columns at a time, 8 of each thread. Of the weights the lower bytes are the first rows
  // of 16, the upper ones the ninth and on.
  for (int left = 0; left < hd; left += 64) {
    int sum[8][4] = {};
    const bool there = left + 8 * g < hd;
    for (int first = kKeys * warp; first < wide; first += kKeys * kWarps) {
      int a[2][2] = {}, v[2][2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = first + 16 * half + 4 * t;
        if (g < kCount) {
          const int4 w = *reinterpret_cast<const int4*>(scores + g * wide + at);
          const int xy = __byte_perm(w.x, w.y, 0x5140), zw = __byte_perm(w.z, w.w, 0x5140);
          a[0][half] = __byte_perm(xy, zw, 0x5410);
          a[1][half] = __byte_perm(xy, zw, 0x7632);
        }
        int2 x[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          x[i] = {};
          if (there) x[i] = *reinterpret_cast<const int2*>(keys.value + static_cast<size_t>(token[min(at + i, n - 1)]) * hd + left + 8 * g);
        }
        transpose(x[0].x, x[1].x, x[2].x, x[3].x, v[half][0]);
        transpose(x[0].y, x[1].y, x[2].y, x[3].y, v[half][1]);
      }
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        multiply_add_unsigned(sum[c], a[0][0], a[1][0], a[0][1], a[1][1], v[0][c / 4][c % 4], v[1][c / 4][c % 4]);
      }
    }
    if (g < kCount) {
#pragma unroll
      for (int c = 0; c < 8; ++c)
        for (int i = 0; i < 2; ++i) {
          const int column = left + 8 * (2 * t + i) + c;
          if (column < hd) atomicAdd(&mixed[g][column], sum[c][i] + static_cast<int>(static_cast<uint32_t>(sum[c][2 + i]) << 8));
        }
    }
  }
  __syncthreads();
  for (int j = 0; j < kCount; ++j) {
    const int bit = bits(static_cast<uint32_t>(total[j]));
    const int64_t inverse = (int64_t{1} << 61) / (int64_t{total[j]} << (31 - bit));
    const int by = mul31(static_cast<int>(min(inverse, int64_t{INT32_MAX})), kC127);
    for (int i = threadIdx.x; i < hd; i += kAttend)
      out[(query + j) * hd + i] = cut(shift(cut(mul31(mixed[j][i], by), kLimit), bit - 8 - down[j]), kLimit);
  }
}

// A block for each row and head of keys.
__global__ void __launch_bounds__(kAttend, 3) attend(Heads h, Keys keys, const Row* rows, Queries queries, int* out) {
  extern __shared__ __align__(16) int token[];
  const Row row = rows[blockIdx.x];
  if (row.lane < 0) return;

  // The keys: of the anchor, of the lane, of the row's way in its tree.
  const int kv = blockIdx.y, start = max(h.anchor, row.position - keys.window + 1);
  const int a0 = keys.local ? max(0, row.position - keys.window + 1) : 0;
  const int from_anchor = max(0, min(h.anchor, row.position + 1) - a0);
  const int from_lane = max(0, row.base - start);
  const int hidden = row.slot >= 0 ? max(0, start - row.base) : 0;  // of the way, before the window
  const int n = from_anchor + from_lane + (row.slot >= 0 ? __popcll(row.ancestors) - hidden : 0);
  const int lane = row.lane * h.kv_heads + kv, first = start % keys.size;
  for (int i = threadIdx.x; i < from_anchor; i += kAttend) token[i] = keys.anchor + kv * h.anchor + a0 + i;
  for (int i = threadIdx.x; i < from_lane; i += kAttend)
    token[from_anchor + i] = lane * keys.size + (first + i >= keys.size ? first + i - keys.size : first + i);
  if (threadIdx.x < 64 && (row.ancestors >> threadIdx.x & 1)) {
    const int depth = __popcll(row.ancestors & ((uint64_t{1} << threadIdx.x) - 1)) - hidden;
    if (depth >= 0) token[from_anchor + from_lane + depth] = keys.tree + lane * h.chunk + static_cast<int>(threadIdx.x);
  }
  for (int g0 = 0; g0 < h.group(); g0 += kTogether) {
    const auto some = [&](auto count) { attend_some<decltype(count)::value>(h, keys, row, queries, g0, n, from_anchor, token, token + padded(n), out); };
    switch (h.group() - g0) {
      case 1: some(std::integral_constant<int, 1>()); break;
      case 2: some(std::integral_constant<int, 2>()); break;
      case 3: some(std::integral_constant<int, 3>()); break;
      default: some(std::integral_constant<int, kTogether>());
    }
  }
}

// Makes rows of trees part of their lanes: a block for each kept row and head of keys.
struct Kept {
  int lane, slot, position;
};
__global__ void keep_rows(Heads h, Keys keys, const Kept* kept) {
  const Kept k = kept[blockIdx.x];
  const int lane = k.lane * h.kv_heads + static_cast<int>(blockIdx.y);
  const int from = keys.tree + lane * h.chunk + k.slot, to = lane * keys.size + k.position % keys.size;
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
