// The table of kernels that each instruction set fills, and the data they work on.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "buffer.hpp"

namespace lmc {

constexpr int TILE = 16;                        // outputs of a weight tile, tokens of a cache tile
constexpr int32_t LIMIT = (1 << 30) - 1;        // of every Q16 value
constexpr int32_t SCORE_LIMIT = (1 << 29) - 1;  // of an attention score
constexpr int32_t MASKED = -(1 << 30);          // below every score
constexpr int32_t C127 = 1082196484;            // round(2^37 / 127)
constexpr int32_t C16129 = 1090717716;          // round(2^44 / 127^2)
constexpr int QUERIES = 4;                      // query vectors that one attention kernel takes

inline int bits(uint64_t n) { return n ? 64 - __builtin_clzll(n) : 0; }
inline int round_up(int n, int to) { return (n + to - 1) / to * to; }
inline int32_t mul31(int32_t a, int32_t b) {
  return static_cast<int32_t>((static_cast<int64_t>(a) * b) >> 31);
}

// Packs arrays into few large mappings, so that weights that are read in one stream lie in
// huge pages, which single matrices are too small for.
class Arena {
 public:
  int8_t* take(size_t n) {
    n = (n + 63) / 64 * 64;
    if (n > left_) {
      left_ = n > CHUNK ? n : CHUNK;
      chunks_.emplace_back(left_);
      next_ = chunks_.back().data();
    }
    int8_t* p = next_;
    next_ += n;
    left_ -= n;
    return p;
  }

 private:
  static constexpr size_t CHUNK = size_t{64} << 20;
  std::vector<Buffer<int8_t>> chunks_;
  int8_t* next_ = nullptr;
  size_t left_ = 0;
};

// Two weights that a tile's packed form leaves out in part: output n of the tile gets
// e[0] * a[k[0]] + e[1] * a[k[1]] more. The second may be empty (e = 0).
struct Spill {
  uint16_t k[2];
  int16_t e[2];
  uint16_t n;
};

// Packed int8 weights: [tiles][kp / 4][TILE outputs][4]. The three int32 arrays have tiles * TILE.
struct Matrix {
  int n = 0;       // outputs to write; the last tile may have more
  int kp = 0;      // inputs, a multiple of 32
  int tiles = 0;   // a multiple of the variant's tile group
  int up = 0;      // head room of the sums
  int exponent = 0;
  int depth = 1;   // products of pairs that a variant that spills adds in 16 bits: 1, 2 or 4
  int8_t* packed = nullptr;        // in the network's arena
  Buffer<int32_t> correction;      // -128 * sum of the packed row where activations are stored + 128
  Buffer<int32_t> scale;           // row scale << 7
  Buffer<int32_t> bias;
  std::vector<uint32_t> spill_at;  // [tiles + 1]; empty when the variant has no spill
  std::vector<Spill> spill;        // by tile; within a tile the outputs take turns
};

// Quantised vectors of some rows, with room for a multiple of TILE rows. `transposed` int8
// [kp][stride_t] is filled only where a variant spills and there are rows enough.
struct Acts {
  int kp = 0;
  Buffer<uint8_t> q;  // [rows][kp], value + 128 or value, see Kernels::offset
  std::vector<int32_t> scale, exponent;
  Buffer<int8_t> transposed;
  int stride_t = 0;
};

// A tile of the cache, TILE tokens of one head: keys int8 [head_dim / 4][TILE][4], values int8
// [TILE / 2][head_dim][2], key scales int32 [TILE], value scales int32 [TILE].
struct TileShape {
  int head_dim;
  size_t values() const { return static_cast<size_t>(TILE) * head_dim; }
  size_t key_scales() const { return 2 * values(); }
  size_t value_scales() const { return key_scales() + TILE * 4; }
  size_t bytes() const { return value_scales() + TILE * 4; }
};

// Lengths n are multiples of TILE (narrow: 32), and the arrays are padded with zeros.
struct Kernels {
  const char* name;
  int offset;  // 128 when activations are stored as value + 128 in uint8, 0 when they are int8
  int group;   // weight tiles that are worked on together

  // Null, or takes from the weights of output n of a tile what would let sums of `depth` products of
  // pairs overflow in 16 bits, appending it to `spill`. kp is a multiple of 32.
  void (*limit)(int depth, int8_t* row, int kp, int n, std::vector<Spill>& spill);
  // max |z|
  int32_t (*peak)(const int32_t* z, int n);
  // sum of (x >> s)^2
  int64_t (*squares)(const int32_t* x, int n, int s);
  // z = mul31(z << nx, gain), returns max |z|
  int32_t (*gain)(int32_t* z, const int32_t* gain, int n, int nx);
  // q = (mul31(z << nb, reciprocal) + 2^22 >> 23) + offset, in bytes
  void (*narrow)(const int32_t* z, int n, int nb, int32_t reciprocal, int offset, uint8_t* q);
  // z = SiLU(z), returns max |z|; table: TABLE_SIGMOID
  int32_t (*silu)(int32_t* z, int n, const int32_t* table);
  // z = mul31(z << nz, u << nu), returns max |z|
  int32_t (*product)(int32_t* z, int nz, const int32_t* u, int nu, int n);
  // Rotary of y << n1 (ARITHMETIC.md) into out, returns max |out|
  int32_t (*turn)(const int32_t* y, int half, int n1, const int32_t* c, const int32_t* s, int32_t* out);
  // out[r, columns of tiles first..last) = epilogue of the products, or out += with saturation
  void (*matmul)(const Matrix& m, const Acts& a, int rows, int first, int last, int32_t* out,
                 size_t stride, bool add);
  // transposed copy of the activations, int8 [kp][stride_t], for rows [first, last) (multiples of 16)
  void (*transpose)(Acts& a, int first, int last);
  // dots[j * stride + 16 t + i] = queries[j] . key i of tile t; queries int8 [count][head_dim]
  void (*dots)(const uint8_t* const* tiles, int n, int head_dim, const int8_t* queries, int count,
               int32_t* dots, size_t stride);
  // s = score of a dot product, in place, for n tiles; s[0..from) and s[to..16 n) are masked;
  // returns the largest
  int32_t (*scores)(int32_t* s, const uint8_t* const* tiles, int n, int head_dim, int up,
                    int32_t query, int down, int from, int to);
  // p = mul31(e, value scale), in place, e = 2^(s - largest); total = sum of e >> 12; returns max p
  int32_t (*weigh)(int32_t* s, const uint8_t* const* tiles, int n, int head_dim, int32_t largest,
                   int32_t* total);
  // w = p / 2^down to nearest, below 2^b
  void (*round)(const int32_t* p, int n, int b, int down, int16_t* w);
  // acc[j][c] = sum over tokens w[j * stride + t] * v[t][c]
  void (*mix)(const uint8_t* const* tiles, int n, int head_dim, const int16_t* w, size_t stride,
              int count, int32_t* acc);
  // out = clamp(shift(clamp(mul31(acc, factor)), down))
  void (*finish)(const int32_t* acc, int n, int32_t factor, int down, int32_t* out);
};

// The table of a variant: scalar, avx2, avx512vnni, amx, neon, neondot. Empty: LMC_KERNELS, else the
// fastest one. Throws std::invalid_argument when the name is unknown or the processor lacks it.
const Kernels& kernels_by_name(const std::string& name);
std::vector<std::string> kernel_names();  // those that run here

// Tables of ARITHMETIC.md.
const int32_t* sine_table();     // 4,098 values, Q30
const int32_t* sigmoid_table();  // 1,025 entries: value << 16 | step to the next

}  // namespace lmc
