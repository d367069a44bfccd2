// What every engine checks: the tensors and the architecture of a network, and the rows of a pass.
#pragma once
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine.hpp"

namespace lmc {

constexpr int MAX_WIDTH = 65504;  // inputs of a matrix: kernels may count them in 16 bits

[[noreturn]] inline void refuse(const std::string& why) { throw std::invalid_argument(why); }

// Reads and checks tensors.
struct Reader {
  const Tensors& tensors;

  bool has(const std::string& name) const { return tensors.count(name) != 0; }

  const void* data(const std::string& name, Type type, const std::vector<int64_t>& shape) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) refuse("tensor " + name + " is missing");
    const Tensor& t = found->second;
    if (t.type != type) refuse("tensor " + name + " has the wrong type");
    if (t.shape != shape) refuse("tensor " + name + " has the wrong shape");
    return t.data;
  }
  const int8_t* weights(const std::string& name, int64_t rows, int64_t columns) const {
    const auto* w = static_cast<const int8_t*>(data(name, Type::i8, {rows, columns}));
    if (std::memchr(w, 0x80, static_cast<size_t>(rows * columns))) refuse("tensor " + name + " contains -128");
    return w;
  }
  // int32 values in [low, high]
  const int32_t* ints(const std::string& name, int64_t n, int64_t low, int64_t high) const {
    const auto* p = static_cast<const int32_t*>(data(name, Type::i32, {n}));
    for (int64_t i = 0; i < n; ++i) {
      if (p[i] < low || p[i] > high) refuse("tensor " + name + " has a value out of range");
    }
    return p;
  }
  int64_t length(const std::string& name) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) refuse("tensor " + name + " is missing");
    if (found->second.shape.size() != 1) refuse("tensor " + name + " has the wrong shape");
    return found->second.shape[0];
  }
  const int32_t* scales(const std::string& name, int64_t n) const { return ints(name + ".scale", n, 0, (1 << 24) - 1); }
  int exponent(const std::string& name) const { return ints(name + ".exponent", 1, -64, 96)[0]; }
};

inline void check(const Config& c) {
  const auto within = [](int64_t v, int64_t low, int64_t high, const char* name) {
    if (v < low || v > high) refuse(std::string("the architecture's ") + name + " is out of range");
  };
  within(c.dim, 1, 16384, "dim");
  within(c.layers, 1, 1024, "layers");
  within(c.heads, 1, 1024, "heads");
  within(c.kv_heads, 1, c.heads, "kv_heads");
  within(c.head_dim, 32, 256, "head_dim");
  within(c.hidden, 1, MAX_WIDTH, "hidden");
  within(c.vocab, 1, 1 << 22, "vocab");
  within(c.extra, 0, 1 << 16, "extra");
  within(c.eps, 0, (int64_t{1} << 40) - 1, "eps");
  if (c.heads % c.kv_heads) refuse("heads is not a multiple of kv_heads");
  if (c.head_dim % 32) refuse("head_dim is not a multiple of 32");
  within(int64_t{c.heads} * c.head_dim, 1, MAX_WIDTH, "heads * head_dim");
}

inline Config checked(const Config& c) {
  check(c);
  return c;
}
// A norm's tensors.
struct NormTensors {
  std::vector<int32_t> source, gain;  // as many of each
  int exponent;

  NormTensors(const Reader& read, const std::string& name, int dim) : exponent(read.exponent(name)) {
    const int64_t n = read.length(name + ".source");
    if (n < 1 || n > MAX_WIDTH) refuse("tensor " + name + ".source has the wrong shape");
    const int32_t* const from = read.ints(name + ".source", n, 0, dim - 1);
    const int32_t* const by = read.ints(name + ".gain", n, -INT32_MAX, INT32_MAX);
    source.assign(from, from + n);
    gain.assign(by, by + n);
  }
};

// The norm of the heads of queries or keys; no gain: there is none.
struct HeadNormTensors {
  std::vector<int32_t> gain;
  int exponent = 0;

  HeadNormTensors(const Reader& read, const std::string& name, int head_dim) {
    if (!read.has(name + ".gain")) return;
    const int32_t* const by = read.ints(name + ".gain", head_dim, -((1 << 30) - 1), (1 << 30) - 1);
    gain.assign(by, by + head_dim);
    exponent = read.exponent(name);
  }
};

// The frequencies of all layers: the tables, each once, and which one each layer has.
struct RotaryTensors {
  std::vector<std::vector<uint64_t>> tables;
  std::vector<int> of_layer;

  RotaryTensors(const Reader& read, int layers, int head_dim) {
    const std::vector<int64_t> shape{head_dim / 2};
    const void* const common = read.data("rotary.frequency", Type::u64, shape);
    for (int i = 0; i < layers; ++i) {
      const std::string own = "layers." + std::to_string(i) + ".rotary.frequency";
      const auto* const from = static_cast<const uint64_t*>(read.has(own) ? read.data(own, Type::u64, shape) : common);
      const std::vector<uint64_t> table(from, from + head_dim / 2);
      size_t at = 0;
      while (at < tables.size() && tables[at] != table) ++at;
      if (at == tables.size()) tables.push_back(table);
      of_layer.push_back(static_cast<int>(at));
    }
  }
};

// By how many bits the sums of a matrix can be raised, the largest of which is below 127 `weights`, a row's sum of
// magnitudes. Refuses a matrix whose sums could overflow.
inline int head_room(const std::string& name, int64_t weights) {
  const int64_t largest = 127 * weights;
  if (largest >= int64_t{1} << 30) refuse("a sum of " + name + " could overflow");
  int bits = 0;
  while (largest >> bits) ++bits;
  return 30 - bits;
}

// The rows of a pass: Engine::forward.
inline void check_rows(const Config& c, const EngineCache& cache, int rows, const int32_t* lane, const int32_t* token) {
  std::vector<char> seen(static_cast<size_t>(cache.lanes()), 0);
  for (int i = 0; i < rows; ++i) {
    if (lane[i] < 0 || lane[i] >= cache.lanes()) refuse("a lane is out of range");
    if (token[i] < 0 || token[i] >= c.vocab + c.extra) refuse("a token is out of range");
    if (i > 0 && lane[i] == lane[i - 1]) continue;
    char& already = seen[static_cast<size_t>(lane[i])];
    if (already) refuse("the rows of a lane are not consecutive");
    already = 1;
    if (lane[i] > 0 && cache.length(0) < cache.anchor()) refuse("the anchor is not complete");
  }
}

// The rows of trees: Engine::forward_tree.
inline void check_trees(const EngineCache& cache, int chunk, int rows, const int32_t* lane, const int32_t* parent) {
  for (int i = 0, first = 0; i < rows; ++i) {
    if (lane[i] != lane[first]) first = i;
    if (i - first >= chunk) refuse("a tree has more rows than the cache's chunk");
    if (parent[i] != -1 && (parent[i] < first || parent[i] >= i)) refuse("a row does not follow an earlier one of its lane");
    if (cache.length(lane[i]) < cache.anchor()) refuse("the anchor is not complete");
  }
}

// The extent of a cache.
inline void check_cache(int lanes, int window, int anchor, int chunk) {
  if (lanes < 1 || lanes > 1 << 16) refuse("the number of lanes is out of range");
  if (window < 1 || anchor < 0 || int64_t{window} + anchor > 4096) refuse("window and anchor are out of range");
  if (chunk < 1) refuse("the chunk is out of range");
}

}  // namespace lmc
