// The distributions of tokens and the online bias (ARITHMETIC.md) on a GPU: what kernels/src/distribution.cpp does.
#pragma once
#include "../src/views.hpp"
#include "steps.cuh"

namespace lmc::cuda {

constexpr int kSketch = 1024;  // threads for a row
constexpr int kBlock = static_cast<int>(Distribution::kBlock);

// Logits of a pass, and what is known of each row: the largest, and the mass before each block.
struct View {
  const int* bias;  // null: the network's own
  int* best;
  uint32_t* reciprocal;  // 2^56 / the mass of all; of the biased view
  uint64_t* prefix;  // [rows][blocks + 1]
};

__device__ inline int seen(const int* logits, const int* bias, int v) { return logits[v] + (bias ? bias[v] >> kBiasShift : 0); }
__device__ inline uint32_t weight(int best, int logit) {
  const uint32_t distance = static_cast<uint32_t>(min(best - logit, kDistanceLimit << 16));
  const uint32_t f = distance & 0xffff, whole = distance >> 16;
  return whole > 31 ? 0 : (kOne - (((kA - ((kB * f) >> 16)) * f) >> 4)) >> whole;
}

// Of all threads before this one; `total` receives the sum over all of them.
__device__ inline uint64_t sum_before(uint64_t v, uint64_t* shared, uint64_t& total) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  uint64_t sum = v;
  for (int i = 1; i < 32; i *= 2) {
    const uint64_t other = __shfl_up_sync(~0u, sum, i);
    if (lane >= i) sum += other;
  }
  __syncthreads();
  if (lane == 31) shared[warp] = sum;
  __syncthreads();
  uint64_t before = 0;
  total = 0;
  for (int w = 0; w < warps; ++w) {
    if (w < warp) before += shared[w];
    total += shared[w];
  }
  return before + sum - v;
}

// One row by a block, kVector tokens of a thread at a time: the largest of its logits, and `prefix`, the mass before
// each block of tokens, that of all behind. Returns the largest; `copy`, if there is one, receives the logits.
template <int kVector>
__device__ inline int sketch_row(const int* z, const int* bias, int vocab, uint64_t* prefix, uint64_t& total, int* copy) {
  __shared__ int most[kSketch / 32];
  __shared__ uint64_t sums[kSketch / 32];
  const int blocks = (vocab + kBlock - 1) / kBlock;
  const auto read = [&](int v, int (&to)[kVector]) {
    if constexpr (kVector == 4) {
      const int4 x = *reinterpret_cast<const int4*>(z + v), b = bias ? *reinterpret_cast<const int4*>(bias + v) : int4{};
      if (copy) *reinterpret_cast<int4*>(copy + v) = x;
      to[0] = x.x + (b.x >> kBiasShift), to[1] = x.y + (b.y >> kBiasShift), to[2] = x.z + (b.z >> kBiasShift), to[3] = x.w + (b.w >> kBiasShift);
    } else {
      if (copy) copy[v] = z[v];
      to[0] = seen(z, bias, v);
    }
  };
  int best = INT32_MIN;
#pragma unroll 4
  for (int v = kVector * threadIdx.x; v < vocab; v += kVector * kSketch) {
    int x[kVector];
    read(v, x);
    for (int i = 0; i < kVector; ++i) best = max(best, x[i]);
  }
  best = block_max(best, most);
  copy = nullptr;
#pragma unroll 4
  for (int first = 0; first < vocab; first += kVector * kSketch) {  // whole warps stay together
    const int v = first + kVector * static_cast<int>(threadIdx.x);
    uint32_t w = 0;
    if (v < vocab) {
      int x[kVector];
      read(v, x);
      for (int i = 0; i < kVector; ++i) w += weight(best, x[i]);
    }
    for (int i = kBlock / kVector / 2; i > 0; i /= 2) w += __shfl_xor_sync(~0u, w, i);
    if (v < vocab && v % kBlock == 0) prefix[v / kBlock] = w;
  }
  __syncthreads();
  const int each = (blocks + kSketch - 1) / kSketch;
  const int from = min(static_cast<int>(threadIdx.x) * each, blocks), to = min(from + each, blocks);
  uint64_t sum = 0;
  for (int b = from; b < to; ++b) sum += prefix[b];
  sum = sum_before(sum, sums, total);
  for (int b = from; b < to; ++b) {
    const uint64_t own = prefix[b];
    prefix[b] = sum;
    sum += own;
  }
  if (threadIdx.x == 0) prefix[blocks] = total;
  return best;
}
__device__ inline uint32_t reciprocal_of(uint64_t total) { return static_cast<uint32_t>((uint64_t{1} << 56) / total); }  // total >= 2^28 - 1

// A block for each row; `order` names the rows, or is null for all of them.
template <int kVector>
__global__ void __launch_bounds__(kSketch) sketch(const int* logits, int vocab, const int* order, View view) {
  const int row = order ? order[blockIdx.x] : static_cast<int>(blockIdx.x);
  uint64_t total;
  uint64_t* const prefix = view.prefix + static_cast<size_t>(row) * ((vocab + kBlock - 1) / kBlock + 1);
  const int best = sketch_row<kVector>(logits + static_cast<size_t>(row) * vocab, view.bias, vocab, prefix, total, nullptr);
  if (threadIdx.x != 0) return;
  view.best[row] = best;
  if (view.bias) view.reciprocal[row] = reciprocal_of(total);
}

