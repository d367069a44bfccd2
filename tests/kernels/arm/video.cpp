// The samples of a segment, coded (standard input; with networks, if there are any), to the standard output, each
// payload behind its size; they must come back.
#include "video.hpp"

#include <cstdio>
#include <utility>
#include <vector>

using namespace lmc::video;

template <class T>
std::vector<T> numbers(size_t n) {
  std::vector<T> out(n);
  if (std::fread(out.data(), sizeof(T), n, stdin) != n) out.clear();
  return out;
}

int main() {
  const auto head = numbers<int32_t>(5);  // frames, depth, effort, strips, planes
  if (head.empty() || head[4] < 1 || head[4] > kPlanes) return 2;
  Shape shape;
  shape.frames = head[0];
  shape.depth = head[1];
  shape.effort = head[2];
  shape.strips = head[3];
  shape.planes = head[4];
  for (int c = 0; c < shape.planes; ++c) {
    const auto plane = numbers<int32_t>(4);
    if (plane.empty()) return 2;
    shape.plane[c] = {plane[0], plane[1], plane[2], plane[3]};
  }
  std::vector<Network> networks;
  const auto places = numbers<int32_t>(1);
  for (int i = 0; i < (places.empty() ? 0 : places[0]); ++i) {
    networks.emplace_back();
    const auto count = numbers<int32_t>(1);
    for (int k = 0; k < (count.empty() ? 0 : count[0]); ++k) {
      const auto size = numbers<int32_t>(3);  // outputs, inputs, shift
      if (size.empty()) return 2;
      const size_t outputs = static_cast<size_t>(size[0]), inputs = static_cast<size_t>(size[1]);
      const auto weights = numbers<int8_t>(outputs * inputs);
      const auto bias = numbers<int32_t>(outputs), factor = numbers<int32_t>(outputs);
      if (factor.empty()) return 2;
      networks.back().layers.push_back(lmc::layers::make_layer(size[1], size[0], size[2], weights.data(), bias.data(), factor.data()));
    }
  }
  const Network* const given = networks.empty() ? nullptr : networks.data();
  if (given != nullptr) shape.inputs = given->layers[0].inputs;
  const auto samples = numbers<uint16_t>(shape.frame_samples() * static_cast<size_t>(shape.frames));
  if (samples.empty()) return 2;
  const Variant& variant = variant_by_name("scalar");
  const auto payloads = variant.encode(shape, given, samples.data(), 2, [](size_t) {});
  std::vector<std::pair<const uint8_t*, size_t>> views;
  for (const auto& payload : payloads) views.emplace_back(payload.data(), payload.size());
  std::vector<uint16_t> back(samples.size());
  if (!variant.decode(shape, given, views, back.data(), 2, [](size_t) {}) || back != samples) return 1;
  for (const auto& payload : payloads) {
    const auto size = static_cast<uint32_t>(payload.size());
    if (std::fwrite(&size, sizeof size, 1, stdout) != 1) return 2;
    if (std::fwrite(payload.data(), 1, payload.size(), stdout) != payload.size()) return 2;
  }
  return 0;
}
