// The AVX-512 variant with the VNNI dot products.
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
#include "photo_planes.hpp"
#include "quantiles.hpp"
#include "rangecoder.hpp"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,bmi,bmi2,prefer-vector-width=512")
namespace lmc::photo {
namespace {

#include "layers_avx512vnni.hpp"

// kLanes numbers of 64 bits, of which products take the low half.
constexpr int kLanes = 8;
using Wide = __m512i;
inline Wide all(int64_t v) { return _mm512_set1_epi64(v); }
inline Wide load(const int32_t* p) { return _mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline void store(int32_t* p, Wide x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi64_epi32(x)); }
inline Wide add(Wide x, Wide y) { return _mm512_add_epi64(x, y); }
inline Wide sub(Wide x, Wide y) { return _mm512_sub_epi64(x, y); }
inline Wide times(Wide x, Wide y) { return _mm512_mul_epi32(x, y); }
inline Wide most(Wide x, Wide y) { return _mm512_max_epi64(x, y); }
inline Wide least(Wide x, Wide y) { return _mm512_min_epi64(x, y); }
template <int k>
inline Wide lower(Wide x) {
  return _mm512_srai_epi64(x, k);
}
inline Wide raise(Wide x, Wide by) { return _mm512_sllv_epi64(x, by); }
// The quotient by a division of doubles, corrected to be exact.
inline Wide reciprocal(Wide d) {
  const Wide q = _mm512_cvttpd_epi64(_mm512_div_pd(_mm512_set1_pd(35184372088832.0), _mm512_cvtepi64_pd(d)));
  const __mmask8 above = _mm512_cmpgt_epi64_mask(_mm512_mul_epi32(q, d), all(int64_t{1} << 45));
  return _mm512_mask_sub_epi64(q, above, q, all(1));
}

#include "photo_variant.hpp"

}  // namespace

const Variant& variant_avx512vnni() {
  static const Variant table{"avx512vnni", encode, decode, record};
  return table;
}

}  // namespace lmc::photo
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
