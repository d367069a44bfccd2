// What the two NEON variants share; `Dot` is the sum of products of four int8 for each of four
// outputs.
#include "vec_neon.hpp"

void transpose(Acts&, int, int) {}

template <int COUNT>
inline void dots_of(const int8_t* keys, int head_dim, const int8_t* q, size_t q_stride, int32_t* out,
                    size_t stride) {
  Dot acc[COUNT][4];
  for (int k = 0; k < head_dim; k += 4) {
    int8x16_t w[4];
    for (int i = 0; i < 4; ++i) w[i] = vld1q_s8(keys + k * TILE + 16 * i);
    for (int j = 0; j < COUNT; ++j) {
      int32_t four;
      std::memcpy(&four, q + j * q_stride + k, 4);
      const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
      for (int i = 0; i < 4; ++i) acc[j][i].add(w[i], x);
    }
  }
  for (int j = 0; j < COUNT; ++j) {
    for (int i = 0; i < 4; ++i) vst1q_s32(out + j * stride + 4 * i, acc[j][i].sum());
  }
}

// `count` vectors (at most 4) against 16 outputs in the packed form.
inline void dots_tile(const int8_t* w, int k, const int8_t* q, size_t q_stride, int count, int32_t* out,
                      size_t stride) {
  switch (count) {
    case 1: dots_of<1>(w, k, q, q_stride, out, stride); break;
    case 2: dots_of<2>(w, k, q, q_stride, out, stride); break;
    case 3: dots_of<3>(w, k, q, q_stride, out, stride); break;
    default: dots_of<4>(w, k, q, q_stride, out, stride);
  }
}

void dots(const uint8_t* const* tiles, int n, int head_dim, const int8_t* queries, int count, int32_t* out,
          size_t stride) {
  for (int t = 0; t < n; ++t) {
    dots_tile(reinterpret_cast<const int8_t*>(tiles[t]), head_dim, queries, static_cast<size_t>(head_dim), count,
              out + t * TILE, stride);
  }
}

template <int COUNT>
inline void mix_of(const uint8_t* const* tiles, int n, int head_dim, const int16_t* w, size_t stride, int32_t* out) {
  const size_t at = TileShape{head_dim}.values();
  for (int c = 0; c < head_dim; c += 16) {
    int32x4_t acc[COUNT][4];
    for (int j = 0; j < COUNT; ++j) {
      for (int i = 0; i < 4; ++i) acc[j][i] = vdupq_n_s32(0);
    }
    for (int t = 0; t < n; ++t) {
      const int8_t* v = reinterpret_cast<const int8_t*>(tiles[t] + at) + 2 * c;
      for (int i = 0; i < TILE; i += 2) {
        const int8x16x2_t pair = vld2q_s8(v + i * head_dim);  // 16 values of either token
        for (int token = 0; token < 2; ++token) {
          const int16x8_t low = vmovl_s8(vget_low_s8(pair.val[token])), high = vmovl_high_s8(pair.val[token]);
          for (int j = 0; j < COUNT; ++j) {
            const int16_t weight = w[j * stride + t * TILE + i + token];
            acc[j][0] = vmlal_n_s16(acc[j][0], vget_low_s16(low), weight);
            acc[j][1] = vmlal_high_n_s16(acc[j][1], low, weight);
            acc[j][2] = vmlal_n_s16(acc[j][2], vget_low_s16(high), weight);
            acc[j][3] = vmlal_high_n_s16(acc[j][3], high, weight);
          }
        }
      }
    }
    for (int j = 0; j < COUNT; ++j) {
      for (int i = 0; i < 4; ++i) vst1q_s32(out + j * head_dim + c + 4 * i, acc[j][i]);
    }
  }
}

void mix(const uint8_t* const* tiles, int n, int head_dim, const int16_t* w, size_t stride, int count, int32_t* acc) {
  switch (count) {
    case 1: mix_of<1>(tiles, n, head_dim, w, stride, acc); break;
    case 2: mix_of<2>(tiles, n, head_dim, w, stride, acc); break;
    case 3: mix_of<3>(tiles, n, head_dim, w, stride, acc); break;
    default: mix_of<4>(tiles, n, head_dim, w, stride, acc);
  }
}

#include "network_steps.hpp"

void products(const Matrix& m, const Acts& a, int tile, int r0, int rows, int, int32_t* acc) {
  const int8_t* w = m.packed + static_cast<size_t>(tile) * m.kp * TILE;
  const size_t stride = static_cast<size_t>(a.kp);
  const int8_t* q = reinterpret_cast<const int8_t*>(a.q.data()) + r0 * stride;
  for (int r = 0; r < rows; r += 4) {
    dots_tile(w, m.kp, q + r * stride, stride, rows - r < 4 ? rows - r : 4, acc + r * TILE, TILE);
  }
}
