// The AVX-512 variant whose matrix products are those of AMX.
//
// tdpbusd multiplies a tile of 16 rows of 64 uint8 with one of 64 times 16 int8, exactly, and in the
// time of some ten dot products of AVX-512. A weight tile in its packed form is such a tile already.
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

#define NAME "amx"

#include "avx512_steps.hpp"

constexpr int FEW_ROWS = 12;  // fewer rows are multiplied by vectors, as a tile would be mostly empty

// Sums of two weight tiles, 64 inputs of the rows and of the weights; and 32, for the rest of a row.
enum : int { SUM0, SUM1, ROWS, WEIGHTS0, WEIGHTS1, LAST_ROWS, LAST0, LAST1 };

// What ldtilecfg reads.
struct Shapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 32, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 8, 8};
};

// The compiler knows nothing of the tiles (its intrinsics do not even say that they read memory).
template <int T>
inline void load_tile(const void* from, size_t stride) {
  asm volatile("tileloadd (%0, %1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
inline void store_tile(void* to) {
  asm volatile("tilestored %%tmm%c2, (%0, %1)" : : "r"(to), "r"(size_t{64}), "i"(T) : "memory");
}
template <int T>
inline void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
template <int SUM, int U8, int S8>
inline void dot_tiles() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(U8), "i"(S8));
}

// Always TILE rows: those behind the last one hold anything, and nobody reads their sums. With the first
// ones the next two weight tiles are fetched.
void products(const Matrix& m, const Acts& a, int tile, int r0, int rows, int total, int32_t* acc) {
  if (total < FEW_ROWS) return products_by_vectors(m, a, tile, r0, rows, total, acc);
  const size_t tile_bytes = static_cast<size_t>(m.kp) * TILE, row_bytes = static_cast<size_t>(a.kp);
  const int8_t* w = m.packed + tile * tile_bytes;
  const uint8_t* q = a.q.data() + r0 * row_bytes;
  const int whole = m.kp / 64 * 64;
  clear_tile<SUM0>();
  clear_tile<SUM1>();
  for (int k = 0; k < whole; k += 64) {
    const int8_t* at = w + k * TILE;
    if (r0 == 0) {
      for (int i = 0; i < 64 * TILE; i += 64) {
        _mm_prefetch(at + GROUP * tile_bytes + i, _MM_HINT_T1);
        _mm_prefetch(at + (GROUP + 1) * tile_bytes + i, _MM_HINT_T1);
      }
    }
    load_tile<ROWS>(q + k, row_bytes);
    load_tile<WEIGHTS0>(at, 64);
    dot_tiles<SUM0, ROWS, WEIGHTS0>();
    load_tile<WEIGHTS1>(at + tile_bytes, 64);
    dot_tiles<SUM1, ROWS, WEIGHTS1>();
  }
  if (whole < m.kp) {
    const int8_t* at = w + whole * TILE;
    load_tile<LAST_ROWS>(q + whole, row_bytes);
    load_tile<LAST0>(at, 64);
    dot_tiles<SUM0, LAST_ROWS, LAST0>();
    load_tile<LAST1>(at + tile_bytes, 64);
    dot_tiles<SUM1, LAST_ROWS, LAST1>();
  }
  store_tile<SUM0>(acc);
  store_tile<SUM1>(acc + TILE * TILE);
}

// The tiles' registers are given back, as they would have to be saved at each switch of threads.
void matmul_by_tiles(const Matrix& m, const Acts& a, int rows, int first, int last, int32_t* out, size_t stride,
                     bool add) {
  if (rows < FEW_ROWS) return matmul(m, a, rows, first, last, out, stride, add);
  const Shapes shapes;
  asm volatile("ldtilecfg %0" : : "m"(shapes));
  matmul(m, a, rows, first, last, out, stride, add);
  asm volatile("tilerelease");
}

Kernels with_tiles() {
  Kernels kernels = table;
  kernels.matmul = matmul_by_tiles;
  return kernels;
}

}  // namespace

const Kernels& kernels_amx() {
  static const Kernels kernels = with_tiles();
  return kernels;
}

}  // namespace lmc
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
