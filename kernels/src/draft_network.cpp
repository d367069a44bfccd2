#include "draft_network.hpp"

#include <algorithm>
#include <cmath>

#include "dispatch.hpp"
#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12's own avx512fintrin.h
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

namespace lmc::draft {
namespace {

void products_plain(const int8_t* w, int inputs, const float* const* x, int rows, float* out) {
  std::fill_n(out, rows * kStrip, 0.0f);
  for (int k = 0; k < inputs; ++k, w += kStrip)
    for (int r = 0; r < rows; ++r)
      for (int o = 0; o < kStrip; ++o) out[r * kStrip + o] += static_cast<float>(w[o]) * x[r][k];
}

#if defined(__x86_64__)
#define LMC_AVX2 __attribute__((target("avx2,fma"))) inline
#define LMC_AVX512 __attribute__((target("avx512f"))) inline

template <int kRows>
LMC_AVX2 void products_avx2(const int8_t* w, int inputs, const float* const* x, float* out) {
  __m256 low[kRows], high[kRows];
  for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_ps();
  for (int k = 0; k < inputs; ++k, w += kStrip) {
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w));
    const __m256 w0 = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b));
    const __m256 w1 = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)));
    for (int r = 0; r < kRows; ++r) {
      const __m256 v = _mm256_set1_ps(x[r][k]);
      low[r] = _mm256_fmadd_ps(w0, v, low[r]);
      high[r] = _mm256_fmadd_ps(w1, v, high[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    _mm256_storeu_ps(out + r * kStrip, low[r]);
    _mm256_storeu_ps(out + r * kStrip + 8, high[r]);
  }
}

// Two sums for each row, so that few rows do not wait for one another's.
template <int kRows>
LMC_AVX512 void products_avx512(const int8_t* w, int inputs, const float* const* x, float* out) {
  __m512 even[kRows], odd[kRows];
  for (int r = 0; r < kRows; ++r) even[r] = odd[r] = _mm512_setzero_ps();
  int k = 0;
  for (; k + 2 <= inputs; k += 2, w += 2 * kStrip) {
    const __m512 w0 = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w))));
    const __m512 w1 = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w + kStrip))));
    for (int r = 0; r < kRows; ++r) {
      even[r] = _mm512_fmadd_ps(w0, _mm512_set1_ps(x[r][k]), even[r]);
      odd[r] = _mm512_fmadd_ps(w1, _mm512_set1_ps(x[r][k + 1]), odd[r]);
    }
  }
  if (k < inputs) {
    const __m512 w0 = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w))));
    for (int r = 0; r < kRows; ++r) even[r] = _mm512_fmadd_ps(w0, _mm512_set1_ps(x[r][k]), even[r]);
  }
  for (int r = 0; r < kRows; ++r) _mm512_storeu_ps(out + r * kStrip, _mm512_add_ps(even[r], odd[r]));
}
#pragma GCC diagnostic pop

bool use_fma() {
  static const bool yes = use_avx2() && __builtin_cpu_supports("fma");
  return yes;
}
#endif

// Divided by the root mean square.
void unit(const float* x, int n, float epsilon, float* out) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  const float by = 1.0f / std::sqrt(sum / static_cast<float>(n) + epsilon);
  for (int i = 0; i < n; ++i) out[i] = x[i] * by;
}

// Rotary positions, pairs (i, i + half).
void turn(float* x, int heads, int dim, int place, float theta) {
  const int half = dim / 2;
  for (int i = 0; i < half; ++i) {
    const float angle = static_cast<float>(place * std::pow(static_cast<double>(theta), -static_cast<double>(i) / half));
    const float c = std::cos(angle), s = std::sin(angle);
    for (int h = 0; h < heads; ++h) {
      float* const at = x + h * dim;
      const float a = at[i], b = at[half + i];
      at[i] = a * c - b * s;
      at[half + i] = b * c + a * s;
    }
  }
}

float dot(const float* a, const float* b, int n) {
  float sum[8] = {};
  for (int i = 0; i < n; i += 8)
    for (int j = 0; j < 8; ++j) sum[j] += a[i + j] * b[i + j];
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

}  // namespace

