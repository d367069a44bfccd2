// The distributions of tokens and the online bias (ARITHMETIC.md) on a GPU: what kernels/src/distribution.cpp does.
#pragma once
#include "../src/views.hpp"
#include "steps.cuh"

namespace lmc::cuda {

constexpr int kSketch = 1024;  // threads for a row
constexpr int kBlock = static_cast<int>(Distribution::kBlock);
// The masses before each block of a row, and that of all.
__host__ __device__ inline int prefixes(int vocab) { return (vocab + kBlock - 1) / kBlock + 1; }

// Logits of a pass, and what is known of each row: the largest, and the mass before each block.
struct View {
  const int* bias;  // null: the network's own
  int* best;
  uint32_t* reciprocal;  // 2^56 / the mass of all; of the biased view
  uint64_t* prefix;  // [rows][prefixes]
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
// each block of tokens, that of all behind. Returns the largest; `copy`, if there is one, receives what is seen.
template <int kVector>
__device__ inline int sketch_row(const int* z, const int* bias, int vocab, uint64_t* prefix, uint64_t& total, int* copy) {
  __shared__ int most[kSketch / 32];
  __shared__ uint64_t sums[kSketch / 32];
  const int blocks = prefixes(vocab) - 1;
  const auto read = [&](int v, int (&to)[kVector]) {
    if constexpr (kVector == 4) {
      const int4 x = *reinterpret_cast<const int4*>(z + v), b = bias ? *reinterpret_cast<const int4*>(bias + v) : int4{};
      to[0] = x.x + (b.x >> kBiasShift), to[1] = x.y + (b.y >> kBiasShift), to[2] = x.z + (b.z >> kBiasShift), to[3] = x.w + (b.w >> kBiasShift);
    } else {
      to[0] = seen(z, bias, v);
    }
  };
  // Most vocabularies are held in registers, whose reads are all under way at a time; what is beyond is read twice.
  constexpr int kHeld = 12;
  const auto at = [](int i) { return kVector * (static_cast<int>(threadIdx.x) + i * kSketch); };
  int held[kHeld][kVector], best = INT32_MIN;
  const auto look = [&](int v, const int (&x)[kVector]) {
    for (int i = 0; i < kVector; ++i) best = max(best, x[i]);
    if (!copy) return;
    if constexpr (kVector == 4) {
      *reinterpret_cast<int4*>(copy + v) = {x[0], x[1], x[2], x[3]};
    } else {
      copy[v] = x[0];
    }
  };
#pragma unroll
  for (int i = 0; i < kHeld; ++i)
    if (at(i) < vocab) read(at(i), held[i]);
#pragma unroll
  for (int i = 0; i < kHeld; ++i)
    if (at(i) < vocab) look(at(i), held[i]);
  for (int i = kHeld; at(i) < vocab; ++i) {
    int x[kVector];
    read(at(i), x);
    look(at(i), x);
  }
  best = block_max(best, most);
  const auto weigh = [&](int i, const int (&x)[kVector]) {  // whole warps together
    const int v = at(i);
    uint32_t w = 0;
    for (int k = 0; k < kVector; ++k) w += v < vocab ? weight(best, x[k]) : 0;
    for (int k = kBlock / kVector / 2; k > 0; k /= 2) w += __shfl_xor_sync(~0u, w, k);
    if (v < vocab && v % kBlock == 0) prefix[v / kBlock] = w;
  };
#pragma unroll
  for (int i = 0; i < kHeld; ++i)
    if (kVector * i * kSketch < vocab) weigh(i, held[i]);
  for (int i = kHeld; kVector * i * kSketch < vocab; ++i) {
    int x[kVector] = {};
    if (at(i) < vocab) read(at(i), x);
    weigh(i, x);
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
  uint64_t* const prefix = view.prefix + static_cast<size_t>(row) * prefixes(vocab);
  const int best = sketch_row<kVector>(logits + static_cast<size_t>(row) * vocab, view.bias, vocab, prefix, total, nullptr);
  if (threadIdx.x != 0) return;
  view.best[row] = best;
  if (view.bias) view.reciprocal[row] = reciprocal_of(total);
}

// The mass of the tokens before one. All logits of its block are read together.
__device__ inline uint64_t below(const int* z, int vocab, int best, const View& view, const uint64_t* prefix, uint32_t token) {
  const int first = static_cast<int>(token / kBlock * kBlock), count = static_cast<int>(token) - first;
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kBlock - 1; ++i) {
    const uint32_t w = weight(best, seen(z, view.bias, min(first + i, vocab - 1)));
    if (i < count) sum += w;
  }
  return prefix[token / kBlock] + sum;
}

// A block for each walk: the masses of its ranges.
__global__ void masses(const int* logits, int vocab, const int* order, const uint32_t* first, const Range* ranges, View plain, View biased,
                       Masses* out) {
  const int row = order[blockIdx.x];
  const int* const z = logits + static_cast<size_t>(row) * vocab;
  const size_t at = static_cast<size_t>(row) * prefixes(vocab);
  const int tops[2] = {plain.best[row], biased.best[row]};
  for (uint32_t i = first[blockIdx.x] + threadIdx.x; i < first[blockIdx.x + 1]; i += blockDim.x) {
    const Range r = ranges[i];
    const auto mass = [&](const View& view, int best, uint32_t token) { return below(z, vocab, best, view, view.prefix + at, token); };
    out[i] = {mass(plain, tops[0], r.high) - mass(plain, tops[0], r.low), mass(biased, tops[1], r.high) - mass(biased, tops[1], r.low)};
  }
}

// The online bias of a frame.
struct Learned {
  int* values;
  uint32_t *squares, *rates;
};

constexpr int kLearn = 128;  // threads of a block, a token of the vocabulary each

// What coded tokens teach the vocabulary, one after another. All of them were coded with the bias as it is at the
// beginning. Bias::learn(). row_of: the row of logits, best and reciprocal of the i-th.
template <class RowOf>
__device__ inline void learn_by(int vocab, const int* logits, int rows, RowOf row_of, const int* coded, const int* best,
                                const uint32_t* reciprocal, const Learned& to) {
  struct Example {
    int row, best, coded;
    uint32_t reciprocal;
  };
  __shared__ Example examples[kLearn];
  const int v = static_cast<int>(blockIdx.x * kLearn + threadIdx.x), own = min(v, vocab - 1);
  int value = to.values[own];
  const int bias = value >> kBiasShift;
  uint32_t square = to.squares[own], rate = to.rates[own];
  constexpr int kAhead = 16;  // rows that are read together: one by one the thread would wait for each
  for (int first = 0; first < rows; first += kLearn) {
    const int count = min(rows - first, kLearn);
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < count) {
      const int row = row_of(first + static_cast<int>(threadIdx.x));
      examples[threadIdx.x] = {row, best[row], coded[first + static_cast<int>(threadIdx.x)], reciprocal[row]};
    }
    __syncthreads();
    for (int i = 0; i < count; i += kAhead) {
      int logit[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        logit[k] = logits[product(static_cast<unsigned>(examples[min(i + k, count - 1)].row), static_cast<unsigned>(vocab)) + own];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (i + k >= count) break;
        const Example& e = examples[i + k];
        const auto p24 = static_cast<uint32_t>((uint64_t{weight(e.best, logit[k] + bias)} * e.reciprocal) >> 32);
        value = max(value - static_cast<int>((uint64_t{p24} * rate) >> 15), -Bias::kLimit);
        if (e.coded == v) value = min(value + static_cast<int>(rate << 9), Bias::kLimit);
        if (e.coded != v && p24 < 1 << 16) continue;
        const uint64_t p = e.coded == v ? (p24 >> 24 ? 0 : (1u << 24) - p24) : p24;
        const uint64_t grown = square + ((p * p) >> 32);
        square = static_cast<uint32_t>(min(grown, uint64_t{UINT32_MAX}));
        rate = static_cast<uint32_t>((Bias::kRate << 16) / (Bias::kEpsilon + static_cast<uint32_t>(square_root(uint64_t{square} << 16))));
      }
    }
  }
  if (v >= vocab) return;
  to.values[v] = value;
  to.squares[v] = square;
  to.rates[v] = rate;
}
inline unsigned learn_blocks(int vocab) { return static_cast<unsigned>((vocab + kLearn - 1) / kLearn); }

__global__ void __launch_bounds__(kLearn) learn(const int* logits, int vocab, int rows, const int* order, const int* coded, View view, Learned to) {
  learn_by(vocab, logits, rows, [&](int i) { return order[i]; }, coded, view.best, view.reciprocal, to);
}

// What a decoding frame keeps on the GPU from one step to the next: its last rows, from which its bias will learn.
struct Sight {
  int* logits;           // [rows][vocab]
  int* best;             // with the bias
  uint32_t* reciprocal;  // likewise
  Learned bias;
};
// One row, as the processor gets it: the masses before each block, the network's own and with the bias, then both best.
__host__ __device__ inline size_t report_words(int vocab) { return 2 * static_cast<size_t>(prefixes(vocab)) + 1; }

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
__global__ void __launch_bounds__(kLearn) learn_all(int vocab, const Lesson* lessons, const int* coded, const Sight* sights) {
  const Lesson lesson = lessons[blockIdx.y];
  const Sight& sight = sights[lesson.cache];
  learn_by(vocab, sight.logits, lesson.rows, [](int i) { return i; }, coded + lesson.first, sight.best, sight.reciprocal, sight.bias);
}

}  // namespace lmc::cuda
