// Products of rows and tiles of weights, for layers_run.hpp: plain C++, the definition of the others.
//
// Included by the variants of the models in a namespace of their own: no #pragma once.

constexpr int kRows = 8;

void dots(const uint8_t* a, int inputs, int rows, const int8_t* w, int32_t* out) {
  for (int r = 0; r < rows; ++r) {
    int32_t* to = out + r * layers::kUnit;
    for (int i = 0; i < layers::kUnit; ++i) to[i] = 0;
    const uint8_t* row = a + r * inputs;
    for (int k = 0; k < inputs; k += 4) {
      const int8_t* tile = w + k * layers::kUnit;
      for (int i = 0; i < layers::kUnit; ++i)
        to[i] += row[k] * tile[4 * i] + row[k + 1] * tile[4 * i + 1] + row[k + 2] * tile[4 * i + 2] + row[k + 3] * tile[4 * i + 3];
    }
  }
}
