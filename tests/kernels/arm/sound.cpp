// The samples of a segment, coded (standard input), to the standard output; they must come back.
#include "sound.hpp"

#include <cstdio>
#include <vector>

using namespace lmc::sound;

std::vector<int32_t> numbers(size_t n) {
  std::vector<int32_t> out(n);
  if (std::fread(out.data(), sizeof(int32_t), n, stdin) != n) out.clear();
  return out;
}

int main() {
  const auto head = numbers(4);  // channels, length, effort, fade
  if (head.empty()) return 2;
  Shape shape;
  shape.channels = head[0];
  shape.length = head[1];
  shape.effort = head[2];
  shape.fade = head[3];
  const size_t channels = static_cast<size_t>(head[0]), length = static_cast<size_t>(head[1]);
  const auto ranges = numbers(2 * channels);
  const auto samples = numbers(channels * length);
  if (ranges.empty() || samples.empty()) return 2;
  std::vector<int32_t> back(samples.size());
  const int32_t* from[kChannels];
  int32_t* to[kChannels];
  for (size_t c = 0; c < channels; ++c) {
    shape.low[c] = ranges[2 * c];
    shape.high[c] = ranges[2 * c + 1];
    from[c] = samples.data() + c * length;
    to[c] = back.data() + c * length;
  }
  const Variant& variant = variant_by_name("scalar");
  const auto payload = variant.encode(shape, from, [](size_t) {});
  if (!variant.decode(shape, payload.data(), payload.size(), to, [](size_t) {}) || back != samples) return 1;
  return std::fwrite(payload.data(), 1, payload.size(), stdout) == payload.size() ? 0 : 2;
}