void strip_products(const int8_t* w, int inputs, const float* const* x, int rows, float* out) {
#if defined(__x86_64__)
  if (use_avx512()) {
    switch (rows) {
      case 1: return products_avx512<1>(w, inputs, x, out);
      case 2: return products_avx512<2>(w, inputs, x, out);
      case 3: return products_avx512<3>(w, inputs, x, out);
      default: return products_avx512<4>(w, inputs, x, out);
    }
  }
  if (use_fma()) {
    switch (rows) {
      case 1: return products_avx2<1>(w, inputs, x, out);
      case 2: return products_avx2<2>(w, inputs, x, out);
      case 3: return products_avx2<3>(w, inputs, x, out);
      default: return products_avx2<4>(w, inputs, x, out);
    }
  }
#endif
  products_plain(w, inputs, x, rows, out);
}

void State::forget() {
  position_ = 0;
  known_ = guesses_ = 0;
  keys_.clear();
  values_.clear();
}

void State::extend(const std::vector<int32_t>& tokens, const std::vector<float>& taps) {
  const Shape& s = w_.shape;
  const size_t width = static_cast<size_t>(s.kv_heads) * static_cast<size_t>(s.head_dim), n = tokens.size();
  const auto dim = static_cast<size_t>(s.dim);
  if (known_ + static_cast<int>(n) > 2 * kWindow && known_ > kWindow) {  // far ones go
    const size_t drop = static_cast<size_t>(known_ - kWindow) * width;
    keys_.resize(static_cast<size_t>(known_) * width);
    values_.resize(static_cast<size_t>(known_) * width);
    keys_.erase(keys_.begin(), keys_.begin() + static_cast<ptrdiff_t>(drop));
    values_.erase(values_.begin(), values_.begin() + static_cast<ptrdiff_t>(drop));
    known_ = kWindow;
  }
  guesses_ = 0;
  std::vector<float> features(n * dim);
  if (s.taps == 1) {
    features = taps;
  } else {
    std::vector<float> inputs = taps;
    if (s.norms) {
      for (size_t i = 0; i < n * static_cast<size_t>(s.taps); ++i) unit(&inputs[i * dim], s.dim, s.epsilon, &inputs[i * dim]);
    }
    w_.fuse.multiply(pool_, inputs.data(), static_cast<int>(n), features.data(), dim);
    for (size_t i = 0; i < n * dim; ++i) features[i] += w_.fuse_bias[i % dim];
  }
  std::vector<int> places(n);
  for (size_t i = 0; i < n; ++i) places[i] = static_cast<int>(position_ + static_cast<int64_t>(i));
  std::vector<float> states;
  run(w_.module(0), tokens, features.data(), places, nullptr, states);
  position_ += static_cast<int64_t>(n);
  known_ += static_cast<int>(n);
  last_.assign(states.end() - s.dim, states.end());
}

void State::step(int depth, const std::vector<int32_t>& tokens, const std::vector<std::vector<int>>& ways,
                 const std::vector<float>& states, std::vector<float>& out) {
  const std::vector<int> places(tokens.size(), static_cast<int>(position_) - 1 + depth);
  run(w_.module(depth), tokens, states.data(), places, &ways, out);
  guesses_ += static_cast<int>(tokens.size());
}

