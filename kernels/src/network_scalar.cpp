// The portable variant: plain C++, the definition of the others.
#include "network_kernels.hpp"

namespace lmc {
namespace {

#define NAME "scalar"
constexpr int OFFSET = 0, GROUP = 1;
constexpr auto limit = nullptr;

#include "vec_scalar.hpp"

void transpose(Acts&, int, int) {}

inline int dot4(const int8_t* a, const int8_t* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
}

void dots(const uint8_t* const* tiles, int n, int head_dim, const int8_t* queries, int count,
          int32_t* out, size_t stride) {
  for (int t = 0; t < n; ++t) {
    const int8_t* keys = reinterpret_cast<const int8_t*>(tiles[t]);
    for (int j = 0; j < count; ++j) {
      int32_t* to = out + j * stride + t * TILE;
      for (int i = 0; i < TILE; ++i) to[i] = 0;
      for (int k = 0; k < head_dim; k += 4) {
        for (int i = 0; i < TILE; ++i) to[i] += dot4(keys + k * TILE + i * 4, queries + j * head_dim + k);
      }
    }
  }
}

void mix(const uint8_t* const* tiles, int n, int head_dim, const int16_t* w, size_t stride, int count,
         int32_t* acc) {
  for (int i = 0; i < count * head_dim; ++i) acc[i] = 0;
  for (int t = 0; t < n; ++t) {
    const int8_t* values = reinterpret_cast<const int8_t*>(tiles[t] + TileShape{head_dim}.values());
    for (int j = 0; j < count; ++j) {
      for (int i = 0; i < TILE; i += 2) {
        const int w0 = w[j * stride + t * TILE + i], w1 = w[j * stride + t * TILE + i + 1];
        const int8_t* v = values + i * head_dim;
        int32_t* to = acc + j * head_dim;
        for (int c = 0; c < head_dim; ++c) to[c] += w0 * v[2 * c] + w1 * v[2 * c + 1];
      }
    }
  }
}

#include "network_steps.hpp"

void products(const Matrix& m, const Acts& a, int tile, int r0, int rows, int, int32_t* acc) {
  const int8_t* w = m.packed + static_cast<size_t>(tile) * m.kp * TILE;
  for (int r = 0; r < rows; ++r) {
    const int8_t* q = reinterpret_cast<const int8_t*>(a.q.data()) + static_cast<size_t>(r0 + r) * a.kp;
    int32_t* to = acc + r * TILE;
    for (int i = 0; i < TILE; ++i) to[i] = 0;
    for (int k = 0; k < m.kp; k += 4) {
      for (int i = 0; i < TILE; ++i) to[i] += dot4(w + k * TILE + i * 4, q + k);
    }
  }
}

}  // namespace

const Kernels& kernels_scalar() { return table; }

}  // namespace lmc
