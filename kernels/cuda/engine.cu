// The network of ARITHMETIC.md on a GPU: the same integers as on the processor.
//
// Each cache has a stream and working memory of its own, so that frames run side by side. The passes of a
// cache are graphs: one launch for some hundred small kernels.
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <stdexcept>
#include <tuple>

#include "../src/engine_checks.hpp"
#include "../src/network_kernels.hpp"
#include "../src/threads.hpp"
#include "attention.cuh"
#include "matmul.cuh"
#include "views.cuh"

namespace lmc::cuda {
namespace {

constexpr int kMostRows = 1024;       // of one pass
constexpr int kChunk = 256;           // of one lane in one pass
constexpr int kTree = 64;             // rows of a tree
constexpr size_t kLogits = 1u << 26;  // of one pass

void must(cudaError_t error) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw std::runtime_error(std::string("the GPU failed: ") + cudaGetErrorString(error));
}

// What a GPU's memory cannot take, in words.
class NoRoom : public std::bad_alloc {
 public:
  explicit NoRoom(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// Throws NoRoom unless `fixed` bytes and `each` for each of `count` things are free.
void need(const std::string& what, size_t fixed, size_t each = 0, size_t count = 0, const char* things = nullptr) {
  size_t left = 0, all = 0;
  must(cudaMemGetInfo(&left, &all));
  const size_t bytes = fixed + each * count;
  if (bytes <= left) return;
  std::string text = what + " would take " + std::to_string(bytes) + " bytes of the GPU's memory; " + std::to_string(left) + " of " +
                     std::to_string(all) + " are free";
  if (things) text += ", room for " + std::to_string(left > fixed ? (left - fixed) / each : 0) + " " + things;
  throw NoRoom(text);
}

int round_up(int n, int to) { return (n + to - 1) / to * to; }

// What the default stream does is done: a cache's own stream would not wait for it.
void settle() { must(cudaStreamSynchronize(cudaStreamLegacy)); }

// Memory of the GPU, zeroed.
template <class T>
class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t n) : size_(n) {
    if (n == 0) return;
    must(cudaMalloc(&data_, n * sizeof(T)));
    must(cudaMemset(data_, 0, n * sizeof(T)));
    settle();
  }
  Memory(const T* from, size_t n) : Memory(n) {
    if (n == 0) return;
    must(cudaMemcpy(data_, from, n * sizeof(T), cudaMemcpyHostToDevice));
    settle();
  }
  explicit Memory(const std::vector<T>& from) : Memory(from.data(), from.size()) {}
  Memory(Memory&& o) noexcept : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}
  Memory& operator=(Memory&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }
  ~Memory() { cudaFree(data_); }
  T* data() const { return data_; }
  size_t bytes() const { return size_ * sizeof(T); }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// Memory of the processor that the GPU reads and writes by itself; it only grows.
template <class T>
class Pinned {
 public:
  Pinned() = default;
  Pinned(const Pinned&) = delete;
  ~Pinned() { cudaFreeHost(data_); }
  T* room(size_t n) {
    if (n <= size_) return data_;
    cudaFreeHost(data_);
    data_ = nullptr;
    size_ = 0;
    must(cudaHostAlloc(&data_, n * sizeof(T), cudaHostAllocPortable));
    size_ = n;
    return data_;
  }
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// Rows of a pass are rounded up to what the kernels take, and so that few graphs serve all counts.
int bucket(int rows) { return rows <= 64 ? round_up(rows, 8) : round_up(rows, 64); }

struct Weights {
  Memory<int8_t> weight;
  Memory<int> scale, bias;
  int n = 0, kp = 0, exponent = 0, up = 0;
  Matrix matrix() const { return {weight.data(), scale.data(), bias.data(), n, kp, exponent, up}; }
  size_t bytes() const { return weight.bytes() + scale.bytes() + bias.bytes(); }
};

// Memory of what upload() makes, at most.
size_t weight_bytes(int n, int64_t inputs) {
  return static_cast<size_t>(round_up(n, kOutputs)) * static_cast<size_t>(round_up(static_cast<int>(inputs), 64)) + 8 * static_cast<size_t>(n);
}

// Columns in the order of `source`, if there is one. Throws when a sum could overflow.
Weights upload(const std::string& name, const int8_t* w, int n, int columns, const std::vector<int32_t>* source,
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
    int64_t sum = 0;
    for (int c = 0; c < k; ++c) {
      to[c] = from[source ? (*source)[c] : c];
      sum += std::abs(to[c]);
    }
    largest = std::max(largest, sum);
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

class GpuNetwork;

class GpuCache : public EngineCache {
 public:
  GpuCache(const GpuNetwork& network, int lanes, int window, int anchor, int chunk);
  ~GpuCache() override;

  int lanes() const override { return static_cast<int>(length_.size()); }
  int window() const override { return window_; }
  int anchor() const override { return anchor_; }
  int64_t length(int lane) const override { return length_.at(static_cast<size_t>(lane)); }
  void keep(int row) override;
  size_t bytes() const override { return bytes_; }
  std::unique_ptr<Views> views() override;

 private:
  friend class GpuNetwork;
  friend class GpuViews;
  struct OfLayer {
    Memory<int8_t> key, value;
    Memory<int> key_scale, value_scale;
    int size, window, anchor, tree;
    bool local;
    Keys keys() const {
      return {key.data(), value.data(), key_scale.data(), value_scale.data(), size, window, anchor, tree, local};
    }
    size_t bytes() const { return 2 * key.bytes() + 2 * key_scale.bytes(); }
  };
  // Working memory for so many rows.
  struct Scratch {
    Memory<int8_t> q, queries;
    Memory<int> scale, exponent, x, qkv, attended, gates, turns, factor, down, logits, taps;
  };

  void make_room(int rows);
  void drop_graphs();
  void run(int rows, bool logits, const std::vector<int>& taps);
  void start(int count, bool logits, const std::vector<int>& taps);
  void pass(int rows, int32_t* logits, float* streams, const std::vector<int>& taps);
  void wait();

  const GpuNetwork* network_;
  int window_, anchor_, chunk_, room_ = 0;
  size_t bytes_ = 0;
  Heads heads_;
  std::vector<int64_t> length_;
  std::vector<OfLayer> layers_;
  Scratch s_;
  Row* rows_ = nullptr;  // of the pass, read by the GPU from this memory
  Memory<Row> given_;
  // By rows, whether logits are wanted, and the layers that are tapped.
  std::map<std::tuple<int, bool, std::vector<int>>, cudaGraphExec_t> graphs_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t done_ = nullptr;
  struct TreeRow {
    int lane, parent, slot, position;
  };
  std::vector<TreeRow> tree_;  // of the last forward_tree(); lane -1: kept already
};

class GpuNetwork : public Engine {
 public:
  GpuNetwork(const Tensors& tensors, const Config& config, int threads, int device)
      : Engine(checked(config)), threads_(threads), device_(device) {
    use();
    cudaDeviceProp found;
    must(cudaGetDeviceProperties(&found, device));
    if (found.major < 8) throw std::runtime_error(std::string(found.name) + " is too old: it has no int8 products of compute capability 8.0");
    name_ = "cuda";
    const Reader read{tensors};
    const Config& c = config_;
    const int ids = c.vocab + c.extra, width = c.heads * c.head_dim, qkv = width + 2 * c.kv_heads * c.head_dim;
    size_t all = static_cast<size_t>(ids) * static_cast<size_t>(c.dim + 4) + weight_bytes(c.vocab, read.length("final_norm.source"));
    for (int i = 0; i < c.layers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      all += weight_bytes(qkv, read.length(at + "attn_norm.source")) + weight_bytes(c.dim, width) +
             weight_bytes(2 * c.hidden, read.length(at + "ffn_norm.source")) + weight_bytes(c.dim, c.hidden);
    }
    need("the model", all);
    const int8_t* embed = read.weights("embed.weight", ids, c.dim);
    embed_ = Memory<int8_t>(embed, static_cast<size_t>(ids) * c.dim);
    embed_scale_ = Memory<int>(read.scales("embed", ids), ids);
    embed_exponent_ = read.exponent("embed");
    const RotaryTensors rotary(read, c.layers, c.head_dim);
    for (const std::vector<uint64_t>& table : rotary.tables) rotary_.emplace_back(table);
    sine_ = Memory<int>(sine_table(), 4098);
    sigmoid_ = Memory<int>(sigmoid_table(), 1025);
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
      layers_.push_back({std::move(first), std::move(second), std::move(m1), std::move(m2), std::move(m3), std::move(m4),
                         Memory<int>(q.gain), Memory<int>(k.gain), q.exponent, k.exponent, reach[i], rotary.of_layer[i]});
    }
    final_ = std::make_unique<NormWeights>(read, "final_norm", c.dim);
    head_ = weights("head", c.vocab, c.dim, final_.get(), read.has("head.weight") ? nullptr : embed);
    widest_ = head_.kp;
    for (const Layer& l : layers_) widest_ = std::max({widest_, l.qkv.kp, l.out.kp, l.gate_up.kp, l.down.kp});
    const int shared = 4 * (widest_ + kTree);
    must(cudaFuncSetAttribute(normalise, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  }

  const char* variant() const override { return name_.c_str(); }
  size_t bytes() const override {
    size_t all = embed_.bytes() + embed_scale_.bytes() + head_.bytes();
    for (const Layer& l : layers_) all += l.qkv.bytes() + l.out.bytes() + l.gate_up.bytes() + l.down.bytes();
    return all;
  }
  Logits logits(size_t rows) override {
    use();
    int32_t* memory = nullptr;
    must(cudaHostAlloc(&memory, std::max<size_t>(rows, 1) * static_cast<size_t>(vocab()) * sizeof *memory, cudaHostAllocPortable));
    return {memory, [](int32_t* p) { cudaFreeHost(p); }};
  }
  std::shared_ptr<Pool> pool() override { return std::make_shared<Pool>(threads_); }
  std::unique_ptr<EngineCache> open(int lanes, int window, int anchor, int chunk) override {
    use();
    return std::make_unique<GpuCache>(*this, lanes, window, anchor, chunk);
  }

  void forward(EngineCache& given, int rows, const int32_t* lane, const int32_t* token, int32_t* logits, Taps* taps) override {
    GpuCache& cache = mine(given);
    check_rows(config_, cache, rows, lane, token);
    use();
    float* const streams = open_taps(taps, rows);
    cache.tree_.clear();
    for (int done = 0; done < rows;) {
      const int n = append(cache, rows - done, lane + done, token + done);
      cache.pass(n, logits ? logits + static_cast<size_t>(done) * static_cast<size_t>(vocab()) : nullptr,
                 streams ? streams + static_cast<size_t>(done) * taps->layers.size() * static_cast<size_t>(config_.dim) : nullptr,
                 taps ? taps->layers : std::vector<int>());
      done += n;
    }
  }

  void forward_tree(EngineCache& given, int rows, const int32_t* lane, const int32_t* token, const int32_t* parent,
                    int32_t* logits, Taps* taps) override {
    GpuCache& cache = mine(given);
    check_rows(config_, cache, rows, lane, token);
    check_trees(cache, std::min(cache.chunk_, kTree), rows, lane, parent);
    if (rows > most_rows()) refuse("the trees have too many rows");
    use();
    cache.make_room(rows);
    cache.tree_.clear();
    for (int i = 0, first = 0; i < rows; ++i) {
      if (lane[i] != lane[first]) first = i;
      const int p = parent[i], slot = i - first, base = static_cast<int>(cache.length_[static_cast<size_t>(lane[i])]);
      const int position = p < 0 ? base : cache.tree_[static_cast<size_t>(p)].position + 1;
      cache.tree_.push_back({lane[i], p, slot, position});
      cache.rows_[i] = {lane[i], token[i], position, base, slot, (p < 0 ? 0 : cache.rows_[p].ancestors) | uint64_t{1} << slot};
    }
    cache.pass(rows, logits, open_taps(taps, rows), taps ? taps->layers : std::vector<int>());
  }

 private:
  friend class GpuCache;
  friend class GpuViews;
  void use() const { must(cudaSetDevice(device_)); }
  int most_rows() const { return static_cast<int>(std::clamp<size_t>(kLogits / static_cast<size_t>(vocab()) / 64 * 64, 64, kMostRows)); }
  // Rows for the next pass, as many of them as it takes.
  int append(GpuCache& cache, int rows, const int32_t* lane, const int32_t* token) const {
    const int most = std::min(rows, most_rows());
    cache.make_room(most);
    int run = 0, n = 0;
    for (; n < most; ++n) {
      const int l = lane[n];
      run = n > 0 && cache.rows_[n - 1].lane == l ? run + 1 : 1;
      if (run > cache.chunk_) break;
      const int position = static_cast<int>(cache.length_[static_cast<size_t>(l)]++);
      cache.rows_[n] = {l, token[n], position, position + 1, -1, 0};
    }
    return n;
  }
  GpuCache& mine(EngineCache& given) const {
    auto* const cache = dynamic_cast<GpuCache*>(&given);
    if (!cache || cache->network_ != this) refuse("the cache belongs to another network");
    return *cache;
  }
  float* open_taps(Taps* taps, int rows) const {
    if (!taps) return nullptr;
    taps->streams.resize(static_cast<size_t>(rows) * taps->layers.size() * static_cast<size_t>(config_.dim));
    return taps->streams.data();
  }

  std::string name_;
  int threads_, device_, widest_ = 0;
  mutable std::atomic<int> caches_{0};  // that are open
  Memory<int8_t> embed_;
  Memory<int> embed_scale_, sine_, sigmoid_;
  std::vector<Memory<uint64_t>> rotary_;  // tables of frequencies
  int embed_exponent_ = 0;
  std::vector<Layer> layers_;
  std::unique_ptr<NormWeights> final_;
  Weights head_;
};

GpuCache::GpuCache(const GpuNetwork& network, int lanes, int window, int anchor, int chunk)
    : network_(&network), window_(window), anchor_(anchor), chunk_(std::min(chunk, kChunk)) {
  check_cache(lanes, window, anchor, chunk);
  const Config& c = network.config();
  heads_ = {c.heads, c.kv_heads, c.head_dim, anchor, std::min(chunk_, kTree), anchor + window - 1};
  length_.assign(static_cast<size_t>(lanes), anchor);
  length_[0] = 0;
  const auto all = static_cast<size_t>(lanes) * static_cast<size_t>(c.kv_heads);
  const auto seen = [&](const Layer& l) { return l.reach > 0 ? std::min(window, l.reach) : window; };
  size_t each = 0;  // tokens of a lane, over all layers
  for (const Layer& l : network.layers_) each += static_cast<size_t>(seen(l) + chunk_ + (chunk_ > 1 ? heads_.chunk : 0));
  const size_t token = static_cast<size_t>(c.kv_heads) * static_cast<size_t>(2 * c.head_dim + 8);
  need("the keys of " + std::to_string(lanes) + " lanes of " + std::to_string(window) + " tokens",
       network.layers_.size() * static_cast<size_t>(anchor) * token, each * token, static_cast<size_t>(lanes), "lanes");
  for (const Layer& l : network.layers_) {
    OfLayer o;
    o.local = l.reach > 0;
    o.window = seen(l);
    o.size = o.window + chunk_;
    const size_t ring = all * static_cast<size_t>(o.size), shared = static_cast<size_t>(c.kv_heads) * static_cast<size_t>(anchor);
    const size_t tokens = ring + shared + (chunk_ > 1 ? all * static_cast<size_t>(heads_.chunk) : 0);
    if (tokens > INT32_MAX) refuse("so many lanes and so long a window do not fit a GPU");
    o.anchor = static_cast<int>(ring);
    o.tree = static_cast<int>(ring + shared);
    o.key = Memory<int8_t>(tokens * static_cast<size_t>(c.head_dim));
    o.value = Memory<int8_t>(tokens * static_cast<size_t>(c.head_dim));
    o.key_scale = Memory<int>(tokens);
    o.value_scale = Memory<int>(tokens);
    bytes_ += o.bytes();
    layers_.push_back(std::move(o));
  }
  must(cudaFuncSetAttribute(attend, cudaFuncAttributeMaxDynamicSharedMemorySize, 4 * (1 + kTogether) * (4096 + kTree)));
  must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  must(cudaEventCreateWithFlags(&done_, cudaEventBlockingSync | cudaEventDisableTiming));
  ++network.caches_;
}

void GpuCache::drop_graphs() {
  for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
  graphs_.clear();
}

GpuCache::~GpuCache() {
  drop_graphs();
  --network_->caches_;
  if (done_) cudaEventDestroy(done_);
  if (stream_) cudaStreamDestroy(stream_);
  cudaFreeHost(rows_);
}

void GpuCache::make_room(int rows) {
  rows = bucket(rows);
  if (rows <= room_) return;
  must(cudaStreamSynchronize(stream_));
  drop_graphs();
  const Config& c = network_->config();
  const auto n = static_cast<size_t>(rows);
  const int width = c.heads * c.head_dim;
  s_ = {};
  const int each = network_->widest_ + 4 * (3 + c.dim + 2 * c.kv_heads * c.head_dim + 2 * c.hidden + 4 * c.heads + c.vocab) + 10 * width +
                   8 * static_cast<int>(network_->rotary_.size()) * c.head_dim;
  need("a pass of " + std::to_string(rows) + " tokens", 0, static_cast<size_t>(each), n, "tokens");
  s_.q = Memory<int8_t>(n * static_cast<size_t>(network_->widest_));
  s_.queries = Memory<int8_t>(2 * n * static_cast<size_t>(width));
  s_.scale = Memory<int>(n);
  s_.exponent = Memory<int>(n);
  s_.x = Memory<int>(n * static_cast<size_t>(c.dim));
  s_.qkv = Memory<int>(n * static_cast<size_t>(width + 2 * c.kv_heads * c.head_dim));
  s_.attended = Memory<int>(n * static_cast<size_t>(width));
  s_.gates = Memory<int>(2 * n * static_cast<size_t>(c.hidden));
  s_.turns = Memory<int>(network_->rotary_.size() * 2 * n * static_cast<size_t>(c.head_dim));
  s_.factor = Memory<int>(2 * n * static_cast<size_t>(c.heads));
  s_.down = Memory<int>(2 * n * static_cast<size_t>(c.heads));
  s_.logits = Memory<int>(n * static_cast<size_t>(c.vocab));
  given_ = Memory<Row>(n);
  cudaFreeHost(rows_);
  rows_ = nullptr;
  must(cudaHostAlloc(&rows_, n * sizeof(Row), cudaHostAllocPortable));
  room_ = rows;
}

// The kernels of a pass over `rows` rows, a bucket.
void GpuCache::run(int rows, bool logits, const std::vector<int>& taps) {
  cudaStream_t stream = stream_;
  const GpuNetwork& net = *network_;
  const Config& c = net.config();
  const auto n = static_cast<unsigned>(rows);
  const Row* const given = given_.data();
  Acts acts{s_.q.data(), 0, s_.scale.data(), s_.exponent.data()};
  const Queries queries{s_.queries.data(), s_.factor.data(), s_.down.data()};
  const int width = c.heads * c.head_dim;
  const auto norm = [&](const NormWeights& by, int kp) {
    acts.kp = kp;
    normalise<<<n, kThreads, by.order.size() * sizeof(int), stream>>>(by.norm(c.eps), given, s_.x.data(), c.dim, acts);
  };
  embed<<<n, kThreads, 0, stream>>>({net.embed_.data(), net.embed_scale_.data(), net.embed_exponent_, c.dim}, given, s_.x.data());
  const auto turns = [&](int table) { return s_.turns.data() + static_cast<size_t>(table) * 2 * n * static_cast<size_t>(c.head_dim); };
  for (int t = 0; t < static_cast<int>(net.rotary_.size()); ++t)
    turn_angles<<<n, 32, 0, stream>>>(heads_, given, net.rotary_[static_cast<size_t>(t)].data(), net.sine_.data(), turns(t));
  for (size_t l = 0; l < net.layers_.size(); ++l) {
    const Layer& layer = net.layers_[l];
    const Keys keys = layers_[l].keys();
    norm(layer.attn_norm, layer.qkv.kp);
    multiply<false>(layer.qkv.matrix(), acts, given, rows, s_.qkv.data(), stream);
    turn<<<dim3(n, static_cast<unsigned>((2 * (c.heads + c.kv_heads) + kTurned - 1) / kTurned)), 32 * kTurned, 0, stream>>>(heads_, keys, given, s_.qkv.data(), turns(layer.rotary), layer.head_norms(c.eps), queries);
    const size_t seen = static_cast<size_t>(padded(anchor_ + layers_[l].window)) * static_cast<size_t>(1 + std::min(heads_.group(), kTogether));
    attend<<<dim3(n, static_cast<unsigned>(c.kv_heads)), kAttend, seen * sizeof(int), stream>>>(heads_, keys, given, queries, s_.attended.data());
    acts.kp = layer.out.kp;
    activate_row<<<n, kThreads, 0, stream>>>(given, s_.attended.data(), width, acts);
    multiply<true>(layer.out.matrix(), acts, given, rows, s_.x.data(), stream);
    norm(layer.ffn_norm, layer.gate_up.kp);
    multiply<false>(layer.gate_up.matrix(), acts, given, rows, s_.gates.data(), stream);
    acts.kp = layer.down.kp;
    swiglu<<<n, kThreads, 0, stream>>>(given, s_.gates.data(), c.hidden, net.sigmoid_.data(), acts);
    multiply<true>(layer.down.matrix(), acts, given, rows, s_.x.data(), stream);
    for (size_t t = 0; t < taps.size(); ++t) {
      if (taps[t] != static_cast<int>(l)) continue;
      const size_t size = static_cast<size_t>(rows) * static_cast<size_t>(c.dim);
      must(cudaMemcpyAsync(s_.taps.data() + t * size, s_.x.data(), size * sizeof(int), cudaMemcpyDeviceToDevice, stream_));
    }
  }
  if (logits) {
    norm(*net.final_, net.head_.kp);
    multiply<false>(net.head_.matrix(), acts, given, rows, s_.logits.data(), stream);
  }
  must(cudaGetLastError());
}

// A single frame waits for the GPU awake; many leave the processor to each other.
void GpuCache::wait() {
  if (network_->caches_ <= 1) return must(cudaStreamSynchronize(stream_));
  must(cudaEventRecord(done_, stream_));
  must(cudaEventSynchronize(done_));
}

void GpuCache::start(int count, bool logits, const std::vector<int>& taps) {
  const int rows = bucket(count);
  const size_t tapped = taps.size() * static_cast<size_t>(room_) * static_cast<size_t>(network_->config().dim);
  if (s_.taps.bytes() < tapped * sizeof(int)) {
    drop_graphs();
    s_.taps = Memory<int>(tapped);
  }
  for (int i = count; i < rows; ++i) rows_[i].lane = -1;
  must(cudaMemcpyAsync(given_.data(), rows_, static_cast<size_t>(rows) * sizeof(Row), cudaMemcpyHostToDevice, stream_));
  cudaGraphExec_t& graph = graphs_[{rows, logits, taps}];
  if (!graph) {
    cudaGraph_t made;
    must(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    run(rows, logits, taps);
    must(cudaStreamEndCapture(stream_, &made));
    must(cudaGraphInstantiate(&graph, made, 0));
    cudaGraphDestroy(made);
  }
  must(cudaGraphLaunch(graph, stream_));
}

void GpuCache::pass(int count, int32_t* logits, float* streams, const std::vector<int>& taps) {
  start(count, logits != nullptr, taps);
  if (logits) {
    const size_t size = static_cast<size_t>(count) * static_cast<size_t>(network_->vocab()) * sizeof *logits;
    must(cudaMemcpyAsync(logits, s_.logits.data(), size, cudaMemcpyDeviceToHost, stream_));
  }
  const auto dim = static_cast<size_t>(network_->config().dim);
  const size_t tapped = static_cast<size_t>(bucket(count)) * dim;
  std::vector<int> x(taps.size() * tapped);
  if (!x.empty()) must(cudaMemcpyAsync(x.data(), s_.taps.data(), x.size() * sizeof(int), cudaMemcpyDeviceToHost, stream_));
  wait();
  for (size_t t = 0; t < taps.size(); ++t)
    for (size_t i = 0; i < static_cast<size_t>(count); ++i)
      for (size_t k = 0; k < dim; ++k) streams[(i * taps.size() + t) * dim + k] = static_cast<float>(x[t * tapped + i * dim + k]) / 65536;
}

void GpuCache::keep(int row) {
  if (row < 0 || row >= static_cast<int>(tree_.size())) refuse("there is no such row to keep");
  const int lane = tree_[static_cast<size_t>(row)].lane;
  if (lane < 0) refuse("a way of that lane's tree has been kept");
  network_->use();
  std::vector<Kept> kept;
  for (int i = row; i >= 0; i = tree_[static_cast<size_t>(i)].parent) {
    const TreeRow& r = tree_[static_cast<size_t>(i)];
    kept.push_back({lane, r.slot, r.position});
  }
  length_[static_cast<size_t>(lane)] = kept.front().position + 1;
  const Memory<Kept> list(kept);
  for (const OfLayer& o : layers_)
    keep_rows<<<dim3(static_cast<unsigned>(kept.size()), static_cast<unsigned>(heads_.kv_heads)), 64, 0, stream_>>>(heads_, o.keys(), list.data());
  must(cudaGetLastError());
  must(cudaStreamSynchronize(stream_));
  for (TreeRow& r : tree_) {
    if (r.lane == lane) r.lane = -1;
  }
}

class GpuViews : public Views {
 public:
  explicit GpuViews(GpuCache& cache)
      : cache_(cache),
        net_(*cache.network_),
        vocab_(net_.vocab()),
        blocks_(static_cast<size_t>(vocab_ + kBlock - 1) / kBlock + 1),
        values_(static_cast<size_t>(vocab_)),
        squares_(static_cast<size_t>(vocab_)),
        rates_(std::vector<uint32_t>(static_cast<size_t>(vocab_), Bias::kFirstRate)) {}

  int most_rows() const override { return net_.most_rows(); }
  int most_run() const override { return cache_.chunk_; }

  void answer(int rows, const int32_t* lane, const int32_t* token, const Walks& walks, Masses* out) override {
    feed(rows, lane, token);
    const size_t count = walks.row.size(), ranges = walks.ranges.size();
    give(order_, walks.row, order_pinned_);
    give(coded_, walks.token, coded_pinned_);
    give(first_, walks.first, first_pinned_);
    give(ranges_, walks.ranges, ranges_pinned_);
    if (masses_.bytes() < ranges * sizeof(Masses)) masses_ = Memory<Masses>(ranges + ranges / 2);
    const cudaStream_t stream = cache_.stream_;
    const int* const logits = cache_.s_.logits.data();
    look_at(rows, nullptr, own_);
    size_t at = 0;
    for (const int32_t step : walks.steps) {
      const int* const order = order_.data() + at;
      look_at(step, order, with_);
      masses<<<static_cast<unsigned>(step), 64, 0, stream>>>(logits, vocab_, order, first_.data() + at, ranges_.data(), own_, with_, masses_.data());
      teach(step, order, coded_.data() + at);
      at += static_cast<size_t>(step);
    }
    if (at != count) refuse("the steps are not those of the walks");
    Masses* const to = masses_pinned_.room(ranges);
    must(cudaMemcpyAsync(to, masses_.data(), ranges * sizeof *to, cudaMemcpyDeviceToHost, stream));
    must(cudaGetLastError());
    cache_.wait();
    std::copy_n(to, ranges, out);
  }

  void look(int rows, const int32_t* lane, const int32_t* token) override {
    feed(rows, lane, token);
    rows_ = rows;
    const int* const logits = cache_.s_.logits.data();
    const auto n = static_cast<size_t>(rows), vocab = static_cast<size_t>(vocab_);
    look_at(rows, nullptr, own_);
    look_at(rows, nullptr, with_);
    take(logits_pinned_, logits, n * vocab);
    take(bias_pinned_, values_.data(), vocab);
    for (int i = 0; i < 2; ++i) {
      take(best_pinned_[i], i ? with_.best : own_.best, n);
      take(prefix_pinned_[i], i ? with_.prefix : own_.prefix, n * blocks_);
    }
    must(cudaGetLastError());
    cache_.wait();
  }
  Sketch plain(int row) const override { return sketched(row, 0, nullptr); }
  Sketch biased(int row) const override { return sketched(row, 1, bias_pinned_.data()); }

  void learn(const int32_t* token) override {
    net_.use();
    std::vector<int32_t> all(static_cast<size_t>(rows_)), coded(token, token + rows_);
    for (int i = 0; i < rows_; ++i) all[static_cast<size_t>(i)] = i;
    give(order_, all, order_pinned_);
    give(coded_, coded, coded_pinned_);
    teach(rows_, order_.data(), coded_.data());
    must(cudaGetLastError());
  }

 private:
  // A pass whose logits stay.
  void feed(int rows, const int32_t* lane, const int32_t* token) {
    check_rows(net_.config(), cache_, rows, lane, token);
    net_.use();
    cache_.tree_.clear();
    if (net_.append(cache_, rows, lane, token) != rows) refuse("more rows than one pass takes");
    cache_.start(rows, true, {});
    if (room_ >= cache_.room_) return;
    room_ = cache_.room_;
    need("the views of " + std::to_string(room_) + " tokens", 0, 16 * blocks_ + 12, static_cast<size_t>(room_), "tokens");
    for (int i = 0; i < 2; ++i) {
      best_[i] = Memory<int>(static_cast<size_t>(room_));
      prefix_[i] = Memory<uint64_t>(static_cast<size_t>(room_) * blocks_);
    }
    reciprocal_ = Memory<uint32_t>(static_cast<size_t>(room_));
    own_ = {nullptr, best_[0].data(), reciprocal_.data(), prefix_[0].data()};
    with_ = {values_.data(), best_[1].data(), reciprocal_.data(), prefix_[1].data()};
  }
  void look_at(int rows, const int* order, const View& view) {
    const auto by = vocab_ % 4 == 0 ? sketch<4> : sketch<1>;  // rows of logits begin where vectors may
    by<<<static_cast<unsigned>(rows), kSketch, 0, cache_.stream_>>>(cache_.s_.logits.data(), vocab_, order, view);
  }
  void teach(int rows, const int* order, const int* coded) {
    cuda::learn<<<static_cast<unsigned>((vocab_ + kThreads - 1) / kThreads), kThreads, 0, cache_.stream_>>>(
        cache_.s_.logits.data(), vocab_, rows, order, coded, with_, {values_.data(), squares_.data(), rates_.data()});
  }
  // To the GPU. What lies in pinned memory has been read by the time of the next wait().
  template <class T>
  void give(Memory<T>& to, const std::vector<T>& from, Pinned<T>& by) {
    if (to.bytes() < from.size() * sizeof(T)) to = Memory<T>(from.size() + from.size() / 2);
    T* const pinned = by.room(from.size());
    std::copy(from.begin(), from.end(), pinned);
    must(cudaMemcpyAsync(to.data(), pinned, from.size() * sizeof(T), cudaMemcpyHostToDevice, cache_.stream_));
  }
  template <class T>
  void take(Pinned<T>& to, const T* from, size_t n) {
    must(cudaMemcpyAsync(to.room(n), from, n * sizeof(T), cudaMemcpyDeviceToHost, cache_.stream_));
  }
  Sketch sketched(int row, int view, const int32_t* bias) const {
    const auto at = static_cast<size_t>(row);
    return {static_cast<uint32_t>(vocab_), logits_pinned_.data() + at * static_cast<size_t>(vocab_), bias, best_pinned_[view].data()[at],
            prefix_pinned_[view].data() + at * blocks_};
  }

  GpuCache& cache_;
  const GpuNetwork& net_;
  int vocab_, rows_ = 0, room_ = 0;
  size_t blocks_;  // and one
  Memory<int> values_;
  Memory<uint32_t> squares_, rates_, reciprocal_;
  Memory<int> best_[2], order_, coded_;
  Memory<uint64_t> prefix_[2];
  Memory<uint32_t> first_;
  Memory<Range> ranges_;
  Memory<Masses> masses_;
  View own_{}, with_{};
  Pinned<int32_t> order_pinned_, coded_pinned_, logits_pinned_, bias_pinned_, best_pinned_[2];
  Pinned<uint32_t> first_pinned_;
  Pinned<Range> ranges_pinned_;
  Pinned<Masses> masses_pinned_;
  Pinned<uint64_t> prefix_pinned_[2];
};

std::unique_ptr<Views> GpuCache::views() {
  network_->use();
  return std::make_unique<GpuViews>(*this);
}

}  // namespace
}  // namespace lmc::cuda

// What the processor's part of lmc looks for in this library. `error` gets the reason where the engine is null;
// `unusable`: it lies in the model.
extern "C" lmc::Engine* lmc_cuda_engine(const lmc::Tensors& tensors, const lmc::Config& config, int threads, int device,
                                        char* error, size_t room, bool* unusable) {
  *unusable = false;
  try {
    return new lmc::cuda::GpuNetwork(tensors, config, threads, device);
  } catch (const lmc::cuda::NoRoom& e) {
    std::snprintf(error, room, "%s", e.what());
  } catch (const std::bad_alloc&) {
    size_t left = 0, all = 0;
    cudaMemGetInfo(&left, &all);
    std::snprintf(error, room, "its memory is full: %zu of %zu bytes are free", left, all);
  } catch (const std::invalid_argument& e) {
    *unusable = true;
    std::snprintf(error, room, "%s", e.what());
  } catch (const std::exception& e) {
    std::snprintf(error, room, "%s", e.what());
  }
  return nullptr;
}

// The number of GPUs, and their names one behind the other; -1 and the reason if none can be used.
extern "C" int lmc_cuda_devices(char* names, size_t room) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    std::snprintf(names, room, "%s", cudaGetErrorString(error));
    return -1;
  }
  size_t at = 0;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp found;
    if (at + sizeof found.name > room || cudaGetDeviceProperties(&found, i) != cudaSuccess) return i;
    at += static_cast<size_t>(std::snprintf(names + at, room - at, "%s", found.name)) + 1;
  }
  return count;
}
