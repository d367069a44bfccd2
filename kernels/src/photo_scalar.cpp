// The portable variant: plain C++, the definition of the others.
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "dispatch.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"
#include "photo.hpp"
#include "photo_planes.hpp"
#include "quantiles.hpp"
#include "rangecoder.hpp"

namespace lmc::photo {
namespace {

#include "layers_scalar.hpp"

// kLanes numbers of 64 bits, of which products take the low half.
constexpr int kLanes = 8;
struct Wide {
  int64_t v[kLanes];
};
template <class F>
inline Wide lanes(F&& f) {
  Wide out;
  for (int i = 0; i < kLanes; ++i) out.v[i] = f(i);
  return out;
}
inline Wide all(int64_t v) { return lanes([=](int) { return v; }); }
inline Wide load(const int32_t* p) { return lanes([=](int i) { return int64_t{p[i]}; }); }
inline void store(int32_t* p, const Wide& a) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int32_t>(a.v[i]);
}
inline Wide add(const Wide& a, const Wide& b) { return lanes([&](int i) { return a.v[i] + b.v[i]; }); }
inline Wide sub(const Wide& a, const Wide& b) { return lanes([&](int i) { return a.v[i] - b.v[i]; }); }
inline Wide times(const Wide& a, const Wide& b) {
  return lanes([&](int i) { return int64_t{static_cast<int32_t>(a.v[i])} * static_cast<int32_t>(b.v[i]); });
}
inline Wide most(const Wide& a, const Wide& b) { return lanes([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline Wide least(const Wide& a, const Wide& b) { return lanes([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
template <int k>
inline Wide lower(const Wide& a) {
  return lanes([&](int i) { return a.v[i] >> k; });
}
inline Wide raise(const Wide& a, const Wide& by) {
  return lanes([&](int i) { return static_cast<int64_t>(static_cast<uint64_t>(a.v[i]) << by.v[i]); });
}
inline Wide reciprocal(const Wide& d) {
  return lanes([&](int i) { return (int64_t{1} << 45) / d.v[i]; });
}

#include "photo_variant.hpp"

}  // namespace

const Variant& variant_scalar() {
  static const Variant table{"scalar", encode, decode, record};
  return table;
}

}  // namespace lmc::photo
