// The operations of ARITHMETIC.md, "The network", on a GPU: integers alone, and so the same ones.
#pragma once
#include <cstdint>

namespace lmc::cuda {

constexpr int kLimit = (1 << 30) - 1, kScoreLimit = (1 << 29) - 1;
constexpr int kC127 = 1082196484, kC16129 = 1090717716;  // round(2^37 / 127), round(2^44 / 127^2)
constexpr int kThreads = 256;                            // of a block that works on one row

__device__ inline int cut(int v, int limit) { return min(max(v, -limit), limit); }
__device__ inline int mul31(int a, int b) { return static_cast<int>((static_cast<int64_t>(a) * b) >> 31); }
__device__ inline int bits(uint32_t v) { return 32 - __clz(static_cast<int>(v)); }
__device__ inline int bits(uint64_t v) { return 64 - __clzll(static_cast<long long>(v)); }
__device__ inline int room(int peak) { return 30 - bits(static_cast<uint32_t>(max(peak, 1))); }

// t / 2^r, rounded to the next integer, half of one up: in 32 bits, r > 0.
__device__ inline int rounded(int t, int r) {
  r = min(r, 31);
  return (t >> r) + ((t >> (r - 1)) & 1);
}
__device__ inline int shift(int t, int r) {
  if (r > 0) return rounded(t, r);
  const int left = min(-r, 30);
  return cut(t, kLimit >> left) * (1 << left);
}

// floor(sqrt(v)), v < 2^63: the double's is wrong by one at most.
__device__ inline uint64_t square_root(uint64_t v) {
  uint64_t r = static_cast<uint64_t>(sqrt(static_cast<double>(v)));
  while (r * r > v) --r;
  while ((r + 1) * (r + 1) <= v) ++r;
  return r;
}

// floor(n / d) for an n that a double holds and a quotient below 2^53: the double's, which is too large by one at most.
__device__ inline int64_t quotient(int64_t n, int64_t d) {
  const int64_t q = static_cast<int64_t>(static_cast<double>(n) / static_cast<double>(d));
  return q * d > n ? q - 1 : q;
}

// `quantise`, with the largest magnitude known.
struct Scaled {
  int nb, mantissa, reciprocal;
  __device__ explicit Scaled(int peak) {
    peak = max(peak, 1);
    nb = 31 - bits(static_cast<uint32_t>(peak));
    mantissa = static_cast<int>(static_cast<uint32_t>(peak) << nb);
    reciprocal = static_cast<int>(quotient(int64_t{127} << 54, mantissa));
  }
  __device__ int8_t operator()(int z) const {
    return static_cast<int8_t>((mul31(static_cast<int>(static_cast<uint32_t>(z) << nb), reciprocal) + (1 << 22)) >> 23);
  }
};

// Over all threads of a block of whole warps; every thread gets the result.
__device__ inline int block_max(int v, int* shared) {
  v = __reduce_max_sync(~0u, v);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  v = shared[0];
  for (int i = 1; i < static_cast<int>(blockDim.x) / 32; ++i) v = max(v, shared[i]);
  return v;
}
__device__ inline int64_t warp_sum(int64_t v) {
  for (int i = 16; i > 0; i >>= 1) v += __shfl_xor_sync(~0u, v, i);
  return v;
}
__device__ inline int64_t block_sum(int64_t v, int64_t* shared) {
  v = warp_sum(v);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  v = shared[0];
  for (int i = 1; i < static_cast<int>(blockDim.x) / 32; ++i) v += shared[i];
  return v;
}

// A row of a pass. `lane` -1: nobody asked for it.
struct Row {
  int cache, lane, token;
  int position;         // of its token in the lane
  int base;             // the lane's keys below this position lie in the ring; a tree's rows come behind them
  int slot;             // of a tree's row: its place among the tree's keys; else -1
  uint64_t ancestors;   // of a tree's row: the places of its way, itself included, by depth
  int place;            // among the rows of its cache
  int run;              // rows that follow one another in a lane, this the first of them
  int first;            // with number i: the first row of run i of the pass; -1: there is none
};

// int8 activations and what one unit of each row is worth (ARITHMETIC.md, "Activations").
struct Acts {
  int8_t* q;      // [rows][kp]
  int kp;         // a multiple of 64; zeros behind the values
  int *scale, *exponent;
};

// Quantises a row of n values with `fraction` fraction bits.
__device__ inline void activate(const int* z, int n, int peak, int fraction, int row, const Acts& out) {
  const Scaled s(peak);
  int8_t* const q = out.q + static_cast<size_t>(row) * out.kp;
  for (int i = threadIdx.x; i < out.kp; i += blockDim.x) q[i] = i < n ? s(z[i]) : int8_t{0};
  if (threadIdx.x == 0) {
    out.scale[row] = mul31(s.mantissa, kC127);
    out.exponent[row] = 6 + s.nb + fraction;
  }
}

struct Embedding {
  const int8_t* weight;  // [vocab + extra][dim]
  const int* scale;
  int exponent, dim;
};

__global__ void embed(Embedding e, const Row* rows, int* x) {
  const Row& row = rows[blockIdx.x];
  if (row.lane < 0) return;
  const int64_t scale = e.scale[row.token];
  const int up = e.exponent - 16;
  for (int i = threadIdx.x; i < e.dim; i += blockDim.x) {
    int64_t v = e.weight[static_cast<size_t>(row.token) * e.dim + i] * scale;
    if (up > 0) {
      const int down = min(up, 62);
      v = (v + (int64_t{1} << (down - 1))) >> down;
    } else {
      v *= int64_t{1} << min(-up, 30);
    }
    x[static_cast<size_t>(blockIdx.x) * e.dim + i] = static_cast<int>(min(max(v, -int64_t{kLimit}), int64_t{kLimit}));
  }
}

struct Norm {
  const int *source, *gain;
  int k, exponent;
  int64_t eps;
};

// Dynamic shared memory: k integers.
__global__ void normalise(Norm norm, const Row* rows, const int* stream, int dim, Acts out) {
  extern __shared__ int z[];
  __shared__ int64_t shared[kThreads / 32];
  const int row = blockIdx.x;
  if (rows[row].lane < 0) return;
  const int* const x = stream + static_cast<size_t>(row) * dim;
  int m = 1;
  for (int i = threadIdx.x; i < dim; i += blockDim.x) m = max(m, abs(x[i]));
  m = block_max(m, reinterpret_cast<int*>(shared));
  const int s = max(0, bits(static_cast<uint32_t>(m)) - 24);
  int64_t total = 0;
  for (int i = threadIdx.x; i < dim; i += blockDim.x) total += int64_t{x[i] >> s} * (x[i] >> s);
  total = block_sum(total, shared);
  const uint64_t v = static_cast<uint64_t>(max(int64_t{1}, total / dim + (norm.eps >> (2 * s))));
  const int j = (62 - bits(v)) >> 1;
  const uint64_t r = square_root(v << (2 * j));
  const int nx = 31 - bits(static_cast<uint32_t>(m));
  int peak = 0;
  for (int i = threadIdx.x; i < norm.k; i += blockDim.x) {
    z[i] = mul31(static_cast<int>(static_cast<uint32_t>(x[norm.source[i]]) << nx), norm.gain[i]);
    peak = max(peak, abs(z[i]));
  }
  const Scaled q(block_max(peak, reinterpret_cast<int*>(shared)));
  int8_t* const to = out.q + static_cast<size_t>(row) * out.kp;
  for (int i = threadIdx.x; i < out.kp; i += blockDim.x) to[i] = i < norm.k ? q(z[i]) : int8_t{0};
  if (threadIdx.x == 0) {
    const int d = static_cast<int>((static_cast<uint64_t>(q.mantissa) << 30) / r);
    out.scale[row] = mul31(d, kC127);
    out.exponent[row] = 5 + q.nb + nx + norm.exponent + s - j;
  }
}

// The row of what attention gave, as a matrix reads it.
__global__ void activate_row(const Row* rows, const int* values, int n, Acts out) {
  __shared__ int shared[kThreads / 32];
  if (rows[blockIdx.x].lane < 0) return;
  const int* const z = values + static_cast<size_t>(blockIdx.x) * n;
  int peak = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) peak = max(peak, abs(z[i]));
  activate(z, n, block_max(peak, shared), 16, blockIdx.x, out);
}

