// The video model: the planes of frames to coded bits and back. ARITHMETIC.md, "Videos".
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "layers.hpp"

namespace lmc::video {

constexpr int kPlanes = 4;       // at most: luma, two of chroma, alpha
constexpr int kReferences = 3;   // earlier frames that one may look at
constexpr int kEfforts = 2;
constexpr int kMostShift = 2;    // of chroma that is coarser than luma: log2 of how much
constexpr int kMostStrips = 64;

constexpr int kInputs = 104;    // of a network
constexpr int kWideInputs = 176;  // of a large one; those of a small one come first
constexpr int kComponents = 4;  // logistics in its mixture: offsets, logarithms of scales, logarithms of weights
constexpr int kNetworks = 3;    // for planes that see none, one and two others

using layers::Network;

struct PlaneShape {
  int width, height;
  int right, down;  // log2 of how many columns and rows of luma a sample stands for
};

// What a segment is, and how it is coded.
struct Shape {
  int frames = 1, depth = 8, planes = 1;  // depth: bits of a sample, 1 to 16
  PlaneShape plane[kPlanes] = {};         // the first one is luma
  int effort = 1, strips = 1;
  int inputs = kInputs;  // of its networks, or what a training is to see

  size_t frame_samples() const {
    size_t sum = 0;
    for (int c = 0; c < planes; ++c) sum += static_cast<size_t>(plane[c].width) * static_cast<size_t>(plane[c].height);
    return sum;
  }
};

// The first luma row of strip i; i = strips: all rows. A multiple of the coarsest plane's rows.
int first_row(const Shape& shape, int i);
int most_strips(const Shape& shape);

// What a training sees of each sample, in coding order, and what the sample cost without a network.
struct Row {
  uint8_t inputs[kWideInputs];
  int32_t centre, scale;  // units of 1/64
  int32_t value;
  int32_t cost;           // units of 2^-12 nats
};

// Called now and then with the samples that are done; an exception ends the work.
using Progress = std::function<void(size_t)>;

// One instruction set's compilation; all give the same integers. samples: frames, each its planes, each its rows.
// payloads: of the vectors, then of each strip. threads: as many as work side by side; 0: one for each processor.
// networks: kNetworks of them, or none.
struct Variant {
  const char* name;
  std::vector<std::vector<uint8_t>> (*encode)(const Shape&, const Network* networks, const uint16_t* samples, int threads, const Progress&);
  // False if a payload is damaged.
  bool (*decode)(const Shape&, const Network* networks, const std::vector<std::pair<const uint8_t*, size_t>>& payloads,
                 uint16_t* samples, int threads, const Progress&);
  // For each plane every `every`th sample, as its network is trained on it.
  std::vector<std::vector<Row>> (*record)(const Shape&, const uint16_t* samples, int every);
};

const Variant& variant_by_name(const std::string& name);  // "": LMC_KERNELS, or the fastest
std::vector<std::string> variant_names();

// Bytes that a segment takes while it is coded, at most.
size_t segment_bytes(const Shape& shape);

}  // namespace lmc::video