void State::run(const Module& m, const std::vector<int32_t>& tokens, const float* features, const std::vector<int>& places,
                const std::vector<std::vector<int>>* ways, std::vector<float>& out) {
  const Shape& s = w_.shape;
  const int n = static_cast<int>(tokens.size());
  const auto dim = static_cast<size_t>(s.dim), hd = static_cast<size_t>(s.head_dim);
  const size_t width = static_cast<size_t>(s.kv_heads) * hd, wide = static_cast<size_t>(s.heads) * hd, rows = tokens.size();
  std::vector<float> joined(rows * 2 * dim), z(rows * dim), query(rows * wide), mixed(rows * wide);
  for (size_t i = 0; i < rows; ++i) {
    float* const to = &joined[i * 2 * dim];
    const int8_t* const e = &w_.embed[static_cast<size_t>(tokens[i]) * dim];
    const float scale = w_.embed_scale[static_cast<size_t>(tokens[i])];
    for (size_t k = 0; k < dim; ++k) to[k] = e[k] * scale;
    std::copy_n(features + i * dim, dim, to + dim);
    if (s.norms) {
      unit(to, s.dim, s.epsilon, to);
      unit(to + dim, s.dim, s.epsilon, to + dim);
    }
  }
  m.fc.multiply(pool_, joined.data(), n, z.data(), dim);
  for (size_t i = 0; i < rows * dim; ++i) z[i] += m.fc_bias[i % dim];
  const size_t first = static_cast<size_t>(known_ + guesses_);  // of the new keys
  keys_.resize((first + rows) * width);
  values_.resize((first + rows) * width);
  float* const keys = &keys_[first * width];
  m.q.multiply(pool_, z.data(), n, query.data(), wide);
  m.k.multiply(pool_, z.data(), n, keys, width);
  m.v.multiply(pool_, z.data(), n, &values_[first * width], width);
  for (size_t i = 0; i < rows; ++i) {
    turn(&query[i * wide], s.heads, s.head_dim, places[i], s.rope_theta);
    turn(keys + i * width, s.kv_heads, s.head_dim, places[i], s.rope_theta);
  }
  const float root = 1.0f / std::sqrt(static_cast<float>(hd));
  const int group = s.heads / s.kv_heads;
  pool_.run(n, [&](int row, int) {
    const auto i = static_cast<size_t>(row);
    std::vector<size_t> seen;
    const int reach = known_ + (ways ? 0 : row + 1);
    for (int k = std::max(0, reach - 2 * kWindow); k < reach; ++k) seen.push_back(static_cast<size_t>(k));
    if (ways) {
      for (const int guess : (*ways)[i]) seen.push_back(static_cast<size_t>(known_ + guess));
      seen.push_back(first + i);
    }
    std::vector<float> scores(seen.size());
    for (int h = 0; h < s.heads; ++h) {
      const size_t kv = static_cast<size_t>(h / group) * hd;
      const float* const q = &query[i * wide + static_cast<size_t>(h) * hd];
      float top = -INFINITY, sum = 0;
      for (size_t k = 0; k < seen.size(); ++k) {
        scores[k] = dot(q, &keys_[seen[k] * width + kv], s.head_dim) * root;
        top = std::max(top, scores[k]);
      }
      float* const to = &mixed[i * wide + static_cast<size_t>(h) * hd];
      std::fill_n(to, hd, 0.0f);
      for (size_t k = 0; k < seen.size(); ++k) {
        const float weight = std::exp(scores[k] - top);
        if (weight < 1e-6f) continue;
        sum += weight;
        const float* const v = &values_[seen[k] * width + kv];
        for (size_t c = 0; c < hd; ++c) to[c] += weight * v[c];
      }
      for (size_t c = 0; c < hd; ++c) to[c] /= sum;
    }
  });
  out.resize(rows * dim);
  m.o.multiply(pool_, mixed.data(), n, out.data(), dim);
  const auto hidden = static_cast<size_t>(s.hidden);
  std::vector<float> normed(rows * dim), gate(rows * hidden), up(rows * hidden), down(rows * dim);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t k = 0; k < dim; ++k) out[i * dim + k] += z[i * dim + k];
    unit(&out[i * dim], s.dim, s.epsilon, &normed[i * dim]);
    for (size_t k = 0; k < dim; ++k) normed[i * dim + k] *= m.norm[k];
  }
  m.gate.multiply(pool_, normed.data(), n, gate.data(), hidden);
  m.up.multiply(pool_, normed.data(), n, up.data(), hidden);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1.0f + std::exp(-gate[i]));
  m.down.multiply(pool_, gate.data(), n, down.data(), dim);
  for (size_t i = 0; i < down.size(); ++i) out[i] += down[i];
}

void State::probabilities(const float* states, int n, std::vector<float>& out) {
  const auto dim = static_cast<size_t>(w_.shape.dim), count = w_.vocabulary.size();
  std::vector<float> normed(static_cast<size_t>(n) * dim);
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    unit(states + i * dim, w_.shape.dim, w_.shape.final_epsilon, &normed[i * dim]);
    for (size_t k = 0; k < dim; ++k) normed[i * dim + k] *= w_.final_norm[k];
  }
  out.resize(static_cast<size_t>(n) * count);
  w_.head.multiply(pool_, normed.data(), n, out.data(), count);
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    float* const row = &out[i * count];
    const float top = *std::max_element(row, row + count);
    float sum = 0;
    for (size_t k = 0; k < count; ++k) {
      // Tokens without hope are not worth an exponential.
      row[k] = row[k] > top - 12 ? std::exp(row[k] - top) : 0.0f;
      sum += row[k];
    }
    const float by = 1.0f / sum;
    for (size_t k = 0; k < count; ++k) row[k] *= by;
  }
}

}  // namespace lmc::draft
