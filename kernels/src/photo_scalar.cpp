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
#include "planes.hpp"
#include "quantiles.hpp"
#include "rangecoder.hpp"

namespace lmc::photo {
namespace {

#include "layers_scalar.hpp"

#include "wide_scalar.hpp"
#include "photo_variant.hpp"

}  // namespace

const Variant& variant_scalar() {
  static const Variant table{"scalar", encode, decode, record};
  return table;
}

}  // namespace lmc::photo
