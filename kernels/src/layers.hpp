// Networks of small exact layers: 7-bit activations, int8 weights. Photos and sounds have such networks;
// ARITHMETIC.md, "Photos", defines them.
#pragma once
#include <cstdint>
#include <vector>

namespace lmc::layers {

constexpr int kUnit = 16;        // outputs of a tile of weights
constexpr int kMostWidth = 768;  // inputs or outputs of a layer

// out = (sum of weights x in + bias) x factor / 2^shift, rounded; clamped to 0..127 but in the last layer.
// weights: [outputs / kUnit][inputs / 4][kUnit][4].
struct Layer {
  int inputs = 0, outputs = 0, shift = 0;
  std::vector<int8_t> weights;
  std::vector<int32_t> bias, factor;
};

struct Network {
  std::vector<Layer> layers;
};

// A layer from weights row by row. Throws std::invalid_argument for shapes and numbers that the
// arithmetic does not allow.
Layer make_layer(int inputs, int outputs, int shift, const int8_t* weights, const int32_t* bias, const int32_t* factor);

}  // namespace lmc::layers
