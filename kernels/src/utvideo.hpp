// Packets of Ut Video taken apart into samples and a description, and written again bit for bit.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace lmc::utvideo {

struct Plane {
  uint32_t width, height;
  bool even;  // slices end at even rows: the first plane of 4:2:0
};

struct Shape {
  std::vector<Plane> planes;
  uint32_t slices;

  size_t samples() const {
    size_t sum = 0;
    for (const Plane& p : planes) sum += static_cast<size_t>(p.width) * p.height;
    return sum;
  }
};

struct Picture {
  std::vector<uint8_t> samples;  // its planes one after another
  std::vector<uint8_t> side;     // what else the packet says: FORMAT.md, "Streams of Ut Video and HuffYUV"
};

// The picture of a packet; none if it is damaged, of another shape, or cannot be written again.
std::optional<Picture> read(const uint8_t* packet, size_t size, const Shape& shape);

// The packet of a picture (shape.samples() of them) whose description begins at `at`, which is moved behind it; none
// if the description is damaged.
std::optional<std::vector<uint8_t>> write(const uint8_t* samples, const Shape& shape, const uint8_t* side, size_t size,
                                          size_t& at);

}  // namespace lmc::utvideo
