// What every sound_*.cpp defines behind its own loops: the segment's code, compiled for an instruction set.


#include "decisions.hpp"
#include "layers_run.hpp"
#include "sound_squares.hpp"
#include "sound_filters.hpp"
#include "sound_segment.hpp"

// A coder that only knows.
struct Noting {
  static constexpr bool kKnown = true;
  int operator()(int bit, uint32_t) { return bit; }
  bool right() const { return true; }
};

std::vector<uint8_t> encode(const Shape& shape, const layers::Network* network, const int32_t* const* samples, const Progress& progress) {
  RangeEncoder coder;
  Encoding to{coder};
  int32_t* known[kChannels];  // written with what they hold
  for (int c = 0; c < shape.channels; ++c) known[c] = const_cast<int32_t*>(samples[c]);
  Segment(shape, network).code(to, known, progress);
  return std::move(coder).bytes();
}

bool decode(const Shape& shape, const layers::Network* network, const uint8_t* payload, size_t size, int32_t* const* samples, const Progress& progress) {
  RangeDecoder coder(payload, size);
  Decoding from{coder};
  Segment(shape, network).code(from, samples, progress);
  return !coder.damaged();
}

void record(const Shape& shape, const int32_t* const* samples, std::vector<Row>& rows) {
  Noting to;
  int32_t* known[kChannels];
  for (int c = 0; c < shape.channels; ++c) known[c] = const_cast<int32_t*>(samples[c]);
  Segment(shape, nullptr, &rows).code(to, known, [](size_t) {});
}
