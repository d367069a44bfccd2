// What every photo_*.cpp defines behind its own dots(): the strip's code, compiled for an instruction set.

#include "decisions.hpp"
#include "logistic.hpp"
#include "layers_run.hpp"
#include "mixture.hpp"
#include "squares.hpp"
#include "photo_strip.hpp"

std::vector<uint8_t> encode(const Shape& shape, const Network* networks, const uint16_t* samples, size_t stride, const Progress& progress) {
  RangeEncoder coder;
  Encoding to{coder};
  uint16_t* const known = const_cast<uint16_t*>(samples);  // written with what it holds
  Strip(shape, networks).code(to, known, stride, progress);
  return std::move(coder).bytes();
}

bool decode(const Shape& shape, const Network* networks, const uint8_t* payload, size_t size, uint16_t* samples, size_t stride, const Progress& progress) {
  RangeDecoder coder(payload, size);
  Decoding from{coder};
  Strip(shape, networks).code(from, samples, stride, progress);
  return !coder.damaged();
}

void record(const Shape& shape, const uint16_t* samples, size_t stride, int wanted, std::vector<Row>& rows) {
  const Network none[kNetworks];
  Strip strip(shape, none);
  strip.walk([&](Channel& channel, int c, int t, int y0, int y1) {
    channel.prepare(t, y0, y1);
    for (int y = y0; y <= y1; ++y) {
      const int32_t value = samples[static_cast<size_t>(y) * stride + static_cast<size_t>((t - kLag * y) * shape.channels + c)];
      if (c == wanted) {
        Row row;
        std::memcpy(row.inputs, channel.inputs(y - y0), kInputs);
        row.centre = static_cast<int32_t>(channel.site(y - y0).centre);
        row.scale = channel.site(y - y0).scale;
        row.value = value;
        rows.push_back(row);
      }
      channel.learn_from(y - y0, value);
    }
    channel.learn(y0, y1, strip.first_row(t + 1));
    return true;
  });
}
