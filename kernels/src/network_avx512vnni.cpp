// The AVX-512 variant with the VNNI dot products.
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

#include "avx512_steps.hpp"

void products(const Matrix& m, const Acts& a, int tile, int r0, int rows, int total, int32_t* acc) {
  products_by_vectors(m, a, tile, r0, rows, total, acc);
}

}  // namespace

const Kernels& kernels_avx512vnni() { return table; }

}  // namespace lmc
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
