// The sound model: samples of a segment to coded bits and back. ARITHMETIC.md, "Sounds".
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lmc::sound {

constexpr int kChannels = 16;    // at most
constexpr int kDepth = 24;       // bits of a sample at most
constexpr int kEfforts = 3;
constexpr int kFades = 4;        // how much longer than usual windows may be
constexpr int kTaps = 64;        // features of a set at most

// What a segment is, and how it is coded.
struct Shape {
  int channels = 1;
  int64_t length = 0;                           // samples of a channel
  int effort = 1, fade = 0;
  bool weighted = true;                         // quiet samples teach the least squares more
  int32_t low[kChannels] = {}, high[kChannels] = {};  // the least and greatest sample of a channel
};

// Called now and then with the samples that are done; an exception ends the work.
using Progress = std::function<void(size_t)>;

// One instruction set's compilation; all give the same integers. samples: [channels], each `length` long.
struct Variant {
  const char* name;
  std::vector<uint8_t> (*encode)(const Shape&, const int32_t* const* samples, const Progress& progress);
  // False if the payload is damaged.
  bool (*decode)(const Shape&, const uint8_t* payload, size_t size, int32_t* const* samples, const Progress& progress);
};

const Variant& variant_by_name(const std::string& name);  // "": LMC_KERNELS, or the fastest
std::vector<std::string> variant_names();

// Bytes that a segment takes while it is coded, at most.
size_t segment_bytes(const Shape& shape);

}  // namespace lmc::sound
