// The AVX-512 variant with the VNNI dot products.
//
// vpdpbusd adds four products of uint8 and int8 to an int32 exactly. Activations are stored as
// value + 128 and broadcast; keys are made uint8 in the register. The instructions are written as
// assembly: through intrinsics gcc 12 copies the accumulators around.
#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12's own avx512fintrin.h
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "network_kernels.hpp"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-width=512")
namespace lmc {
namespace {

#define NAME "avx512vnni"
constexpr int OFFSET = 128, GROUP = 2;
#include "avx512_steps.hpp"

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

void products(const Matrix& m, const Acts& a, int tile, int r0, int rows, int total, int32_t* acc) {
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

}  // namespace

const Kernels& kernels_avx512vnni() { return table; }

}  // namespace lmc
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
