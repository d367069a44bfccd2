// The AVX2 variant.
//
// vpmaddubsw multiplies uint8 by int8 and adds pairs in 16 bits. Activations are stored as value + 128
// (uint8); the products of up to four pairs are added before they are widened. What `limit` takes from
// weights so that this never overflows is a short list for each tile, applied exactly here, for 16 rows
// at a time from a transposed copy of the activations.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "network_kernels.hpp"

#pragma GCC push_options
#pragma GCC target("avx2")
namespace lmc {
namespace {

#define NAME "avx2"
constexpr int OFFSET = 128, GROUP = 1;

#include "vec_avx2.hpp"

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline __m256i four(const void* p) {
  int32_t x;
  std::memcpy(&x, p, 4);
  return _mm256_set1_epi32(x);
}

// Sums of the weights of each group: `depth` blocks of four, and of each the first or the last two.
inline __m256i group_sums(__m256i w, int depth) {
  __m256i s = _mm256_maddubs_epi16(_mm256_set1_epi8(1), w);
  if (depth >= 2) s = _mm256_add_epi16(s, _mm256_shuffle_epi32(s, 0xB1));
  if (depth >= 4) s = _mm256_add_epi16(s, _mm256_shuffle_epi32(s, 0x4E));
  return s;
}

// The weights of a group are multiplied by bytes of up to 255 and the products added in 16 bits, so
// no partial sum overflows while neither the positive nor the negative ones add up to more than 128.
void limit(int depth, int8_t* row, int kp, int n, std::vector<Spill>& spill) {
  constexpr int MOST = 128;
  const __m256i zero = _mm256_setzero_si256(), most = _mm256_set1_epi16(MOST);
  const uint32_t first_block = depth == 1 ? 0x55555555 : depth == 2 ? 0x05050505 : 0x00050005;
  bool half = false;
  for (int c = 0; c < kp; c += 32) {
    const __m256i w = load(row + c);
    const __m256i positive = group_sums(_mm256_max_epi8(w, zero), depth);
    const __m256i negative = group_sums(_mm256_max_epi8(_mm256_sub_epi8(zero, w), zero), depth);
    const __m256i over = _mm256_or_si256(_mm256_cmpgt_epi16(positive, most), _mm256_cmpgt_epi16(negative, most));
    for (uint32_t left = static_cast<uint32_t>(_mm256_movemask_epi8(over)) & first_block; left; left &= left - 1) {
      int8_t* group = row + c + __builtin_ctz(left);
      for (int sign = -1; sign <= 1; sign += 2) {
        int excess = -MOST;
        for (int d = 0; d < depth; ++d) excess += std::max(0, sign * group[4 * d]) + std::max(0, sign * group[4 * d + 1]);
        while (excess > 0) {  // taken from the largest weight first
          int8_t* largest = group;
          for (int d = 0; d < depth; ++d) {
            for (int i = 0; i < 2; ++i) {
              if (sign * group[4 * d + i] > sign * *largest) largest = group + 4 * d + i;
            }
          }
          const int taken = std::min(excess, sign * *largest);
          *largest = static_cast<int8_t>(*largest - sign * taken);
          excess -= taken;
          if (!half) spill.push_back({{}, {}, static_cast<uint16_t>(n)});
          spill.back().k[half] = static_cast<uint16_t>(largest - row);
          spill.back().e[half] = static_cast<int16_t>(sign * taken);
          half = !half;
        }
      }
    }
  }
}

// int8 [rows][kp] + 128 to int8 [kp][stride_t]
void transpose(Acts& a, int first, int last) {
  const __m128i flip = _mm_set1_epi8(static_cast<char>(-128));
  for (int r = first; r < last; r += 16) {
    for (int k = 0; k < a.kp; k += 16) {
      __m128i x[16], y[16];
      for (int i = 0; i < 16; ++i) {
        x[i] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(
                                 a.q.data() + static_cast<size_t>(r + i) * a.kp + k)), flip);
      }
      for (int i = 0; i < 8; ++i) {
        y[2 * i] = _mm_unpacklo_epi8(x[i], x[i + 8]);
        y[2 * i + 1] = _mm_unpackhi_epi8(x[i], x[i + 8]);
      }
      for (int i = 0; i < 8; ++i) {
        x[2 * i] = _mm_unpacklo_epi8(y[i], y[i + 8]);
        x[2 * i + 1] = _mm_unpackhi_epi8(y[i], y[i + 8]);
      }
      for (int i = 0; i < 8; ++i) {
        y[2 * i] = _mm_unpacklo_epi8(x[i], x[i + 8]);
        y[2 * i + 1] = _mm_unpackhi_epi8(x[i], x[i + 8]);
      }
      for (int i = 0; i < 8; ++i) {
        x[2 * i] = _mm_unpacklo_epi8(y[i], y[i + 8]);
        x[2 * i + 1] = _mm_unpackhi_epi8(y[i], y[i + 8]);
      }
      for (int i = 0; i < 16; ++i) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(a.transposed.data() + static_cast<size_t>(k + i) * a.stride_t + r), x[i]);
      }
    }
  }
}

