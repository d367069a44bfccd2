// Packets of FFV1 (RFC 9043), taken apart into samples and what else they say, and written again. The
// format leaves a writer choices only in fields, which are noted; the ends of coded bits and the
// padding are those of FFmpeg's writer. FORMAT.md, "FFV1", has the notes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace lmc::ffv1 {

// coarse: of each plane behind the first one, log2 of the columns and rows that a sample stands for.
struct Shape {
  int bits = 8;
  bool rgb = false;
  std::vector<std::pair<int, int>> coarse;

  bool operator==(const Shape& other) const {
    return bits == other.bits && rgb == other.rgb && coarse == other.coarse;
  }
};

struct Taken {
  Shape shape;
  std::vector<uint16_t> samples;  // of all frames, each its planes one after another
  std::vector<uint8_t> side;
};

// The packets of a stream of that size. record: the configuration record of version 3; of versions 0
// and 1 nothing. Nothing if they are damaged, of a kind that is not known, or have more than `most`
// samples.
std::optional<Taken> take(const std::vector<std::string_view>& packets, std::string_view record, int width, int height,
                          size_t most);

// The packets again, one for each frame; nothing where the side or the record leads nowhere, or to
// frames of another shape. frame: samples of a frame.
std::optional<std::vector<std::vector<uint8_t>>> give(const uint16_t* samples, size_t frames, size_t frame,
                                                      const Shape& shape, std::string_view side,
                                                      std::string_view record, int width, int height);

}  // namespace lmc::ffv1
