// The samples of a segment, coded (standard input; with a network, if layers come with them), to the standard
// output; they must come back.
#include "sound.hpp"

#include <cstdio>
#include <vector>

using namespace lmc::sound;

template <class T = int32_t>
std::vector<T> numbers(size_t n) {
  std::vector<T> out(n);
  if (std::fread(out.data(), sizeof(T), n, stdin) != n) out.clear();
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
  lmc::layers::Network network;
  const auto count = numbers(1);
  for (int k = 0; k < (count.empty() ? 0 : count[0]); ++k) {
    const auto size = numbers(3);  // outputs, inputs, shift
    if (size.empty()) return 2;
    const size_t outputs = static_cast<size_t>(size[0]), inputs = static_cast<size_t>(size[1]);
    const auto weights = numbers<int8_t>(outputs * inputs);
    const auto bias = numbers(outputs), factor = numbers(outputs);
    if (factor.empty()) return 2;
    network.layers.push_back(lmc::layers::make_layer(size[1], size[0], size[2], weights.data(), bias.data(), factor.data()));
  }
  const auto* const given = network.layers.empty() ? nullptr : &network;
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
  const auto payload = variant.encode(shape, given, from, [](size_t) {});
  if (!variant.decode(shape, given, payload.data(), payload.size(), to, [](size_t) {}) || back != samples) return 1;
  return std::fwrite(payload.data(), 1, payload.size(), stdout) == payload.size() ? 0 : 2;
}
