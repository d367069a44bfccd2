// The portable variant: plain C++, the definition of the others.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "dispatch.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"
#include "planes.hpp"
#include "quantiles.hpp"
#include "rangecoder.hpp"
#include "threads.hpp"
#include "video.hpp"
#include "video_motion.hpp"
#include "video_planes.hpp"

namespace lmc::video {
namespace {

#include "layers_scalar.hpp"

#include "wide_scalar.hpp"
#include "video_variant.hpp"

}  // namespace

const Variant& variant_scalar() {
  static const Variant table{"scalar", encode, decode, record};
  return table;
}

}  // namespace lmc::video
