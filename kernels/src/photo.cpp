#include "photo.hpp"

#include <stdexcept>

#include "variants.hpp"

namespace lmc::photo {

const Variant& variant_scalar();
#if defined(__x86_64__)
const Variant& variant_avx2();
const Variant& variant_avx512vnni();
#endif

namespace {

std::vector<const Variant*> variants() {
  std::vector<const Variant*> all{&variant_scalar()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) all.push_back(&variant_avx2());
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    all.push_back(&variant_avx512vnni());
#endif
  return all;
}

}  // namespace


Layer make_layer(int inputs, int outputs, int shift, const int8_t* weights, const int32_t* bias, const int32_t* factor) {
  if (inputs < 4 || inputs % 4 != 0 || inputs > kMostWidth || outputs < kUnit || outputs % kUnit != 0 ||
      outputs > kMostWidth || shift < 1 || shift > 40)
    throw std::invalid_argument("the shape of a layer");
  Layer layer{inputs, outputs, shift, {}, {bias, bias + outputs}, {factor, factor + outputs}};
  layer.weights.resize(static_cast<size_t>(inputs) * static_cast<size_t>(outputs));
  for (int o = 0; o < outputs; ++o) {
    int64_t reach = 0;  // of the sum, whatever the inputs
    // 127 x 127 x 512 < 2^23, so with a bias below 2^30 no sum leaves 32 bits.
    if (bias[o] >= 1 << 30 || bias[o] <= -(1 << 30) || factor[o] < 0 || factor[o] >= 1 << 24)
      throw std::invalid_argument("a bias or factor of a layer");
    for (int i = 0; i < inputs; ++i) {
      const int8_t w = weights[static_cast<size_t>(o) * inputs + i];
      if (w == -128) throw std::invalid_argument("a weight of a layer");
      reach += 127 * (w < 0 ? -w : w);
      layer.weights[((static_cast<size_t>(o / kUnit) * (inputs / 4) + i / 4) * kUnit + o % kUnit) * 4 + i % 4] = w;
    }
    // Outputs are of 32 bits, and so are differences of two of them.
    reach += bias[o] < 0 ? -bias[o] : bias[o];
    if ((reach * factor[o] + (int64_t{1} << (shift - 1))) >> shift >= 1 << 30) throw std::invalid_argument("the reach of a layer");
  }
  return layer;
}

std::vector<std::string> variant_names() { return names_of(variants()); }
const Variant& variant_by_name(const std::string& name) { return variant_of(variants(), name); }

size_t strip_bytes(const Shape& shape) {
  const size_t height = static_cast<size_t>(shape.height) + 16, width = static_cast<size_t>(shape.width) + 16;
  const size_t channels = static_cast<size_t>(shape.channels);
  // Planes; the moments of the largest sets, their weights, features, inputs and outputs of each row; what is learned.
  return channels * (7 * height * width * 4 + height * 20000 + (size_t{9} << 20)) + (size_t{1} << 20);
}

}  // namespace lmc::photo
