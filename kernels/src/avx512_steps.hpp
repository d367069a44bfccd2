// What the two variants with AVX-512 share: the dot products of VNNI.
//
// vpdpbusd adds four products of uint8 and int8 to an int32 exactly. Activations are stored as
// value + 128 and broadcast; keys are made uint8 in the register. The instructions are written as
// assembly: through intrinsics gcc 12 copies the accumulators around.
#include "vec_avx512.hpp"

constexpr int OFFSET = 128, GROUP = 2;
constexpr auto limit = nullptr;

inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }

// Four bytes that an instruction may broadcast; they alias anything.
typedef int32_t __attribute__((may_alias, aligned(1))) Four;

// acc += u8 * s8 in groups of four
inline void dot(__m512i& acc, __m512i u8, __m512i s8) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8));
}
inline void dot(__m512i& acc, __m512i u8, const Four* s8) {
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(u8), "m"(*s8));
}
// acc += s16 * s16 in pairs
inline void dot_pair(__m512i& acc, __m512i a, const Four* b) {
  asm("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(a), "m"(*b));
}

void transpose(Acts&, int, int) {}

template <int COUNT>
inline void dots_of(const uint8_t* const* tiles, int n, int head_dim, const int8_t* queries, int32_t* out,
                    size_t stride) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(-128));
  __m512i start[COUNT];
  for (int j = 0; j < COUNT; ++j) {
    int sum = 0;
    for (int k = 0; k < head_dim; ++k) sum += queries[j * head_dim + k];
    start[j] = _mm512_set1_epi32(-128 * sum);
  }
  for (int t = 0; t < n; ++t) {
    __m512i acc[COUNT];
    for (int j = 0; j < COUNT; ++j) acc[j] = start[j];
    for (int k = 0; k < head_dim; k += 4) {
      const __m512i key = _mm512_xor_si512(load(tiles[t] + k * TILE), flip);
#pragma GCC unroll 4
      for (int j = 0; j < COUNT; ++j) dot(acc[j], key, reinterpret_cast<const Four*>(queries + j * head_dim + k));
    }
    for (int j = 0; j < COUNT; ++j) _mm512_storeu_si512(out + j * stride + t * TILE, acc[j]);
  }
}

void dots(const uint8_t* const* tiles, int n, int head_dim, const int8_t* queries, int count, int32_t* out,
          size_t stride) {
  switch (count) {
    case 1: dots_of<1>(tiles, n, head_dim, queries, out, stride); break;
    case 2: dots_of<2>(tiles, n, head_dim, queries, out, stride); break;
    case 3: dots_of<3>(tiles, n, head_dim, queries, out, stride); break;
    default: dots_of<4>(tiles, n, head_dim, queries, out, stride);
  }
}

template <int COUNT>
inline void mix_of(const uint8_t* const* tiles, int n, int head_dim, const int16_t* w, size_t stride, int32_t* out) {
  const size_t at = TileShape{head_dim}.values();
  for (int c = 0; c < head_dim; c += 32) {
    __m512i acc[COUNT][2];
    for (int j = 0; j < COUNT; ++j) acc[j][0] = acc[j][1] = _mm512_setzero_si512();
    for (int t = 0; t < n; ++t) {
      const uint8_t* v = tiles[t] + at + 2 * c;
#pragma GCC unroll 2
      for (int i = 0; i < TILE; i += 2) {
        const auto* p = reinterpret_cast<const __m256i*>(v + i * head_dim);
        const __m512i x0 = _mm512_cvtepi8_epi16(_mm256_loadu_si256(p));
        const __m512i x1 = _mm512_cvtepi8_epi16(_mm256_loadu_si256(p + 1));
#pragma GCC unroll 4
        for (int j = 0; j < COUNT; ++j) {
          const auto* weight = reinterpret_cast<const Four*>(w + j * stride + t * TILE + i);
          dot_pair(acc[j][0], x0, weight);
          dot_pair(acc[j][1], x1, weight);
        }
      }
    }
    for (int j = 0; j < COUNT; ++j) {
      _mm512_storeu_si512(out + j * head_dim + c, acc[j][0]);
      _mm512_storeu_si512(out + j * head_dim + c + 16, acc[j][1]);
    }
  }
}

void mix(const uint8_t* const* tiles, int n, int head_dim, const int16_t* w, size_t stride, int count,
         int32_t* acc) {
  switch (count) {
    case 1: mix_of<1>(tiles, n, head_dim, w, stride, acc); break;
    case 2: mix_of<2>(tiles, n, head_dim, w, stride, acc); break;
    case 3: mix_of<3>(tiles, n, head_dim, w, stride, acc); break;
    default: mix_of<4>(tiles, n, head_dim, w, stride, acc);
  }
}

#include "network_steps.hpp"

// ROWS rows by two weight tiles. Meanwhile the next two are fetched, from `ahead` on in steps small
// enough that all calls together touch each line: memory is slower than the sums of few rows.
template <int ROWS>
inline void dot_rows(const int8_t* w, int kp, const uint8_t* q, size_t stride, int32_t* acc,
                     const int8_t* ahead, size_t step) {
  const size_t tile_bytes = static_cast<size_t>(kp) * TILE;
  const int8_t* next = w + tile_bytes;
  __m512i sum[ROWS][2];
  for (int r = 0; r < ROWS; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
  for (int k = 0; k < kp; k += 4) {
    _mm_prefetch(ahead, _MM_HINT_T1);
    _mm_prefetch(ahead + tile_bytes, _MM_HINT_T1);
    ahead += step;
    const __m512i w0 = load(w + k * TILE), w1 = load(next + k * TILE);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const __m512i x = _mm512_set1_epi32(*reinterpret_cast<const Four*>(q + r * stride + k));
      dot(sum[r][0], x, w0);
      dot(sum[r][1], x, w1);
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    _mm512_storeu_si512(acc + r * TILE, sum[r][0]);
    _mm512_storeu_si512(acc + (TILE + r) * TILE, sum[r][1]);
  }
}

void products_by_vectors(const Matrix& m, const Acts& a, int tile, int r0, int rows, int total, int32_t* acc) {
  const int8_t* w = m.packed + static_cast<size_t>(tile) * m.kp * TILE;
  const size_t stride = static_cast<size_t>(a.kp);
  const uint8_t* q = a.q.data() + r0 * stride;
  const size_t step = (64 * 8 + total - 1) / round_up(total, 8);
  const int8_t* ahead = w + static_cast<size_t>(m.kp) * TILE * GROUP + r0 / 8 * step * (m.kp / 4);
  for (int r = 0; r < rows;) {
    const uint8_t* from = q + r * stride;
    int32_t* to = acc + r * TILE;
    const int left = rows - r;
    switch (left) {
      case 1: dot_rows<1>(w, m.kp, from, stride, to, ahead, step); break;
      case 2: dot_rows<2>(w, m.kp, from, stride, to, ahead, step); break;
      case 3: dot_rows<3>(w, m.kp, from, stride, to, ahead, step); break;
      case 4: case 5: case 6: case 7: dot_rows<4>(w, m.kp, from, stride, to, ahead, step); break;
      default: dot_rows<8>(w, m.kp, from, stride, to, ahead, step);
    }
    r += left < 4 ? left : left < 8 ? 4 : 8;
    ahead += step * (m.kp / 4);
  }
}
