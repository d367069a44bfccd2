// Running a network: exact products of 7-bit activations and int8 weights.
//
// Included by each variant of a model behind its layers_*.hpp, which defines dots(): out[r][kUnit] =
// products of a tile's weights with row r of rows <= kRows rows.

#ifndef LMC_LAYERS_ROUNDED
inline void rounded(const int32_t* sums, const int32_t* bias, const int32_t* factor, int shift, int32_t* y) {
  for (int i = 0; i < layers::kUnit; ++i)
    y[i] = static_cast<int32_t>((int64_t{sums[i] + bias[i]} * factor[i] + (int64_t{1} << (shift - 1))) >> shift);
}
#endif

inline void run(const layers::Network& network, const uint8_t* in, int rows, int32_t* out) {
  alignas(64) uint8_t from[kRows * layers::kMostWidth], to[kRows * layers::kMostWidth];
  alignas(64) int32_t sums[kRows * layers::kUnit];
  for (int r0 = 0; r0 < rows; r0 += kRows) {
    const int n = rows - r0 < kRows ? rows - r0 : kRows;
    const uint8_t* a = in + static_cast<size_t>(r0) * network.layers[0].inputs;
    for (size_t k = 0; k < network.layers.size(); ++k) {
      const layers::Layer& layer = network.layers[k];
      const bool last = k + 1 == network.layers.size();
      for (int tile = 0; tile < layer.outputs / layers::kUnit; ++tile) {
        dots(a, layer.inputs, n, layer.weights.data() + static_cast<size_t>(tile) * layer.inputs * layers::kUnit, sums);
        const int32_t* bias = layer.bias.data() + tile * layers::kUnit;
        const int32_t* factor = layer.factor.data() + tile * layers::kUnit;
        for (int r = 0; r < n; ++r) {
          int32_t y[layers::kUnit];
          rounded(sums + r * layers::kUnit, bias, factor, layer.shift, y);
          if (last) {
            for (int i = 0; i < layers::kUnit; ++i) out[static_cast<size_t>(r0 + r) * layers::kUnit + i] = y[i];
          } else {
            for (int i = 0; i < layers::kUnit; ++i)
              to[r * layer.outputs + tile * layers::kUnit + i] = static_cast<uint8_t>(y[i] < 0 ? 0 : y[i] > 127 ? 127 : y[i]);
          }
        }
      }
      std::memcpy(from, to, static_cast<size_t>(n) * layer.outputs);
      a = from;
    }
  }
}
