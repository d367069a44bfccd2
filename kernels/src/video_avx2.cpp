// The AVX2 variant: the same code for wider vectors, and products of bytes.
#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12's own avx512fintrin.h
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

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

#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2")
namespace lmc::video {
namespace {

#include "layers_avx2.hpp"

#include "wide_avx2.hpp"
#include "video_variant.hpp"

}  // namespace

const Variant& variant_avx2() {
  static const Variant table{"avx2", encode, decode, record};
  return table;
}

}  // namespace lmc::video
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
