#include "sound.hpp"

#include "dispatch.hpp"
#include "variants.hpp"

namespace lmc::sound {

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

size_t segment_bytes(const Shape& shape) {
  // Of each channel: its maps and mixer, the least squares of six sets, the filters.
  return static_cast<size_t>(shape.channels) * (size_t{8} << 20) + (size_t{1} << 20);
}

}  // namespace lmc::sound
