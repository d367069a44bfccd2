// The portable variant: plain C++, the definition of the others.
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "dispatch.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"
#include "quantiles.hpp"
#include "rangecoder.hpp"
#include "sound.hpp"

namespace lmc::sound {
namespace {

// m[i][j] += sum of u[s][i] u[s][j] over the samples s, for j <= i <= n; rows of `width` numbers.
void add_products(int64_t* m, int n, int width, const int32_t* u, int samples) {
  for (int i = 0; i <= n; ++i)
    for (int j = 0; j <= i; ++j) {
      int64_t sum = 0;
      for (int s = 0; s < samples; ++s) sum += int64_t{u[s * width + i]} * u[s * width + j];
      m[i * width + j] += sum;
    }
}

// The sum of products modulo 2^32.
uint32_t dot16(const int16_t* x, const int16_t* w, int n) {
  uint32_t sum = 0;
  for (int i = 0; i < n; ++i) sum += static_cast<uint32_t>(int32_t{x[i]} * w[i]);
  return sum;
}

// w += (x step) >> 12, within 2^30; high: their upper halves.
void train16(int32_t* w, int16_t* high, const int16_t* x, int32_t step, int n) {
  for (int i = 0; i < n; ++i) {
    const int32_t v = w[i] + ((x[i] * step) >> 12);
    w[i] = v > 1 << 30 ? 1 << 30 : v < -(1 << 30) ? -(1 << 30) : v;
    high[i] = static_cast<int16_t>(w[i] >> 16);
  }
}

#include "layers_scalar.hpp"
#include "sound_variant.hpp"

}  // namespace

const Variant& variant_scalar() {
  static const Variant table{"scalar", encode, decode, record};
  return table;
}

}  // namespace lmc::sound
