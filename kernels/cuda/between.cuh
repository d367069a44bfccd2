// What lies between two attentions, before the first and behind the last, in one kernel: a cluster of blocks for each
// tile of rows. Compute capability 9.0 and newer.
//
// Step by step these are nine kernels a layer, which for some hundred rows take as long to start and to end as to work.
// But rows meet in attention alone. So a cluster takes its rows through all of the steps: each block has an eighth of a
// matrix's outputs, and in steps that need a whole row, an eighth of the rows, which it owns. What the others need next it
// writes into their shared memory. Every weight is read once for a tile.
#pragma once
#include <cooperative_groups.h>

#include "attention.cuh"

namespace lmc::cuda {

constexpr int kCluster = 8;  // blocks
constexpr int kWide = 384;   // threads of a block
constexpr int kTile = 16;    // rows of a cluster

struct Between {
  const Row* rows;
  int* x;  // the stream, [rows][dim]
  int dim, hidden;
  // Behind an attention; else the rows begin here, with their embeddings.
  bool begins;
  Embedding embedding;
  const int* attended;  // [rows][width]
  int width;
  Matrix out, gate_up, down;
  Norm inner;
  const int* sigmoid;
  // Before an attention; else the head follows, which reads `acts`.
  bool ends;
  Norm norm;
  Matrix qkv;
  Heads heads;
  const Keys* keys;
  HeadNorms head_norms;
  const int* turns;
  Queries queries;
  Acts acts;
};

// Outputs of a block, at most, of so many; the first block's come first. A multiple of eight.
__host__ __device__ inline int share(int outputs) { return 8 * (((outputs + 7) / 8 + kCluster - 1) / kCluster); }

// Where things lie in a block's shared memory. Distances are such that the threads of a warp read other banks.
struct Tile {
  int stride;  // bytes from one row's activations to the next's
  int line;    // integers of an owned row: of the stream, or of its queries, keys and values
  int apart;   // integers from one row's gates to the next's, of a block's columns
  __host__ __device__ Tile(int widest, int dim, int qkv, int hidden)
      : stride((widest + 127) / 128 * 128 + 64),
        line(dim > qkv ? dim : qkv),
        apart((share(hidden) + 31) / 32 * 32 + 8) {}
  size_t bytes() const {
    const int lines = kTile / kCluster * line, gates = 2 * kTile * apart;
    return kTile * static_cast<size_t>(stride) + 4 * static_cast<size_t>((7 + 3 * kCluster) * kTile + kWide / 16 + std::max(lines, gates));
  }
};

// Weights, which a block reads once: they would push what it reads again out of its near memory. Zeros if not `there`.
__device__ inline int4 read_once(const int8_t* from, bool there) {
  int4 v;
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %5, 0; mov.s32 %0, 0; mov.s32 %1, 0; mov.s32 %2, 0; mov.s32 %3, 0;\n"
      "@p ld.global.nc.L1::no_allocate.v4.s32 {%0, %1, %2, %3}, [%4];}"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "l"(from), "r"(static_cast<int>(there)));
  return v;
}

// Sums of a tile's rows of activations in shared memory with 8 outputs of each of kSets matrices. w, q: the thread's place
// in the first output's weights, in the first row. Behind kp there are zeros for weights, and so any activations.
template <int kSets>
__device__ inline void dot_rows(int (&sum)[kSets][4], const int8_t* const (&w)[kSets], const int8_t* q, int stride, int kp) {
  constexpr int kAhead = kSets == 1 ? 6 : 3;  // loads under way
  int4 by[kSets][kAhead];
#pragma unroll
  for (int a = 0; a < kAhead; ++a)
#pragma unroll
    for (int s = 0; s < kSets; ++s) by[s][a] = read_once(w[s] + 64 * a, 64 * a < kp);
  for (int k = 0; k < kp; k += 64 * kAhead) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int at = k + 64 * a, next = at + 64 * kAhead;
      const int4 upper = *reinterpret_cast<const int4*>(q + at), lower = *reinterpret_cast<const int4*>(q + at + 8 * stride);
#pragma unroll
      for (int s = 0; s < kSets; ++s) multiply_add(sum[s], upper, lower, by[s][a]);
#pragma unroll
      for (int s = 0; s < kSets; ++s) by[s][a] = read_once(w[s] + next, next < kp);
    }
  }
}

