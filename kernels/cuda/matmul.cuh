// Products of int8 weights and activations on tensor cores, and what ARITHMETIC.md does with their sums.
//
// The sums are exact, so that any order of the inputs gives the same ones: a thread reads 16 neighbouring
// bytes of a row of each factor and takes them for the four words that two multiplications want of it.
#pragma once
#include "steps.cuh"

namespace lmc::cuda {

struct Matrix {
  const int8_t* weight;  // [n rounded up to 64][kp]
  const int* scale;      // raised by 7 bits
  const int* bias;       // may be null
  int n, kp, exponent, up;
};

constexpr int kOutputs = 64;  // that the kernels' blocks may read beyond n

// d += a b: 16 outputs, 8 rows, 32 inputs.
__device__ inline void multiply_add(int (&d)[4], int a0, int a1, int a2, int a3, int b0, int b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ inline void multiply_add(int (&d)[4], const int4& upper, const int4& lower, const int4& b) {
  multiply_add(d, upper.x, lower.x, upper.y, lower.y, b.x, b.y);
  multiply_add(d, upper.z, lower.z, upper.w, lower.w, b.z, b.w);
}

struct Epilogue {
  const Matrix& m;
  int scale, down;
  __device__ Epilogue(const Matrix& m, const Acts& a, int row)
      : m(m), scale(a.scale[row]), down(m.exponent + a.exponent[row] + m.up - 71) {}
  __device__ int operator()(int sum, int n, const int* before) const {
    int y = shift(mul31(mul31(static_cast<int>(static_cast<uint32_t>(sum) << m.up), m.scale[n]), scale), down);
    y = cut(y, kLimit);
    if (m.bias) y = cut(y + m.bias[n], kLimit);
    return before ? cut(y + *before, kLimit) : y;
  }
};

// 16 outputs and 8 kRows rows of a block; its four warps share the inputs.
template <int kRows, bool kAdd>
__global__ void __launch_bounds__(128) multiply_few(Matrix m, Acts a, const Row* rows, int* out) {
  __shared__ int sums[4][8 * kRows][17];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int n0 = blockIdx.x * 16, r0 = blockIdx.y * 8 * kRows;
  const int8_t* const w = m.weight + static_cast<size_t>(n0 + g) * m.kp + 16 * t;
  const int8_t* const q = a.q + static_cast<size_t>(r0 + g) * m.kp + 16 * t;
  int acc[kRows][4] = {};
#pragma unroll 4
  for (int k = 64 * warp; k < m.kp; k += 256) {
    const int4 upper = *reinterpret_cast<const int4*>(w + k);
    const int4 lower = *reinterpret_cast<const int4*>(w + 8 * static_cast<size_t>(m.kp) + k);
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      multiply_add(acc[r], upper, lower, *reinterpret_cast<const int4*>(q + 8 * r * static_cast<size_t>(m.kp) + k));
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    for (int i = 0; i < 4; ++i) sums[warp][8 * r + 2 * t + i % 2][g + 8 * (i / 2)] = acc[r][i];
  __syncthreads();
  for (int e = threadIdx.x; e < 16 * 8 * kRows; e += 128) {
    const int r = e / 16, n = n0 + e % 16, row = r0 + r;
    if (n >= m.n || rows[row].lane < 0) continue;
    int* const to = out + static_cast<size_t>(row) * m.n + n;
    const int sum = sums[0][r][e % 16] + sums[1][r][e % 16] + sums[2][r][e % 16] + sums[3][r][e % 16];
    *to = Epilogue(m, a, row)(sum, n, kAdd ? to : nullptr);
  }
}

// 32 kTiles outputs and 64 rows of a block, half of both for each of its four warps.
template <int kTiles, bool kAdd>
__global__ void __launch_bounds__(128) multiply_many(Matrix m, Acts a, const Row* rows, int* out) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int n0 = blockIdx.x * 32 * kTiles + warp % 2 * 16 * kTiles, r0 = blockIdx.y * 64 + warp / 2 * 32;
  const int8_t* const w = m.weight + static_cast<size_t>(n0 + g) * m.kp + 16 * t;
  const int8_t* const q = a.q + static_cast<size_t>(r0 + g) * m.kp + 16 * t;
  const size_t eight = 8 * static_cast<size_t>(m.kp);
  constexpr int kAhead = 2;  // loads under way (through shared memory, four steps ahead, was slower)
  int acc[kTiles][4][4] = {};
  int4 weight[kAhead][2 * kTiles] = {}, input[kAhead][4] = {};
  const auto load = [&](int to, int k) {
    if (k >= m.kp) return;
#pragma unroll
    for (int i = 0; i < 2 * kTiles; ++i) weight[to][i] = *reinterpret_cast<const int4*>(w + i * eight + k);
#pragma unroll
    for (int i = 0; i < 4; ++i) input[to][i] = *reinterpret_cast<const int4*>(q + i * eight + k);
  };
#pragma unroll
  for (int a = 0; a < kAhead; ++a) load(a, 64 * a);
  for (int k = 0; k < m.kp; k += 64 * kAhead) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (k + 64 * a >= m.kp) break;
#pragma unroll
      for (int i = 0; i < kTiles; ++i)
        for (int r = 0; r < 4; ++r) multiply_add(acc[i][r], weight[a][2 * i], weight[a][2 * i + 1], input[a][r]);
      load(a, k + 64 * (a + kAhead));
    }
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int row = r0 + 8 * r + 2 * t + c;
      if (rows[row].lane < 0) continue;
      const Epilogue epilogue(m, a, row);
#pragma unroll
      for (int i = 0; i < 2 * kTiles; ++i) {
        const int n = n0 + 8 * i + g;
        if (n >= m.n) continue;
        int* const to = out + static_cast<size_t>(row) * m.n + n;
        *to = epilogue(acc[i / 2][r][c + 2 * (i % 2)], n, kAdd ? to : nullptr);
      }
    }
  }
}

// out [rows][n] of the first `rows` rows, a multiple of 8, of 64 from 64 on.
template <bool kAdd>
void multiply(const Matrix& m, const Acts& a, const Row* rows, int count, int* out, cudaStream_t stream) {
  const auto tiles = static_cast<unsigned>((m.n + 15) / 16);
  const auto by = static_cast<unsigned>(count);
  // Large tiles read less, but there must be blocks enough for all of a GPU's processors; of very many, as a head has them,
  // the small ones are faster (measured).
  const int large = (m.n + 63) / 64 * (count / 64);
  if (count % 64 == 0 && large >= 256 && large < 4096) {
    multiply_many<2, kAdd><<<dim3((m.n + 63) / 64, by / 64), 128, 0, stream>>>(m, a, rows, out);
  } else if (count % 64 == 0 && large >= 128) {
    multiply_many<1, kAdd><<<dim3((m.n + 31) / 32, by / 64), 128, 0, stream>>>(m, a, rows, out);
  } else if (count % 32 == 0) {
    multiply_few<4, kAdd><<<dim3(tiles, by / 32), 128, 0, stream>>>(m, a, rows, out);
  } else if (count % 16 == 0) {
    multiply_few<2, kAdd><<<dim3(tiles, by / 16), 128, 0, stream>>>(m, a, rows, out);
  } else {
    multiply_few<1, kAdd><<<dim3(tiles, by / 8), 128, 0, stream>>>(m, a, rows, out);
  }
}

}  // namespace lmc::cuda
