// The numbers and the random model of tests/kernels/test_network.py.
#pragma once
#include <deque>
#include <string>
#include <vector>

#include "transformer.hpp"

namespace lmc {

struct Generator {
  uint64_t state;
  std::vector<int64_t> ints(int64_t low, int64_t high, size_t n) {
    std::vector<int64_t> out;
    for (size_t i = 0; i < n; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      out.push_back(low + static_cast<int64_t>(state >> 33) % (high - low + 1));
    }
    return out;
  }
};

struct Model {
  Generator g;
  Tensors tensors;
  std::deque<std::vector<int8_t>> bytes;
  std::deque<std::vector<int32_t>> words;
  std::vector<uint64_t> frequency, still;
  int wild;  // how far the exponents of matrices stray

  void put(const std::string& name, const std::vector<int64_t>& v) {
    words.emplace_back(v.begin(), v.end());
    tensors[name] = {Type::i32, {static_cast<int64_t>(v.size())}, words.back().data()};
  }
  void matrix(const std::string& name, int64_t rows, int64_t columns, bool bias, int64_t shift = 0) {
    const auto w = g.ints(-127, 127, rows * columns);
    bytes.emplace_back(w.begin(), w.end());
    tensors[name + ".weight"] = {Type::i8, {rows, columns}, bytes.back().data()};
    put(name + ".scale", g.ints(1 << 22, (1 << 24) - 1, rows));
    put(name + ".exponent", {g.ints(33 - wild, 33 + wild, 1)[0] + shift});
    if (bias) put(name + ".bias", g.ints(-30000, 30000, rows));
  }
  void norm(const std::string& name, int dim) {
    std::vector<int64_t> source;
    for (int i = 0; i < dim; ++i) source.push_back(i);
    for (int64_t i : g.ints(0, dim - 1, 7)) source.push_back(i);
    put(name + ".source", source);
    put(name + ".gain", g.ints(-(1 << 30), (int64_t{1} << 31) - 1, dim + 7));
    put(name + ".exponent", g.ints(30, 30, 1));
  }
  explicit Model(const Config& c, uint64_t seed = 1, int wild = 0) : g{seed}, wild(wild) {
    matrix("embed", c.vocab + c.extra, c.dim, false, -4);
    const int width = c.heads * c.head_dim;
    for (int i = 0; i < c.layers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      norm(at + "attn_norm", c.dim);
      matrix(at + "qkv", width + 2 * c.kv_heads * c.head_dim, c.dim, true);
      matrix(at + "out", c.dim, width, false);
      norm(at + "ffn_norm", c.dim);
      matrix(at + "gate_up", 2 * c.hidden, c.dim, false);
      matrix(at + "down", c.dim, c.hidden, false);
    }
    norm("final_norm", c.dim);
    matrix("head", c.vocab, c.dim, true);
    const uint64_t step = static_cast<uint64_t>((static_cast<unsigned __int128>(1) << 64) / 40);
    for (int i = 0; i < c.head_dim / 2; ++i) frequency.push_back(step >> (i * 8 / c.head_dim));
    tensors["rotary.frequency"] = {Type::u64, {c.head_dim / 2}, frequency.data()};
  }
  // Gives every layer norms of its heads, and every second one frequencies of its own: none.
  void heads(const Config& c) {
    still.assign(static_cast<size_t>(c.head_dim / 2), 0);
    for (int i = 0; i < c.layers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      for (const char* part : {"q_norm", "k_norm"}) {
        put(at + part + ".gain", g.ints(-(1 << 30) + 1, (1 << 30) - 1, c.head_dim));
        put(at + part + ".exponent", g.ints(30 - wild, 30 + wild, 1));
      }
      if (i % 2) tensors[at + "rotary.frequency"] = {Type::u64, {c.head_dim / 2}, still.data()};
    }
  }
};

}  // namespace lmc
