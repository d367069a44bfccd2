// The AVX2 variant.
//
// vpmaddubsw multiplies uint8 by int8 and adds pairs in 16 bits with saturation. Activations are
// stored as value + 128 (uint8); the packer bounds every pair of weights (transformer.cpp, Spill) so that
// 255 |w1 + w2| of equal signs stays inside 16 bits. What the bound takes from a weight is a short list for
// each tile, applied exactly here, for 16 rows at a time from a transposed copy of the activations.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "network_kernels.hpp"

#pragma GCC push_options
#pragma GCC target("avx2")
namespace lmc {
namespace {

#define NAME "avx2"
constexpr int OFFSET = 128, GROUP = 1;
constexpr bool SPILL = true;

#include "vec_avx2.hpp"

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline __m256i four(const void* p) {
  int32_t x;
  std::memcpy(&x, p, 4);
  return _mm256_set1_epi32(x);
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

// ROWS rows by one weight tile. Meanwhile the next tile is fetched, from `ahead` on in steps small
// enough that all calls together touch each line: memory is slower than the sums of few rows.
template <int ROWS>
inline void dot_rows(const int8_t* w, int kp, const uint8_t* q, size_t stride, int32_t* acc,
                     const int8_t* ahead, size_t step) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[ROWS][2];
  for (int r = 0; r < ROWS; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
  for (int k = 0; k < kp; k += 4) {
    _mm_prefetch(ahead, _MM_HINT_T1);
    ahead += step;
    const __m256i w0 = load(w + k * TILE), w1 = load(w + k * TILE + 32);
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) {
      const __m256i x = four(q + r * stride + k);
      sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w0), ones));
      sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w1), ones));
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    store(acc + r * TILE, sum[r][0]);
    store(acc + r * TILE + 8, sum[r][1]);
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
  const size_t step = (64 * 4 + total - 1) / round_up(total, 4);
  const int8_t* ahead = w + tile_bytes + r0 / 4 * step * (m.kp / 4);
  for (int r = 0; r < rows; r += 4, ahead += step * (m.kp / 4)) {
    const uint8_t* from = q + r * stride;
    int32_t* to = acc + r * TILE;
    switch (rows - r) {
      case 1: dot_rows<1>(w, m.kp, from, stride, to, ahead, step); break;
      case 2: dot_rows<2>(w, m.kp, from, stride, to, ahead, step); break;
      case 3: dot_rows<3>(w, m.kp, from, stride, to, ahead, step); break;
      default: dot_rows<4>(w, m.kp, from, stride, to, ahead, step);
    }
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
