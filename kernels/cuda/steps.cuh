// The operations of ARITHMETIC.md, "The network", on a GPU: integers alone, and so the same ones.
#pragma once
#include <algorithm>
#include <cstdint>

namespace lmc::cuda {

constexpr int kLimit = (1 << 30) - 1, kScoreLimit = (1 << 29) - 1;
constexpr int kC127 = 1082196484, kC16129 = 1090717716;  // round(2^37 / 127), round(2^44 / 127^2)
constexpr int kThreads = 256;                            // of a block that works on one row

__device__ inline int cut(int v, int limit) { return min(max(v, -limit), limit); }
// The product of two integers by one instruction; of int64_t the compiler makes six where it widens a factor before a loop.
__device__ inline int64_t product(int a, int b) {
  int64_t p;
  asm("mul.wide.s32 %0, %1, %2;" : "=l"(p) : "r"(a), "r"(b));
  return p;
}
__device__ inline size_t product(unsigned a, unsigned b) {
  size_t p;
  asm("mul.wide.u32 %0, %1, %2;" : "=l"(p) : "r"(a), "r"(b));
  return p;
}
__device__ inline int mul31(int a, int b) { return static_cast<int>(product(a, b) >> 31); }
__device__ inline int bits(uint32_t v) { return 32 - __clz(static_cast<int>(v)); }
__device__ inline int bits(uint64_t v) { return 64 - __clzll(static_cast<long long>(v)); }
__device__ inline int room(int peak) { return 30 - bits(static_cast<uint32_t>(max(peak, 1))); }

// t / 2^r, rounded to the next integer, half of one up: in 32 bits, r > 0.
__device__ inline int rounded(int t, int r) {
  r = min(r, 31);
  return (t >> r) + ((t >> (r - 1)) & 1);
}
// rounded() of |t| <= 2^30, which leaves room for half a unit; r <= 31.
__device__ inline int halved(int t, int r) { return (t + (1 << (r - 1))) >> r; }
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

// floor(n / d) of numbers above 0, d < 2^53 and the quotient below 2^52: the double's is wrong by one at most.
__device__ inline int64_t quotient(int64_t n, int64_t d) {
  const int64_t q = static_cast<int64_t>(static_cast<double>(n) / static_cast<double>(d));
  const int64_t left = n - q * d;
  return left < 0 ? q - 1 : left >= d ? q + 1 : q;
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

// The threads that work on a row together: all of a block here, some warps in between.cuh. Every thread gets what max() and
// sum() return.
struct Block {
  int64_t* shared;  // a number for each warp
  __device__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ int size() const { return static_cast<int>(blockDim.x); }
  __device__ int max(int v) const { return block_max(v, reinterpret_cast<int*>(shared)); }
  __device__ int64_t sum(int64_t v) const { return block_sum(v, shared); }
  __device__ int2 max(int2 v) const {
    v = {__reduce_max_sync(~0u, v.x), __reduce_max_sync(~0u, v.y)};
    int2* const of = reinterpret_cast<int2*>(shared);
    __syncthreads();
    if (threadIdx.x % 32 == 0) of[threadIdx.x / 32] = v;
    __syncthreads();
    for (int i = 0; i < size() / 32; ++i) v = {::max(v.x, of[i].x), ::max(v.y, of[i].y)};
    return v;
  }
};

// Four values as a word of int8.
template <class Value>
__device__ inline int packed(const Scaled& s, int first, int n, Value value) {
  int word = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (first + i < n) word |= (s(value(first + i)) & 0xFF) << (8 * i);
  return word;
}

__device__ inline int packed(const Scaled& s, const int4& v) {
  return packed(s, 0, 4, [&](int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; });
}
// Four of a row's n integers, from i on; behind them zeros.
__device__ inline int4 four_of(const int* v, int i, int n) {
  if (n % 4 == 0 && i < n) return *reinterpret_cast<const int4*>(v + i);  // then rows begin where vectors may
  const auto at = [&](int k) { return k < n ? v[k] : 0; };
  return {at(i), at(i + 1), at(i + 2), at(i + 3)};
}
__device__ inline int largest(const int4& v) { return max(max(abs(v.x), abs(v.y)), max(abs(v.z), abs(v.w))); }

// Where a row of activations goes: one in memory.
struct Into {
  Acts to;
  int row;
  __device__ void word(int i, int four) const { reinterpret_cast<int*>(to.q + static_cast<size_t>(row) * to.kp)[i] = four; }
  __device__ void worth(int scale, int exponent) const { to.scale[row] = scale, to.exponent[row] = exponent; }
};

// What the values of a row are worth that have `fraction` fraction bits.
template <class Team, class Out>
__device__ inline void worth(const Team& team, const Scaled& s, int fraction, const Out& out) {
  if (team.rank() == 0) out.worth(mul31(s.mantissa, kC127), 6 + s.nb + fraction);
}

struct Embedding {
  const int8_t* weight;  // [vocab + extra][dim]
  const int* scale;
  int exponent, dim;
};

__device__ inline int embedded(const Embedding& e, int token, int i) {
  const int up = e.exponent - 16;
  int64_t v = e.weight[static_cast<size_t>(token) * e.dim + i] * int64_t{e.scale[token]};
  if (up > 0) {
    const int down = min(up, 62);
    v = (v + (int64_t{1} << (down - 1))) >> down;
  } else {
    v *= int64_t{1} << min(-up, 30);
  }
  return static_cast<int>(min(max(v, -int64_t{kLimit}), int64_t{kLimit}));
}
__global__ void embed(Embedding e, const Row* rows, int* x) {
  const Row& row = rows[blockIdx.x];
  if (row.lane < 0) return;
  for (int i = threadIdx.x; i < e.dim; i += blockDim.x) x[static_cast<size_t>(blockIdx.x) * e.dim + i] = embedded(e, row.token, i);
}

struct Norm {
  const int *source, *gain;
  int k, exponent;
  int64_t eps;
};

// Here and below a thread has four neighbours at a time, in most networks once, and keeps those.
template <class Team, class Out>
__device__ inline void normalise_row(const Team& team, const Norm& norm, const int* x, int dim, int kp, const Out& out) {
  const int own = team.rank(), step = team.size();
  int m = 1;
  for (int i = own; 4 * i < dim; i += step) m = max(m, largest(four_of(x, 4 * i, dim)));
  m = team.max(m);
  const int s = max(0, bits(static_cast<uint32_t>(m)) - 24), nx = 31 - bits(static_cast<uint32_t>(m));
  int64_t total = 0;
  for (int i = own; 4 * i < dim; i += step) {
    const int4 v = four_of(x, 4 * i, dim);
    const auto square = [&](int a) { return product(a >> s, a >> s); };
    total += square(v.x) + square(v.y) + square(v.z) + square(v.w);
  }
  const auto scaled = [&](int i) {
    const int4 from = four_of(norm.source, 4 * i, norm.k), gain = four_of(norm.gain, 4 * i, norm.k);
    const auto z = [&](int at, int by) { return mul31(static_cast<int>(static_cast<uint32_t>(x[at]) << nx), by); };
    return int4{z(from.x, gain.x), z(from.y, gain.y), z(from.z, gain.z), z(from.w, gain.w)};
  };
  const int4 kept = scaled(own);
  int peak = largest(kept);
  for (int i = own + step; 4 * i < norm.k; i += step) peak = max(peak, largest(scaled(i)));
  total = team.sum(total);
  const Scaled q(team.max(peak));
  for (int i = own; 4 * i < kp; i += step) out.word(i, packed(q, i == own ? kept : scaled(i)));
  if (own != 0) return;
  const uint64_t v = static_cast<uint64_t>(max(int64_t{1}, quotient(total, dim) + (norm.eps >> (2 * s))));
  const int j = (62 - bits(v)) >> 1;
  const int d = static_cast<int>(quotient(int64_t{q.mantissa} << 30, static_cast<int64_t>(square_root(v << (2 * j)))));
  out.worth(mul31(d, kC127), 5 + q.nb + nx + norm.exponent + s - j);
}
__global__ void normalise(Norm norm, const Row* rows, const int* stream, int dim, Acts out) {
  __shared__ int64_t shared[kThreads / 32];
  const int row = blockIdx.x;
  if (rows[row].lane >= 0) normalise_row(Block{shared}, norm, stream + static_cast<size_t>(row) * dim, dim, out.kp, Into{out, row});
}

// The row of what attention gave, as a matrix reads it.
template <class Team, class Out>
__device__ inline void activate_attended(const Team& team, const int* z, int n, int kp, const Out& out) {
  const int own = team.rank(), step = team.size();
  const int4 kept = four_of(z, 4 * own, n);
  int peak = largest(kept);
  for (int i = own + step; 4 * i < n; i += step) peak = max(peak, largest(four_of(z, 4 * i, n)));
  const Scaled s(team.max(peak));
  for (int i = own; 4 * i < kp; i += step) out.word(i, packed(s, i == own ? kept : four_of(z, 4 * i, n)));
  worth(team, s, 16, out);
}
__global__ void activate_row(const Row* rows, const int* values, int n, Acts out) {
  __shared__ int64_t shared[kThreads / 32];
  const int row = blockIdx.x;
  if (rows[row].lane >= 0) activate_attended(Block{shared}, values + static_cast<size_t>(row) * n, n, out.kp, Into{out, row});
}
// Threads for a row of n values.
inline unsigned threads_for(int n) { return static_cast<unsigned>(std::clamp((n / 4 + 31) / 32 * 32, 64, kThreads)); }

// g times the logistic function of g; `sigmoid` as sigmoid_table().
__device__ inline int silu(int g, const int* sigmoid) {
  const int a = min(abs(g), (1 << 20) - 1), entry = sigmoid[a >> 10];
  int s = static_cast<int>(static_cast<uint32_t>(entry) >> 16) + ((static_cast<int16_t>(entry & 0xFFFF) * (a & 1023) + 512) >> 10);
  if (g < 0) s = (1 << 16) - s;
  return mul31(g, static_cast<int>(static_cast<uint32_t>(s) << 15));
}
// Two values that were raised as far as the largest of each allows.
__device__ inline int gated(int z, int nz, int u, int nu) {
  return mul31(static_cast<int>(static_cast<uint32_t>(z) << nz), static_cast<int>(static_cast<uint32_t>(u) << nu));
}

// gates: [rows][2][hidden], which become what it likes; `sigmoid` as sigmoid_table(). A thread keeps kKept fours of a row,
// what is beyond lies in the gates' memory.
constexpr int kKept = 4;
__global__ void __launch_bounds__(kThreads) swiglu(const Row* rows, int* gates, int hidden, const int* sigmoid, Acts out) {
  __shared__ int64_t shared[kThreads / 32];
  const Block team{shared};
  const int row = blockIdx.x, own = team.rank(), step = team.size();
  if (rows[row].lane < 0) return;
  int* const gate = gates + static_cast<size_t>(row) * 2 * hidden;
  const auto liked = [&](int i) {
    const int4 g = four_of(gate, 4 * i, hidden);
    return int4{silu(g.x, sigmoid), silu(g.y, sigmoid), silu(g.z, sigmoid), silu(g.w, sigmoid)};
  };
  const auto up = [&](int i) { return four_of(gate + hidden, 4 * i, hidden); };
  const auto put = [&](int i, const int4& v) {
    const int at = 4 * i;
    gate[at] = v.x;
    if (at + 1 < hidden) gate[at + 1] = v.y;
    if (at + 2 < hidden) gate[at + 2] = v.z;
    if (at + 3 < hidden) gate[at + 3] = v.w;
  };
  const auto beyond = [&](auto&& work) {
    for (int i = own + kKept * step; 4 * i < hidden; i += step) work(i);
  };
  int4 z[kKept], u[kKept];
  int2 most{};
  const auto look = [&](const int4& z, const int4& u) { most = {max(most.x, largest(z)), max(most.y, largest(u))}; };
#pragma unroll
  for (int k = 0; k < kKept; ++k) z[k] = liked(own + k * step), u[k] = up(own + k * step), look(z[k], u[k]);
  beyond([&](int i) {
    const int4 z = liked(i);
    look(z, up(i));
    put(i, z);
  });
  most = team.max(most);
  const int nz = room(most.x), nu = room(most.y);
  int peak = 0;
  const auto raised = [&](const int4& z, const int4& u) {
    const int4 y{gated(z.x, nz, u.x, nu), gated(z.y, nz, u.y, nu), gated(z.z, nz, u.z, nu), gated(z.w, nz, u.w, nu)};
    peak = max(peak, largest(y));
    return y;
  };
#pragma unroll
  for (int k = 0; k < kKept; ++k) z[k] = raised(z[k], u[k]);
  beyond([&](int i) { put(i, raised(four_of(gate, 4 * i, hidden), up(i))); });
  const Scaled s(team.max(peak));
  const Into to{out, row};
#pragma unroll
  for (int k = 0; k < kKept; ++k)
    if (4 * (own + k * step) < out.kp) to.word(own + k * step, packed(s, z[k]));
  for (int i = own + kKept * step; 4 * i < out.kp; i += step) to.word(i, packed(s, four_of(gate, 4 * i, hidden)));
  worth(team, s, nz + nu + 1, to);
}

}  // namespace lmc::cuda
