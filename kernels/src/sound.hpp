// The sound model: samples of a segment to coded bits and back. ARITHMETIC.md, "Sounds".
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "layers.hpp"

namespace lmc::sound {

constexpr int kChannels = 16;    // at most
constexpr int kDepth = 24;       // bits of a sample at most
constexpr int kEfforts = 3;
constexpr int kFades = 4;        // how much longer than usual windows may be
constexpr int kTaps = 64;        // features of a set at most
constexpr int kBlock = 16;       // samples between two solutions, at most
constexpr int kInputs = 256;     // of a network
constexpr int kComponents = 4;   // logistics in the network's mixture

// What a segment is, and how it is coded.
struct Shape {
  int channels = 1;
  int64_t length = 0;                           // samples of a channel
  int effort = 1, fade = 0;
  bool weighted = true;                         // quiet samples teach the least squares more
  int32_t low[kChannels] = {}, high[kChannels] = {};  // the least and greatest sample of a channel
};

// What a training sees of each sample: the inputs, 64 sample - the mixture's centre, and its scale.
struct Row {
  uint8_t inputs[kInputs];
  int64_t offset, scale;
};

// Called now and then with the samples that are done; an exception ends the work.
using Progress = std::function<void(size_t)>;

// One instruction set's compilation; all give the same integers. samples: [channels], each `length` long.
// network: or nullptr.
struct Variant {
  const char* name;
  std::vector<uint8_t> (*encode)(const Shape&, const layers::Network* network, const int32_t* const* samples, const Progress& progress);
  // False if the payload is damaged.
  bool (*decode)(const Shape&, const layers::Network* network, const uint8_t* payload, size_t size, int32_t* const* samples,
                 const Progress& progress);
  // The samples as a network is trained on them.
  void (*record)(const Shape&, const int32_t* const* samples, std::vector<Row>& rows);
};

const Variant& variant_by_name(const std::string& name);  // "": LMC_KERNELS, or the fastest
std::vector<std::string> variant_names();

// Bytes that a segment takes while it is coded, at most.
size_t segment_bytes(const Shape& shape);

}  // namespace lmc::sound
