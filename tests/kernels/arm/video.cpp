// The samples of a segment (standard input), coded, to the standard output, each payload behind its size; they
// must come back.
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
  const auto samples = numbers<uint16_t>(shape.frame_samples() * static_cast<size_t>(shape.frames));
  if (samples.empty()) return 2;
  const Variant& variant = variant_by_name("scalar");
  const auto payloads = variant.encode(shape, samples.data(), 2, [](size_t) {});
  std::vector<std::pair<const uint8_t*, size_t>> views;
  for (const auto& payload : payloads) views.emplace_back(payload.data(), payload.size());
  std::vector<uint16_t> back(samples.size());
  if (!variant.decode(shape, views, back.data(), 2, [](size_t) {}) || back != samples) return 1;
  for (const auto& payload : payloads) {
    const auto size = static_cast<uint32_t>(payload.size());
    if (std::fwrite(&size, sizeof size, 1, stdout) != 1) return 2;
    if (std::fwrite(payload.data(), 1, payload.size(), stdout) != payload.size()) return 2;
  }
  return 0;
}