template <int COUNT>
inline void dots_of(const uint8_t* keys, int head_dim, const int8_t* q, const int8_t* magnitude,
                    int32_t* out, size_t stride) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[COUNT][2];
  for (int j = 0; j < COUNT; ++j) acc[j][0] = acc[j][1] = _mm256_setzero_si256();
  for (int k = 0; k < head_dim; k += 4) {
    const __m256i k0 = load(keys + k * TILE), k1 = load(keys + k * TILE + 32);
#pragma GCC unroll 4
    for (int j = 0; j < COUNT; ++j) {
      const __m256i s = four(q + j * head_dim + k), m = four(magnitude + j * head_dim + k);
      acc[j][0] = _mm256_add_epi32(
          acc[j][0], _mm256_madd_epi16(_mm256_maddubs_epi16(m, _mm256_sign_epi8(k0, s)), ones));
      acc[j][1] = _mm256_add_epi32(
          acc[j][1], _mm256_madd_epi16(_mm256_maddubs_epi16(m, _mm256_sign_epi8(k1, s)), ones));
    }
  }
  for (int j = 0; j < COUNT; ++j) {
    store(out + j * stride, acc[j][0]);
    store(out + j * stride + 8, acc[j][1]);
  }
}

// |q| (uint8) times the key with q's sign (int8): a pair is at most 2 * 127^2 < 2^15.
void dots(const uint8_t* const* tiles, int n, int head_dim, const int8_t* queries, int count,
          int32_t* out, size_t stride) {
  int8_t magnitude[QUERIES * 256];
  for (int i = 0; i < count * head_dim; ++i) magnitude[i] = static_cast<int8_t>(queries[i] < 0 ? -queries[i] : queries[i]);
  for (int t = 0; t < n; ++t) {
    int32_t* to = out + t * TILE;
    switch (count) {
      case 1: dots_of<1>(tiles[t], head_dim, queries, magnitude, to, stride); break;
      case 2: dots_of<2>(tiles[t], head_dim, queries, magnitude, to, stride); break;
      case 3: dots_of<3>(tiles[t], head_dim, queries, magnitude, to, stride); break;
      default: dots_of<4>(tiles[t], head_dim, queries, magnitude, to, stride);
    }
  }
}

template <int COUNT, int BLOCKS>
inline void mix_of(const uint8_t* const* tiles, int n, int head_dim, const int16_t* w, size_t stride,
                   int32_t* out) {
  __m256i acc[COUNT][BLOCKS];
  for (int j = 0; j < COUNT; ++j) {
    for (int b = 0; b < BLOCKS; ++b) acc[j][b] = _mm256_setzero_si256();
  }
  for (int t = 0; t < n; ++t) {
    for (int i = 0; i < TILE; i += 2) {
      const uint8_t* v = tiles[t] + i * head_dim;
      __m256i weight[COUNT];
      for (int j = 0; j < COUNT; ++j) weight[j] = four(w + j * stride + t * TILE + i);
#pragma GCC unroll 4
      for (int b = 0; b < BLOCKS; ++b) {
        const __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(v + 16 * b)));
        for (int j = 0; j < COUNT; ++j) {
          acc[j][b] = _mm256_add_epi32(acc[j][b], _mm256_madd_epi16(x, weight[j]));
        }
      }
    }
  }
  for (int j = 0; j < COUNT; ++j) {
    for (int b = 0; b < BLOCKS; ++b) store(out + j * head_dim + 8 * b, acc[j][b]);
  }
}

