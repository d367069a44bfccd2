// The photo model: samples of a strip to coded bits and back. ARITHMETIC.md, "Photos".
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lmc::photo {

constexpr int kInputs = 64;
constexpr int kComponents = 4;             // logistics in the network's mixture
constexpr int kOutputs = 3 * kComponents;  // offsets, logarithms of scales, logarithms of weights
constexpr int kUnit = 16;                  // outputs of a tile of weights
constexpr int kMostWidth = 768;
constexpr int kNetworks = 4;               // for the first, second and third of three channels, and for one alone

struct Shape {
  int height, width, channels, depth;  // channels: 1 or 3; depth: bits of a sample, 1 to 16
};

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

// What a training sees of each sample, and in which order (the coding order of the channel).
struct Row {
  uint8_t inputs[kInputs];
  int32_t centre, scale;  // units of 1/64
  int32_t value;
};

// Called now and then with the samples that are done; an exception ends the work.
using Progress = std::function<void(size_t)>;

// One instruction set's compilation; all give the same integers. `networks`: kNetworks of them.
struct Variant {
  const char* name;
  // samples: [height][stride], of which width * channels count.
  std::vector<uint8_t> (*encode)(const Shape&, const Network* networks, const uint16_t* samples, size_t stride,
                                 const Progress& progress);
  // False if the payload is damaged.
  bool (*decode)(const Shape&, const Network* networks, const uint8_t* payload, size_t size, uint16_t* samples, size_t stride,
                 const Progress& progress);
  // The samples of one channel as the networks are trained on them.
  void (*record)(const Shape&, const uint16_t* samples, size_t stride, int channel, std::vector<Row>& rows);
};

const Variant& variant_by_name(const std::string& name);  // "": LMC_KERNELS, or the fastest
std::vector<std::string> variant_names();

// Bytes that one strip takes while it is coded, at most.
size_t strip_bytes(const Shape& shape);

}  // namespace lmc::photo
