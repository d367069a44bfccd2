// The photo model: samples of a strip to coded bits and back. ARITHMETIC.md, "Photos".
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "layers.hpp"

namespace lmc::photo {

constexpr int kInputs = 64;
constexpr int kComponents = 4;             // logistics in the network's mixture
constexpr int kOutputs = 3 * kComponents;  // offsets, logarithms of scales, logarithms of weights
using layers::kUnit;
constexpr int kNetworks = 4;               // for the first, second and third of three channels, and for one alone

struct Shape {
  int height, width, channels, depth;  // channels: 1 or 3; depth: bits of a sample, 1 to 16
};

using layers::Network;

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
