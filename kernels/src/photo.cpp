#include "photo.hpp"

#include "dispatch.hpp"
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
  if (has_avx512vnni()) all.push_back(&variant_avx512vnni());
#endif
  return all;
}

}  // namespace

std::vector<std::string> variant_names() { return names_of(variants()); }
const Variant& variant_by_name(const std::string& name) { return variant_of(variants(), name); }

size_t strip_bytes(const Shape& shape) {
  const size_t height = static_cast<size_t>(shape.height) + 16, width = static_cast<size_t>(shape.width) + 16;
  const size_t channels = static_cast<size_t>(shape.channels);
  // Planes; the moments of the largest sets, their weights, features, inputs and outputs of each row; what is learned.
  return channels * (7 * height * width * 4 + height * 20000 + (size_t{9} << 20)) + (size_t{1} << 20);
}

}  // namespace lmc::photo
