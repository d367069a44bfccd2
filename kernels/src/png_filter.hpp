// The filters of PNG (specification, clause 9): rows as differences to their neighbours.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace lmc::png {

constexpr int kFilters = 5;  // none, sub, up, average, Paeth

inline uint8_t paeth(int a, int b, int c) {
  const int p = a + b - c, pa = std::abs(p - a), pb = std::abs(p - b), pc = std::abs(p - c);
  return static_cast<uint8_t>(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

// What a filter predicts for byte i of a row; `above` is the row before, or zeros.
template <int filter>
uint8_t predicted(const uint8_t* row, const uint8_t* above, size_t i, size_t step) {
  const int a = i < step ? 0 : row[i - step], b = above[i], c = i < step ? 0 : above[i - step];
  if constexpr (filter == 1) return static_cast<uint8_t>(a);
  if constexpr (filter == 2) return static_cast<uint8_t>(b);
  if constexpr (filter == 3) return static_cast<uint8_t>((a + b) >> 1);
  if constexpr (filter == 4) return paeth(a, b, c);
  return 0;
}

template <int filter>
void filter_row(const uint8_t* row, const uint8_t* above, size_t n, size_t step, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(row[i] - predicted<filter>(row, above, i, step));
}

template <int filter>
void unfilter_row(const uint8_t* in, const uint8_t* above, size_t n, size_t step, uint8_t* row) {
  for (size_t i = 0; i < n; ++i) row[i] = static_cast<uint8_t>(in[i] + predicted<filter>(row, above, i, step));
}

inline void filter_row(int filter, const uint8_t* row, const uint8_t* above, size_t n, size_t step, uint8_t* out) {
  constexpr std::array<void (*)(const uint8_t*, const uint8_t*, size_t, size_t, uint8_t*), kFilters> f = {
      filter_row<0>, filter_row<1>, filter_row<2>, filter_row<3>, filter_row<4>};
  f[static_cast<size_t>(filter)](row, above, n, step, out);
}

inline void unfilter_row(int filter, const uint8_t* in, const uint8_t* above, size_t n, size_t step, uint8_t* row) {
  constexpr std::array<void (*)(const uint8_t*, const uint8_t*, size_t, size_t, uint8_t*), kFilters> f = {
      unfilter_row<0>, unfilter_row<1>, unfilter_row<2>, unfilter_row<3>, unfilter_row<4>};
  f[static_cast<size_t>(filter)](in, above, n, step, row);
}

// The filter that libpng takes for a row: the first with the least sum of absolute differences.
inline int usual_filter(const uint8_t* row, const uint8_t* above, size_t n, size_t step, uint8_t* scratch) {
  uint64_t least = UINT64_MAX;
  int best = 0;
  for (int f = 0; f < kFilters; ++f) {
    filter_row(f, row, above, n, step, scratch);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; ++i) sum += static_cast<uint64_t>(scratch[i] < 128 ? scratch[i] : 256 - scratch[i]);
    if (sum < least) {
      least = sum;
      best = f;
    }
  }
  return best;
}

}  // namespace lmc::png
