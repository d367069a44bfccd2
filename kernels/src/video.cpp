#include "video.hpp"

#include <algorithm>

#include "dispatch.hpp"
#include "variants.hpp"

namespace lmc::video {

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

int coarsest(const Shape& shape) {
  int down = 0;
  for (int c = 0; c < shape.planes; ++c) down = std::max(down, shape.plane[c].down);
  return down;
}

}  // namespace

int most_strips(const Shape& shape) {
  const int down = coarsest(shape);
  return std::min(kMostStrips, (shape.plane[0].height + (1 << down) - 1) >> down);
}

int first_row(const Shape& shape, int i) {
  const int down = coarsest(shape), rows = (shape.plane[0].height + (1 << down) - 1) >> down;
  const int64_t first = (int64_t{rows} * i / shape.strips) << down;
  return static_cast<int>(std::min<int64_t>(first, shape.plane[0].height));
}

std::vector<std::string> variant_names() { return names_of(variants()); }
const Variant& variant_by_name(const std::string& name) { return variant_of(variants(), name); }

size_t segment_bytes(const Shape& shape) {
  size_t sum = size_t{1} << 20;
  for (int c = 0; c < shape.planes; ++c) {
    const size_t width = static_cast<size_t>(shape.plane[c].width) + 40, height = static_cast<size_t>(shape.plane[c].height) + 40;
    const size_t rows = height + 32 * static_cast<size_t>(shape.strips);
    // Earlier frames, errors, what other planes see; planes of the strips; their borders.
    sum += width * height * (kReferences * 2 + 8 + 16) + width * rows * 17 * 4;
    // The moments of each row in the sets, features; what each strip learns.
    sum += rows * 90000 + static_cast<size_t>(shape.strips) * (size_t{10} << 20);
  }
  return sum;
}

}  // namespace lmc::video
