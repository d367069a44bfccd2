#include "layers.hpp"

#include <cstddef>
#include <stdexcept>

namespace lmc::layers {

Layer make_layer(int inputs, int outputs, int shift, const int8_t* weights, const int32_t* bias, const int32_t* factor) {
  if (inputs < 4 || inputs % 4 != 0 || inputs > kMostWidth || outputs < kUnit || outputs % kUnit != 0 ||
      outputs > kMostWidth || shift < 1 || shift > 40)
    throw std::invalid_argument("the shape of a layer");
  Layer layer{inputs, outputs, shift, {}, {bias, bias + outputs}, {factor, factor + outputs}};
  layer.weights.resize(static_cast<size_t>(inputs) * static_cast<size_t>(outputs));
  for (int o = 0; o < outputs; ++o) {
    int64_t reach = 0;  // of the sum, whatever the inputs
    // 127 x 127 x 512 < 2^23, so with a bias below 2^30 no sum leaves 32 bits.
    if (bias[o] >= 1 << 30 || bias[o] <= -(1 << 30) || factor[o] < 0 || factor[o] >= 1 << 24)
      throw std::invalid_argument("a bias or factor of a layer");
    for (int i = 0; i < inputs; ++i) {
      const int8_t w = weights[static_cast<size_t>(o) * inputs + i];
      if (w == -128) throw std::invalid_argument("a weight of a layer");
      reach += 127 * (w < 0 ? -w : w);
      layer.weights[((static_cast<size_t>(o / kUnit) * (inputs / 4) + i / 4) * kUnit + o % kUnit) * 4 + i % 4] = w;
    }
    // Outputs are of 32 bits, and so are differences of two of them.
    reach += bias[o] < 0 ? -bias[o] : bias[o];
    if ((reach * factor[o] + (int64_t{1} << (shift - 1))) >> shift >= 1 << 30) throw std::invalid_argument("the reach of a layer");
  }
  return layer;
}

}  // namespace lmc::layers
