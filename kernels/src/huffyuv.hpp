// Packets of HuffYUV 2 and FFmpeg's variants of it taken apart into samples and a description, and written again.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "huffman.hpp"

namespace lmc::huffyuv {

enum Prediction { kLeft, kPlane, kMedian };

struct Shape {
  struct Plane {
    uint32_t width, height;
  };
  std::vector<Plane> planes;
  int bits;  // of a sample: 8 to 16
  Prediction how;
  bool mixed;       // the rows of three planes lie among each other (version 2): 4:2:2, or 4:2:0
  bool interlaced;  // the row above is that of the same field
  bool own_tables;  // each packet has its own codes

  size_t samples() const {
    size_t sum = 0;
    for (const Plane& p : planes) sum += static_cast<size_t>(p.width) * p.height;
    return sum;
  }
  // Codes of a table. Of more than 14 bits the lowest two are not coded.
  size_t symbols() const { return size_t{1} << std::min(bits, 14); }
};

struct Picture {
  std::vector<uint16_t> samples;  // its planes one after another
  std::vector<uint8_t> side;      // what else the packet says: FORMAT.md, "Streams of Ut Video and HuffYUV"
};

// A stream, packet by packet from its first on: codes may follow from the pictures before.
class Stream {
 public:
  // tables: as the extradata have them. Raises huffman::Bad on a shape or tables that none has.
  Stream(const Shape& shape, const uint8_t* tables, size_t size);

  // The picture of the next packet; none if it is damaged, of another shape, or cannot be written again.
  std::optional<Picture> read(const uint8_t* packet, size_t size);
  // The packet of the next picture (samples() of them, each within its bits), whose description begins at `at`, which
  // is moved behind it; none if the description is damaged. usual: it is that of a packet without anything special.
  std::optional<std::vector<uint8_t>> write(const uint16_t* samples, bool usual, const uint8_t* side, size_t size,
                                            size_t& at);
  const Shape& shape() const { return shape_; }

 private:
  using Counts = std::vector<std::vector<uint64_t>>;
  using Lengths = std::vector<std::vector<uint8_t>>;

  Lengths lengths_of(huffman::Rule rule) const;
  void use(const Lengths& lengths);
  void age();
  std::vector<uint8_t> describe(const Lengths& lengths) const;
  Lengths described(bool usual, const uint8_t* side, size_t size, size_t& at) const;
  std::vector<uint8_t> packet(const uint16_t* samples, const Lengths& lengths);

  Shape shape_;
  std::vector<huffman::Code> codes_;  // of each plane
  Counts counts_;
};

}  // namespace lmc::huffyuv