__device__ inline uint64_t below(const int* z, int best, const View& view, const uint64_t* prefix, uint32_t token) {
  uint64_t sum = prefix[token / kBlock];
  for (uint32_t v = token / kBlock * kBlock; v < token; ++v) sum += weight(best, seen(z, view.bias, static_cast<int>(v)));
  return sum;
}

// A block for each walk: the masses of its ranges.
__global__ void masses(const int* logits, int vocab, const int* order, const uint32_t* first, const Range* ranges, View plain, View biased,
                       Masses* out) {
  const int row = order[blockIdx.x];
  const int* const z = logits + static_cast<size_t>(row) * vocab;
  const size_t at = static_cast<size_t>(row) * ((vocab + kBlock - 1) / kBlock + 1);
  const int tops[2] = {plain.best[row], biased.best[row]};
  for (uint32_t i = first[blockIdx.x] + threadIdx.x; i < first[blockIdx.x + 1]; i += blockDim.x) {
    const Range r = ranges[i];
    out[i] = {below(z, tops[0], plain, plain.prefix + at, r.high) - below(z, tops[0], plain, plain.prefix + at, r.low),
              below(z, tops[1], biased, biased.prefix + at, r.high) - below(z, tops[1], biased, biased.prefix + at, r.low)};
  }
}

// The online bias of a frame.
struct Learned {
  int* values;
  uint32_t *squares, *rates;
};

// What coded tokens teach one token of the vocabulary, one after another. All of them were coded with the bias as it
// is at the beginning. Bias::learn(). row_of: the row of logits, best and reciprocal of the i-th.
template <class RowOf>
__device__ inline void learn_token(int v, int vocab, const int* logits, int rows, RowOf row_of, const int* coded, const int* best,
                                   const uint32_t* reciprocal, const Learned& to) {
  int value = to.values[v];
  const int bias = value >> kBiasShift;
  uint32_t square = to.squares[v], rate = to.rates[v];
  for (int i = 0; i < rows; ++i) {
    const int row = row_of(i);
    const uint64_t p24 = (uint64_t{weight(best[row], logits[static_cast<size_t>(row) * vocab + v] + bias)} * reciprocal[row]) >> 32;
    value = max(value - static_cast<int>((p24 * rate) >> 15), -Bias::kLimit);
    const bool own = coded[i] == v;
    if (own) value = min(value + static_cast<int>(rate << 9), Bias::kLimit);
    if (!own && p24 < 1 << 16) continue;
    const uint64_t p = own ? (p24 >> 24 ? 0 : (1u << 24) - p24) : p24;
    const uint64_t grown = square + ((p * p) >> 32);
    square = static_cast<uint32_t>(min(grown, uint64_t{UINT32_MAX}));
    rate = static_cast<uint32_t>((Bias::kRate << 16) / (Bias::kEpsilon + static_cast<uint32_t>(square_root(uint64_t{square} << 16))));
  }
  to.values[v] = value;
  to.squares[v] = square;
  to.rates[v] = rate;
}

// A thread for each token of the vocabulary.
__global__ void learn(const int* logits, int vocab, int rows, const int* order, const int* coded, View view, Learned to) {
  const int v = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (v < vocab) learn_token(v, vocab, logits, rows, [&](int i) { return order[i]; }, coded, view.best, view.reciprocal, to);
}

// What a decoding frame keeps on the GPU from one step to the next: its last rows, from which its bias will learn.
struct Sight {
  int* logits;           // [rows][vocab]
  int* best;             // with the bias
  uint32_t* reciprocal;  // likewise
  Learned bias;
};
// One row, as the processor gets it: the masses before each block, the network's own and with the bias, then both best.
__host__ __device__ inline size_t report_words(int vocab) { return 2 * static_cast<size_t>((vocab + kBlock - 1) / kBlock + 1) + 1; }

// A block for each row of a pass; sights: by cache.
template <int kVector>
__global__ void __launch_bounds__(kSketch) report(const int* logits, int vocab, const Row* rows, const Sight* sights, uint64_t* reports) {
  const Row& row = rows[blockIdx.x];
  if (row.lane < 0) return;
  const Sight& to = sights[row.cache];
  const int* const z = logits + static_cast<size_t>(blockIdx.x) * vocab;
  uint64_t* const own = reports + blockIdx.x * report_words(vocab);
  uint64_t* const with = own + report_words(vocab) / 2;
  uint64_t total;
  const int best = sketch_row<kVector>(z, nullptr, vocab, own, total, to.logits + static_cast<size_t>(row.place) * vocab);
  const int biased = sketch_row<kVector>(z, to.bias.values, vocab, with, total, nullptr);
  if (threadIdx.x != 0) return;
  own[report_words(vocab) - 1] = uint64_t{static_cast<uint32_t>(biased)} << 32 | static_cast<uint32_t>(best);
  to.best[row.place] = biased;
  to.reciprocal[row.place] = reciprocal_of(total);
}

// What the last rows of some frames have coded: tokens coded[first] and on of a cache's rows.
struct Lesson {
  int cache, first, rows;
};
__global__ void learn_all(int vocab, const Lesson* lessons, const int* coded, const Sight* sights) {
  const Lesson lesson = lessons[blockIdx.y];
  const Sight& sight = sights[lesson.cache];
  const int v = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (v < vocab) learn_token(v, vocab, sight.logits, lesson.rows, [](int i) { return i; }, coded + lesson.first, sight.best, sight.reciprocal, sight.bias);
}

}  // namespace lmc::cuda