void mix(const uint8_t* const* tiles, int n, int head_dim, const int16_t* w, size_t stride, int count,
         int32_t* acc) {
  const uint8_t* values[4096 / TILE + 4];
  for (int c = 0; c < head_dim; c += 32) {
    for (int t = 0; t < n; ++t) values[t] = tiles[t] + TileShape{head_dim}.values() + 2 * c;
    switch (count) {
      case 1: mix_of<1, 4>(values, n, head_dim, w, stride, acc + c); break;
      case 2: mix_of<2, 4>(values, n, head_dim, w, stride, acc + c); break;
      case 3: mix_of<3, 4>(values, n, head_dim, w, stride, acc + c); break;
      default:
        mix_of<2, 4>(values, n, head_dim, w, stride, acc + c);
        mix_of<2, 4>(values, n, head_dim, w + 2 * stride, stride, acc + 2 * head_dim + c);
    }
  }
}

#include "network_steps.hpp"

// ROWS rows by one weight tile, DEPTH products of pairs added in 16 bits before they are widened: the
// multiplier's two ports are what limits this loop, and widening takes them, too. Meanwhile the next
// tile is fetched, from `ahead` on in steps small enough that all calls together touch each line.
template <int ROWS, int DEPTH>
inline void dot_rows(const int8_t* w, int kp, const uint8_t* q, size_t stride, int32_t* acc,
                     const int8_t* ahead, size_t step) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[ROWS][2];
  for (int r = 0; r < ROWS; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
  for (int k = 0; k < kp; k += 4 * DEPTH) {
#pragma GCC unroll 4
    for (int d = 0; d < DEPTH; ++d) _mm_prefetch(ahead + d * step, _MM_HINT_T1);
    ahead += DEPTH * step;
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; ++r) {
      __m256i pairs[2];
#pragma GCC unroll 4
      for (int d = 0; d < DEPTH; ++d) {
        const int8_t* at = w + (k + 4 * d) * TILE;
        const __m256i x = four(q + r * stride + k + 4 * d);
        const __m256i p0 = _mm256_maddubs_epi16(x, load(at)), p1 = _mm256_maddubs_epi16(x, load(at + 32));
        pairs[0] = d ? _mm256_add_epi16(pairs[0], p0) : p0;
        pairs[1] = d ? _mm256_add_epi16(pairs[1], p1) : p1;
      }
      for (int i = 0; i < 2; ++i) sum[r][i] = _mm256_add_epi32(sum[r][i], _mm256_madd_epi16(pairs[i], ones));
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    store(acc + r * TILE, sum[r][0]);
    store(acc + r * TILE + 8, sum[r][1]);
  }
}

constexpr int MOST_ROWS = 6;  // of one dot_rows: as many sums as there are registers for

constexpr int parts_of(int rows) {
  constexpr int whole = (TILE + MOST_ROWS - 1) / MOST_ROWS;
  return rows / TILE * whole + (rows % TILE + MOST_ROWS - 1) / MOST_ROWS;
}

template <int ROWS>
inline void dot_rows(int depth, const int8_t* w, int kp, const uint8_t* q, size_t stride, int32_t* acc,
                     const int8_t* ahead, size_t step) {
  switch (depth) {
    case 1: return dot_rows<ROWS, 1>(w, kp, q, stride, acc, ahead, step);
    case 2: return dot_rows<ROWS, 2>(w, kp, q, stride, acc, ahead, step);
    default: return dot_rows<ROWS, 4>(w, kp, q, stride, acc, ahead, step);
  }
}

