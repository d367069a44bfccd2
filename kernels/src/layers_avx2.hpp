// Products of rows and tiles of weights, for layers_run.hpp: AVX2.
//
// Included by the variants of the models in a namespace of their own: no #pragma once.

constexpr int kRows = 8;

// Pairs of products of 0..127 and -127..127 stay within 16 bits, so nothing saturates.
template <int kNow>
inline void dots_of(const uint8_t* a, int inputs, const int8_t* w, int32_t* out) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i low[kNow], high[kNow];
  for (int r = 0; r < kNow; ++r) low[r] = high[r] = _mm256_setzero_si256();
  for (int k = 0; k < inputs; k += 4) {
    const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + k * layers::kUnit));
    const __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + k * layers::kUnit + 32));
    for (int r = 0; r < kNow; ++r) {
      int32_t four;
      std::memcpy(&four, a + r * inputs + k, 4);
      const __m256i x = _mm256_set1_epi32(four);
      low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w0), ones));
      high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w1), ones));
    }
  }
  for (int r = 0; r < kNow; ++r) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + r * layers::kUnit), low[r]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + r * layers::kUnit + 8), high[r]);
  }
}
void dots(const uint8_t* a, int inputs, int rows, const int8_t* w, int32_t* out) {
  int r = 0;
  for (; r + 4 <= rows; r += 4) dots_of<4>(a + r * inputs, inputs, w, out + r * layers::kUnit);
  for (; r < rows; ++r) dots_of<1>(a + r * inputs, inputs, w, out + r * layers::kUnit);
}
