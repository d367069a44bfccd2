// The AVX-512 variant with the VNNI dot products.
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
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,bmi,bmi2,prefer-vector-width=512")
namespace lmc::video {
namespace {

#include "layers_avx512vnni.hpp"

#include "wide_avx512.hpp"
#include "video_variant.hpp"

}  // namespace

const Variant& variant_avx512vnni() {
  static const Variant table{"avx512vnni", encode, decode, record};
  return table;
}

}  // namespace lmc::video
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
