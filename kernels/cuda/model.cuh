// A network's tensors in the memory of a GPU.
#pragma once
#include <cstdlib>
#include <memory>

#include "../src/engine_checks.hpp"
#include "../src/network_kernels.hpp"
#include "attention.cuh"
#include "matmul.cuh"
#include "memory.cuh"

namespace lmc::cuda {

struct Weights {
  Memory<int8_t> weight;
  Memory<int> scale, bias;
  int n = 0, kp = 0, exponent = 0, up = 0;
  Matrix matrix() const { return {weight.data(), scale.data(), bias.data(), n, kp, exponent, up}; }
  size_t bytes() const { return weight.bytes() + scale.bytes() + bias.bytes(); }
};

// Memory of what upload() makes, at most.
inline size_t weight_bytes(int n, int64_t inputs) {
  return static_cast<size_t>(round_up(n, kOutputs)) * static_cast<size_t>(round_up(static_cast<int>(inputs), 64)) + 8 * static_cast<size_t>(n);
}

// Columns in the order of `source`, if there is one. Throws when a sum could overflow.
inline Weights upload(const std::string& name, const int8_t* w, int n, int columns, const std::vector<int32_t>* source,
               const int32_t* scale, int exponent, const int32_t* bias) {
  const int k = source ? static_cast<int>(source->size()) : columns;
  Weights out;
  out.n = n;
  out.kp = round_up(k, 64);
  out.exponent = exponent;
  std::vector<int8_t> rows(static_cast<size_t>(round_up(n, kOutputs)) * out.kp);
  int64_t largest = 0;
  for (int i = 0; i < n; ++i) {
    const int8_t* const from = w + static_cast<size_t>(i) * columns;
    int8_t* const to = rows.data() + static_cast<size_t>(i) * out.kp;
    // Loops that the compiler makes vectors of, or nearly: of 100 million weights a GPU waits for this.
    if (source) {
      const int32_t* const order = source->data();
      for (int c = 0; c < k; ++c) to[c] = from[order[c]];
    } else {
      std::copy_n(from, k, to);
    }
    int sum = 0;  // below 2^23
    for (int c = 0; c < k; ++c) sum += std::abs(to[c]);
    largest = std::max<int64_t>(largest, sum);
  }
  out.up = head_room(name, largest);
  out.weight = Memory<int8_t>(rows);
  std::vector<int> scales(scale, scale + n);
  for (int& s : scales) s <<= 7;
  out.scale = Memory<int>(scales);
  if (bias) out.bias = Memory<int>(bias, n);
  return out;
}

struct NormWeights {
  std::vector<int32_t> order;
  Memory<int> source, gain;
  int exponent;

  NormWeights(const Reader& read, const std::string& name, int dim) : NormWeights(NormTensors(read, name, dim)) {}
  explicit NormWeights(const NormTensors& t) : order(t.source), source(t.source), gain(t.gain), exponent(t.exponent) {}
  Norm norm(int64_t eps) const { return {source.data(), gain.data(), static_cast<int>(order.size()), exponent, eps}; }
};

struct Layer {
  NormWeights attn_norm, ffn_norm;
  Weights qkv, out, gate_up, down;
  Memory<int> q_gain, k_gain;  // of the norms of heads, if there are any
  int q_exponent, k_exponent;
  int reach, rotary;  // rotary: the table of its frequencies
  HeadNorms head_norms(int64_t eps) const { return {{q_gain.data(), k_gain.data()}, {q_exponent, k_exponent}, eps}; }
};

struct Model {
  const Config config;
  Memory<int8_t> embed;
  Memory<int> embed_scale, sine, sigmoid;
  std::vector<Memory<uint64_t>> rotary;  // tables of frequencies
  int embed_exponent = 0, widest = 0;    // widest: inputs of a matrix
  std::vector<Layer> layers;
  std::unique_ptr<NormWeights> last_norm;
  Weights head;

  // Throws std::invalid_argument for tensors that lack or do not fit, NoRoom.
  Model(const Tensors& tensors, const Config& checked) : config(checked) {
    const Reader read{tensors};
    const Config& c = config;
    const int ids = c.vocab + c.extra, width = c.heads * c.head_dim, qkv = width + 2 * c.kv_heads * c.head_dim;
    size_t all = static_cast<size_t>(ids) * static_cast<size_t>(c.dim + 4) + weight_bytes(c.vocab, read.length("final_norm.source"));
    for (int i = 0; i < c.layers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      all += weight_bytes(qkv, read.length(at + "attn_norm.source")) + weight_bytes(c.dim, width) +
             weight_bytes(2 * c.hidden, read.length(at + "ffn_norm.source")) + weight_bytes(c.dim, c.hidden);
    }
    need("the model", all);
    const int8_t* const table = read.weights("embed.weight", ids, c.dim);
    embed = Memory<int8_t>(table, static_cast<size_t>(ids) * c.dim);
    embed_scale = Memory<int>(read.scales("embed", ids), ids);
    embed_exponent = read.exponent("embed");
    const RotaryTensors turns(read, c.layers, c.head_dim);
    for (const std::vector<uint64_t>& frequencies : turns.tables) rotary.emplace_back(frequencies);
    sine = Memory<int>(sine_table(), 4098);
    sigmoid = Memory<int>(sigmoid_table(), 1025);
    std::vector<int> reach(c.layers, 0);
    if (read.has("reach")) {
      const int32_t* from = read.ints("reach", c.layers, 0, 4096);
      reach.assign(from, from + c.layers);
    }
    const auto weights = [&](const std::string& name, int n, int columns, const NormWeights* norm, const int8_t* w = nullptr) {
      if (!w) w = read.weights(name + ".weight", n, columns);
      const int32_t* bias = read.has(name + ".bias") ? read.ints(name + ".bias", n, -LIMIT, LIMIT) : nullptr;
      return upload(name, w, n, columns, norm ? &norm->order : nullptr, read.scales(name, n), read.exponent(name), bias);
    };
    for (int i = 0; i < c.layers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      NormWeights first(read, at + "attn_norm", c.dim), second(read, at + "ffn_norm", c.dim);
      Weights m1 = weights(at + "qkv", qkv, c.dim, &first), m2 = weights(at + "out", c.dim, width, nullptr);
      Weights m3 = weights(at + "gate_up", 2 * c.hidden, c.dim, &second), m4 = weights(at + "down", c.dim, c.hidden, nullptr);
      const HeadNormTensors q(read, at + "q_norm", c.head_dim), k(read, at + "k_norm", c.head_dim);
      layers.push_back({std::move(first), std::move(second), std::move(m1), std::move(m2), std::move(m3), std::move(m4),
                         Memory<int>(q.gain), Memory<int>(k.gain), q.exponent, k.exponent, reach[i], turns.of_layer[i]});
    }
    last_norm = std::make_unique<NormWeights>(read, "final_norm", c.dim);
    head = weights("head", c.vocab, c.dim, last_norm.get(), read.has("head.weight") ? nullptr : table);
    widest = head.kp;
    for (const Layer& l : layers) widest = std::max({widest, l.qkv.kp, l.out.kp, l.gate_up.kp, l.down.kp});
  }
  Heads heads() const { return {config.heads, config.kv_heads, config.head_dim}; }
  size_t bytes() const {
    size_t all = embed.bytes() + embed_scale.bytes() + head.bytes();
    for (const Layer& l : layers) all += l.qkv.bytes() + l.out.bytes() + l.gate_up.bytes() + l.down.bytes();
    return all;
  }
};

}  // namespace lmc::cuda
