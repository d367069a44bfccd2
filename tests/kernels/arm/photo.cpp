// The samples of a strip, coded with the networks that come with them (standard input), to the standard
// output; they must come back.
#include "photo.hpp"

#include <cstdio>
#include <utility>
#include <vector>

using namespace lmc::photo;

template <class T>
std::vector<T> numbers(size_t n) {
  std::vector<T> out(n);
  if (std::fread(out.data(), sizeof(T), n, stdin) != n) out.clear();
  return out;
}

int main() {
  const auto size = numbers<int32_t>(4);
  if (size.empty()) return 2;
  const Shape shape{size[0], size[1], size[2], size[3]};
  Network networks[kNetworks];
  for (Network& network : networks) {
    const auto count = numbers<int32_t>(1);
    for (int k = 0; k < (count.empty() ? 0 : count[0]); ++k) {
      const auto head = numbers<int32_t>(3);  // outputs, inputs, shift
      if (head.empty()) return 2;
      const size_t outputs = static_cast<size_t>(head[0]), inputs = static_cast<size_t>(head[1]);
      const auto weights = numbers<int8_t>(outputs * inputs);
      const auto bias = numbers<int32_t>(outputs), factor = numbers<int32_t>(outputs);
      if (factor.empty()) return 2;
      network.layers.push_back(lmc::layers::make_layer(head[1], head[0], head[2], weights.data(), bias.data(), factor.data()));
    }
  }
  const size_t row = static_cast<size_t>(shape.width) * static_cast<size_t>(shape.channels);
  const auto samples = numbers<uint16_t>(row * static_cast<size_t>(shape.height));
  if (samples.empty()) return 2;
  const Variant& variant = variant_by_name("scalar");
  const auto payload = variant.encode(shape, networks, samples.data(), row, [](size_t) {});
  std::vector<uint16_t> back(samples.size());
  if (!variant.decode(shape, networks, payload.data(), payload.size(), back.data(), row, [](size_t) {})) return 1;
  if (back != samples) return 1;
  return std::fwrite(payload.data(), 1, payload.size(), stdout) == payload.size() ? 0 : 2;
}