// gates: [rows][2][hidden], which become what it likes if hidden > kNear; `sigmoid` as sigmoid_table(). Dynamic shared
// memory: `hidden` integers up to kNear.
constexpr int kNear = 8192;
__global__ void swiglu(const Row* rows, int* gates, int hidden, const int* sigmoid, Acts out) {
  extern __shared__ int near[];
  __shared__ int shared[kThreads / 32];
  if (rows[blockIdx.x].lane < 0) return;
  int* const gate = gates + static_cast<size_t>(blockIdx.x) * 2 * hidden;
  const int* const u = gate + hidden;
  int* const z = hidden <= kNear ? near : gate;
  int peak = 0, most = 0;
  for (int i = threadIdx.x; i < hidden; i += blockDim.x) {
    const int g = gate[i], a = min(abs(g), (1 << 20) - 1);
    const int entry = sigmoid[a >> 10];
    int s = static_cast<int>(static_cast<uint32_t>(entry) >> 16) + ((static_cast<int16_t>(entry & 0xFFFF) * (a & 1023) + 512) >> 10);
    if (g < 0) s = (1 << 16) - s;
    z[i] = mul31(g, static_cast<int>(static_cast<uint32_t>(s) << 15));
    peak = max(peak, abs(z[i]));
    most = max(most, abs(u[i]));
  }
  const int nz = room(block_max(peak, shared)), nu = room(block_max(most, shared));
  peak = 0;
  for (int i = threadIdx.x; i < hidden; i += blockDim.x) {
    z[i] = mul31(static_cast<int>(static_cast<uint32_t>(z[i]) << nz), static_cast<int>(static_cast<uint32_t>(u[i]) << nu));
    peak = max(peak, abs(z[i]));
  }
  activate(z, hidden, block_max(peak, shared), nz + nu + 1, blockIdx.x, out);
}

}  // namespace lmc::cuda