// Adds 8 sums of 8 outputs transposed: the first four of each to `first`, the others to `second`.
inline void add_transposed(const int32_t* from, int32_t* first, int32_t* second) {
  __m256i x[8], y[8];
  for (int i = 0; i < 8; ++i) x[i] = load(from + i * TILE);
  for (int i = 0; i < 4; ++i) {
    y[2 * i] = _mm256_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
    y[2 * i + 1] = _mm256_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    x[4 * i] = _mm256_unpacklo_epi64(y[4 * i], y[4 * i + 2]);
    x[4 * i + 1] = _mm256_unpackhi_epi64(y[4 * i], y[4 * i + 2]);
    x[4 * i + 2] = _mm256_unpacklo_epi64(y[4 * i + 1], y[4 * i + 3]);
    x[4 * i + 3] = _mm256_unpackhi_epi64(y[4 * i + 1], y[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    int32_t* low = first + i * TILE;
    int32_t* high = second + i * TILE;
    store(low, _mm256_add_epi32(load(low), _mm256_permute2x128_si256(x[i], x[i + 4], 0x20)));
    store(high, _mm256_add_epi32(load(high), _mm256_permute2x128_si256(x[i], x[i + 4], 0x31)));
  }
}

// 16 rows of a channel as int16.
inline __m256i channel(const Acts& a, int k, int r0) {
  return _mm256_cvtepi8_epi16(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(a.transposed.data() + static_cast<size_t>(k) * a.stride_t + r0)));
}

// The spilled weights of one tile for 16 rows. The sums have the rows 0-3, 8-11, 4-7, 12-15, as
// the unpacking leaves them, until the end.
inline void add_spill(const Spill* s, const Spill* end, const Acts& a, int r0, int32_t* acc) {
  alignas(32) int32_t sums[TILE * TILE] = {};
  for (; s != end; ++s) {
    const __m256i x0 = channel(a, s->k[0], r0), x1 = channel(a, s->k[1], r0);
    const __m256i e = four(s->e);
    int32_t* to = sums + s->n * TILE;
    store(to, _mm256_add_epi32(load(to), _mm256_madd_epi16(_mm256_unpacklo_epi16(x0, x1), e)));
    store(to + 8, _mm256_add_epi32(load(to + 8), _mm256_madd_epi16(_mm256_unpackhi_epi16(x0, x1), e)));
  }
  for (int n = 0; n < TILE; n += 8) {
    add_transposed(sums + n * TILE, acc + n, acc + 8 * TILE + n);
    add_transposed(sums + n * TILE + 8, acc + 4 * TILE + n, acc + 12 * TILE + n);
  }
}

void products(const Matrix& m, const Acts& a, int tile, int r0, int rows, int total,
              int32_t* acc) {
  const int8_t* w = m.packed + static_cast<size_t>(tile) * m.kp * TILE;
  const size_t stride = static_cast<size_t>(a.kp);
  const uint8_t* q = a.q.data() + r0 * stride;
  const size_t tile_bytes = static_cast<size_t>(m.kp) * TILE;
  // Rows go in equal parts, 16 as 6, 5 and 5, and each part fetches its share of the next tile.
  const int step = (4 * TILE + parts_of(total) - 1) / parts_of(total);
  const int8_t* ahead = w + tile_bytes + static_cast<size_t>(parts_of(r0)) * step * (m.kp / 4);
  for (int r = 0, parts = parts_of(rows); parts > 0; --parts) {
    const int count = (rows - r + parts - 1) / parts;
    const uint8_t* from = q + r * stride;
    int32_t* to = acc + r * TILE;
    switch (count) {
      case 1: dot_rows<1>(m.depth, w, m.kp, from, stride, to, ahead, step); break;
      case 2: dot_rows<2>(m.depth, w, m.kp, from, stride, to, ahead, step); break;
      case 3: dot_rows<3>(m.depth, w, m.kp, from, stride, to, ahead, step); break;
      case 4: dot_rows<4>(m.depth, w, m.kp, from, stride, to, ahead, step); break;
      case 5: dot_rows<5>(m.depth, w, m.kp, from, stride, to, ahead, step); break;
      default: dot_rows<6>(m.depth, w, m.kp, from, stride, to, ahead, step);
    }
    r += count;
    ahead += static_cast<size_t>(step) * (m.kp / 4);
  }
  const Spill* s = m.spill.data() + m.spill_at[tile];
  const Spill* end = m.spill.data() + m.spill_at[tile + 1];
  if (a.stride_t > 0) {
    add_spill(s, end, a, r0, acc);
  } else {
    for (; s != end; ++s) {
      for (int r = 0; r < rows; ++r) {
        const uint8_t* x = q + r * stride;
        acc[r * TILE + s->n] += s->e[0] * (x[s->k[0]] - 128) + s->e[1] * (x[s->k[1]] - 128);
      }
    }
  }
}

}  // namespace

const Kernels& kernels_avx2() { return table; }

}  // namespace lmc
#pragma GCC pop_options
#endif