// Asks for a share of a matrix's weights to come near.
__device__ inline void fetch(const Matrix& m) {
  const size_t all = static_cast<size_t>(m.n) * m.kp, step = size_t{128} * gridDim.x * blockDim.x;
  for (size_t i = size_t{128} * (blockIdx.x * blockDim.x + threadIdx.x); i < all; i += step)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(m.weight + i));
}
// The same for what this block will read, all of it.
__device__ inline void fetch(const void* from, int bytes) {
  for (int i = 128 * static_cast<int>(threadIdx.x); i < bytes; i += 128 * kWide)
    asm volatile("prefetch.global.L1 [%0];" ::"l"(static_cast<const int8_t*>(from) + i));
}
__device__ inline void fetch(const Norm& norm) { fetch(norm.source, 4 * norm.k), fetch(norm.gain, 4 * norm.k); }

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// A row of activations for every block of the cluster, from `column` on.
struct Everywhere {
  cooperative_groups::cluster_group cluster;
  int8_t* q;
  int *scale, *exponent;  // of the row
  __device__ void word(int i, int four) const {
#pragma unroll
    for (int r = 0; r < kCluster; ++r) reinterpret_cast<int*>(cluster.map_shared_rank(q, r))[i] = four;
  }
  __device__ void worth(int s, int e) const {
    for (int r = 0; r < kCluster; ++r) *cluster.map_shared_rank(scale, r) = s, *cluster.map_shared_rank(exponent, r) = e;
  }
};
// Some warps of a block, and what they share.
struct Crew {
  int64_t* shared;
  int number, warps;
  __device__ int rank() const { return static_cast<int>(threadIdx.x) - number * size(); }
  __device__ int size() const { return 32 * warps; }
  __device__ void sync() const { asm volatile("bar.sync %0, %1;" ::"r"(1 + number), "r"(size()) : "memory"); }
  __device__ int max(int v) const {
    int* const of = reinterpret_cast<int*>(shared);
    v = __reduce_max_sync(~0u, v);
    sync();
    if (threadIdx.x % 32 == 0) of[rank() / 32] = v;
    sync();
    for (int i = 0; i < warps; ++i) v = ::max(v, of[i]);
    return v;
  }
  __device__ int64_t sum(int64_t v) const {
    v = warp_sum(v);
    sync();
    if (threadIdx.x % 32 == 0) shared[rank() / 32] = v;
    sync();
    v = 0;
    for (int i = 0; i < warps; ++i) v += shared[i];
    return v;
  }
};

