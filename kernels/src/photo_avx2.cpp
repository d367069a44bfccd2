// The AVX2 variant: the same code for wider vectors, and products of bytes.
#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12's own avx512fintrin.h
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

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

#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2")
namespace lmc::photo {
namespace {

#include "layers_avx2.hpp"

#include "wide_avx2.hpp"
#include "photo_variant.hpp"

}  // namespace

const Variant& variant_avx2() {
  static const Variant table{"avx2", encode, decode, record};
  return table;
}

}  // namespace lmc::photo
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