// Blocks: kCluster for each kTile rows; dynamic shared memory: Tile::bytes(). kPairs: as turn_vector() has it.
template <int kPairs>
__global__ void __launch_bounds__(kWide, 2) between(const __grid_constant__ Between b, int widest) {
  constexpr int kOwn = kTile / kCluster, kWarps = kWide / 32, kCrew = kWarps / kOwn;
  static_assert(kOwn * kCrew == kWarps, "a crew for each row that a block owns");
  extern __shared__ __align__(16) int8_t memory[];
  const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
  const int rank = static_cast<int>(cluster.block_rank()), first = static_cast<int>(blockIdx.x) / kCluster * kTile;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const Tile at(widest, b.dim, b.qkv.n, b.hidden);
  const Acts acts{memory, at.stride, reinterpret_cast<int*>(memory + kTile * at.stride), reinterpret_cast<int*>(memory + kTile * at.stride) + kTile};
  int* const peaks = acts.exponent + kTile;          // [rows][2], of the block's gates
  int* const gate_peaks = peaks + 2 * kTile;         // [blocks][rows][2]
  int* const peaks_of = gate_peaks + 2 * kCluster * kTile;  // [blocks][rows], of gated values
  __shared__ Row own_rows[kOwn];
  __shared__ Keys own_keys[kOwn];
  Scaled* const scaled = reinterpret_cast<Scaled*>(peaks_of + kCluster * kTile);  // [rows], by which gated values are quantised
  int64_t* const shared = reinterpret_cast<int64_t*>(scaled + kTile);             // [warps]
  int* const lines = reinterpret_cast<int*>(shared + kWarps);  // [own][line]; the gates lie there, too, in between
  int* const z = lines;                              // [rows][apart]
  int* const u = z + kTile * at.apart;

  const auto everywhere = [&](int row, int column = 0) { return Everywhere{cluster, memory + row * at.stride + column, acts.scale + row, acts.exponent + row}; };
  const Crew crew{shared + warp / kCrew * kCrew, warp / kCrew, kCrew};
  const auto owned = [&](auto&& work) { work(rank * kOwn + crew.number, lines + crew.number * at.line); };
  // Eight outputs of a warp at a time.
  const auto shared_out = [&](int outputs, auto&& work) {
    const int each = share(outputs);
    for (int i = rank * each + 8 * warp; i < min(outputs, (rank + 1) * each); i += 8 * kWarps) work(i);
  };
  const auto weights = [&](const Matrix& m, int output) { return m.weight + static_cast<size_t>(output + g) * m.kp + 16 * t; };
  const int8_t* const q = memory + g * at.stride + 16 * t;
  const auto line_of = [&](int row) { return cluster.map_shared_rank(lines, row / kOwn) + row % kOwn * at.line; };
  const auto add = [&](const Matrix& m) {  // to the stream
    shared_out(m.n, [&](int output) {
      const int n = output + 2 * t;
      int2* const x = reinterpret_cast<int2*>(b.x + static_cast<size_t>(first + g) * b.dim + n);
      const size_t eight = size_t{4} * b.dim;
      int2 before[2];
      if (n < m.n)
#pragma unroll
        for (int i = 0; i < 2; ++i) before[i] = x[i * eight];
      int sum[1][4] = {};
      dot_rows<1>(sum, {weights(m, output)}, q, at.stride, m.kp);
      if (n >= m.n) return;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = 8 * i + g, *const s = sum[0] + 2 * i;
        const int2 old = before[i];
        const Epilogue end(m, acts, row);
        const int2 y{end(s[0], n, &old.x), end(s[1], n + 1, &old.y)};
        x[i * eight] = y;
        *reinterpret_cast<int2*>(line_of(row) + n) = y;
      }
    });
  };

  if (!b.begins) fetch(b.gate_up), fetch(b.down), fetch(b.inner);
  fetch(b.norm);
  if (!b.ends) {
    fetch(b.qkv);
    fetch(b.turns + static_cast<size_t>(first + rank * kOwn) * 2 * b.heads.head_dim, kOwn * 8 * b.heads.head_dim);
  }
  for (int i = threadIdx.x; i < 2 * kTile; i += kWide) peaks[i] = 0;
  cluster.sync();  // all of them are there
  // A warp that has the least to do next.
  const auto note_rows = [&] {
    if (b.ends || warp != kWarps - 1 || lane >= kOwn) return;
    own_rows[lane] = b.rows[first + rank * kOwn + lane];
    if (own_rows[lane].lane >= 0) own_keys[lane] = b.keys[own_rows[lane].cache];
  };
  if (b.begins) {
    note_rows();
    owned([&](int row, int* line) {
      const int token = b.rows[first + row].lane < 0 ? 0 : b.rows[first + row].token;
      for (int i = crew.rank(); i < b.dim; i += crew.size()) line[i] = b.x[static_cast<size_t>(first + row) * b.dim + i] = embedded(b.embedding, token, i);
    });
    __syncthreads();
  } else {
    owned([&](int row, int*) {
      activate_attended(crew, b.attended + static_cast<size_t>(first + row) * b.width, b.width, b.out.kp, everywhere(row));
    });
    cluster.sync();
    note_rows();
    add(b.out);
    cluster.sync();
    owned([&](int row, const int* line) { normalise_row(crew, b.inner, line, b.dim, b.gate_up.kp, everywhere(row)); });
    cluster.sync();

    const int each = share(b.hidden), column = rank * each;  // the block's columns
    const int columns = max(0, min(each, b.hidden - column));
    int most[2][2] = {};
    shared_out(b.hidden, [&](int output) {
      int sum[2][4] = {};
      dot_rows<2>(sum, {weights(b.gate_up, output), weights(b.gate_up, b.hidden + output)}, q, at.stride, b.gate_up.kp);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = 8 * i + g;
        const Epilogue end(b.gate_up, acts, row);
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int n = output + 2 * t + c, to = row * at.apart + n - column;
          if (n >= b.hidden) continue;
          const int gate = silu(end(sum[0][2 * i + c], n, nullptr), b.sigmoid), up = end(sum[1][2 * i + c], b.hidden + n, nullptr);
          z[to] = gate;
          u[to] = up;
          most[i][0] = max(most[i][0], abs(gate));
          most[i][1] = max(most[i][1], abs(up));
        }
      }
    });
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int v = most[i / 2][i % 2];
      v = max(v, __shfl_xor_sync(~0u, v, 1));
      v = max(v, __shfl_xor_sync(~0u, v, 2));
      if (t == 0) atomicMax(peaks + 2 * (8 * (i / 2) + g) + i % 2, v);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * kTile * kCluster; i += kWide)
      cluster.map_shared_rank(gate_peaks, i / (2 * kTile))[2 * kTile * rank + i % (2 * kTile)] = peaks[i % (2 * kTile)];
    cluster.sync();
    // A warp for each row.
    const auto of_all = [&](const int* v, int distance) { return __reduce_max_sync(~0u, lane < kCluster ? v[lane * distance] : 0); };
    const auto raised = [&](int row, int of) { return room(of_all(gate_peaks + 2 * row + of, 2 * kTile)); };
    for (int row = warp; row < kTile; row += kWarps) {
      const int nz = raised(row, 0), nu = raised(row, 1);
      int peak = 0;
      for (int i = row * at.apart + lane; i < row * at.apart + columns; i += 32) {
        z[i] = gated(z[i], nz, u[i], nu);
        peak = max(peak, abs(z[i]));
      }
      peak = __reduce_max_sync(~0u, peak);
      if (lane < kCluster) cluster.map_shared_rank(peaks_of, lane)[kTile * rank + row] = peak;
    }
    cluster.sync();
    if (threadIdx.x < kTile) {  // every block finds out what all rows are worth
      const int row = static_cast<int>(threadIdx.x);
      int peak = 0, raise[2] = {};
#pragma unroll
      for (int i = 0; i < kCluster; ++i) {
        peak = max(peak, peaks_of[i * kTile + row]);
        for (int of = 0; of < 2; ++of) raise[of] = max(raise[of], gate_peaks[(i * kTile + row) * 2 + of]);
      }
      const Scaled s(peak);
      scaled[row] = s;
      acts.scale[row] = mul31(s.mantissa, kC127);
      acts.exponent[row] = 6 + s.nb + room(raise[0]) + room(raise[1]) + 1;
    }
    __syncthreads();
    const int words = (columns + 3) / 4;
    for (int i = threadIdx.x; i < kTile * words; i += kWide) {
      const int row = i / words, *const own = z + row * at.apart;
      everywhere(row, column).word(i % words, packed(scaled[row], 4 * (i % words), columns, [&](int c) { return own[c]; }));
    }
    cluster.sync();
    add(b.down);
    cluster.sync();
  }

  if (b.ends) {
    owned([&](int row, const int* line) { normalise_row(crew, b.norm, line, b.dim, b.acts.kp, Into{b.acts, first + row}); });
    return;
  }
  owned([&](int row, const int* line) { normalise_row(crew, b.norm, line, b.dim, b.qkv.kp, everywhere(row)); });
  cluster.sync();
  shared_out(b.qkv.n, [&](int output) {
    int sum[1][4] = {};
    dot_rows<1>(sum, {weights(b.qkv, output)}, q, at.stride, b.qkv.kp);
    const int n = output + 2 * t;
    if (n >= b.qkv.n) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = 8 * i + g, *const s = sum[0] + 2 * i;
      const Epilogue end(b.qkv, acts, row);
      *reinterpret_cast<int2*>(line_of(row) + n) = {end(s[0], n, nullptr), end(s[1], n + 1, nullptr)};
    }
  });
  cluster.sync();
  for (int i = warp; i < kOwn * vectors(b.heads); i += kWarps) {
    const int own = i / vectors(b.heads), number = first + rank * kOwn + own;
    if (own_rows[own].lane >= 0)
      turn_vector<kPairs>(b.heads, own_keys[own], own_rows[own], number, i % vectors(b.heads), lines + own * at.line,
                  b.turns + static_cast<size_t>(number) * 2 * b.heads.head_dim, b.head_norms, b.queries);
  }
}

#else
template <int kPairs>
__global__ void between(const __grid_constant__ Between, int) {}  // never launched there
#endif

}  // namespace lmc::cuda
