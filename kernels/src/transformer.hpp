// The exact integer transformer of ARITHMETIC.md on the processor: weights, caches and the forward pass.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine.hpp"
#include "network_kernels.hpp"
#include "threads.hpp"

namespace lmc {

class Cache;

class Network : public Engine {
 public:
  // Throws std::invalid_argument when a tensor is missing or malformed, when a sum could overflow, or
  // when `variant` (empty: the environment's LMC_KERNELS, else the fastest) does not run here.
  Network(const Tensors& tensors, const Config& config, int threads, const std::string& variant = "");
  ~Network() override;

  std::shared_ptr<Pool> pool() override { return {std::shared_ptr<Pool>(), &pool_}; }
  const char* variant() const override { return kernels_.name; }
  size_t bytes() const override;
  Logits logits(size_t rows) override;
  std::unique_ptr<EngineCache> open(int lanes, int window, int anchor, int chunk) override;
  void forward(EngineCache& cache, int rows, const int32_t* lane, const int32_t* token, int32_t* logits,
               Taps* taps = nullptr) override;
  void forward_tree(EngineCache& cache, int rows, const int32_t* lane, const int32_t* token, const int32_t* parent,
                    int32_t* logits, Taps* taps = nullptr) override;

 private:
  friend class Cache;
  struct Layer;
  struct Scratch;
  struct Norm;
  struct Part;
  template <class F>
  void loop(const Part& part, int tasks, F&& fn);
  std::vector<Part> divide(int rows, const int32_t* lane);
  void run(const Part& part, Cache& cache, int32_t* logits, float* streams);
  float* streams(Taps* taps, int rows);
  Cache& mine(EngineCache& cache) const;
  void begin(Cache& cache, int rows, const int32_t* token);
  void finish(Cache& cache, int rows, const int32_t* lane, int32_t* logits, float* streams);
  void normalise_heads(const Layer& layer, int row);
  void remember(Cache& cache, int layer, int row, int head, int worker);
  void attend(const Cache& cache, int layer, int first, int count, int kv_head, int worker);
  void normalise(const Norm& norm, const Part& part);
  const int32_t* turns(int layer, int row) const;
  void activate(const int32_t* z, int n, int fraction, int row, Acts& out);
  void multiply(const Matrix& m, const Part& part, int32_t* out, size_t stride, bool add);
  void embed(int token, int32_t* x) const;

  const Kernels& kernels_;
  Pool pool_;
  Arena arena_;
  Buffer<int8_t> embed_;
  Buffer<int32_t> embed_scale_;
  int embed_exponent_ = 0;
  std::vector<std::vector<uint64_t>> rotary_;  // tables of frequencies
  std::vector<int> reach_;  // of each layer, in tokens; 0: the cache's whole window
  std::vector<Layer> layers_;
  std::unique_ptr<Norm> final_;
  std::unique_ptr<Matrix> head_;
  std::unique_ptr<Scratch> scratch_;
  const std::vector<int>* tapped_ = nullptr;  // the layers of the pass at hand
};

class Cache : public EngineCache {
 public:
  Cache(const Network& network, int lanes, int window, int anchor, int chunk);

  int lanes() const override { return static_cast<int>(length_.size()); }
  int window() const override { return window_; }
  int window(int layer) const { return windows_[static_cast<size_t>(layer)]; }
  int anchor() const override { return anchor_; }
  int64_t length(int lane) const override { return length_.at(static_cast<size_t>(lane)); }
  void keep(int row) override;
  size_t bytes() const override;

 private:
  friend class Network;
  uint8_t* own(int layer, int lane, int head, int64_t tile) const {
    const int tiles = ring_tiles_[layer];
    return ring_.data() + (ring_at_[layer] + (static_cast<size_t>(lane) * heads_ + head) * tiles +
                           static_cast<size_t>(tile % tiles)) * tile_bytes_;
  }
  uint8_t* fixed(int layer, int head, int64_t tile) const {
    return anchors_.data() +
           ((static_cast<size_t>(layer) * heads_ + head) * anchor_tiles_ + static_cast<size_t>(tile)) * tile_bytes_;
  }

  // A chain of a tree's rows that leaves another one.
  struct Branch {
    int64_t first_tile;    // that holds the first position of the lane's tree
    std::vector<int> copy; // of the tiles from there on; -1: the lane's own
  };
  struct Row {
    int lane;  // -1: of a tree that is no more
    int64_t position;
    int branch = -1;
    int copy = -1;  // the branch's tile that begins with this row, if one does
    int from = -1;  // whose earlier tokens come from this copy; -1: from the lane
  };

  // Where a lane's token of some position lies, as a row on `branch` sees it: a branch of a tree has its
  // own copies of the tiles from the one that it leaves its parent in; branch -1 is the lane alone.
  uint8_t* seen(int layer, int lane, int branch, int head, int64_t tile) const {
    if (branch >= 0) {
      const Branch& b = branches_[static_cast<size_t>(branch)];
      const int64_t at = tile - b.first_tile;
      if (at >= 0 && b.copy[at] >= 0) return copied(layer, head, b.copy[at]);
    }
    return own(layer, lane, head, tile);
  }
  uint8_t* copied(int layer, int head, int copy) const {
    return copies_.data() + ((static_cast<size_t>(copy) * windows_.size() + static_cast<size_t>(layer)) * heads_ +
                             static_cast<size_t>(head)) * tile_bytes_;
  }
  void grow(int rows, const int32_t* lane, const int32_t* parent);

  const Network* network_;
  int window_, anchor_, chunk_, heads_;
  // By layer: keys that a row sees; the first tile (of TILE tokens) in the ring, and the number of
  // tiles of a lane and head.
  std::vector<int> windows_, ring_tiles_;
  std::vector<size_t> ring_at_;
  int anchor_tiles_;
  size_t tile_bytes_;
  std::vector<int64_t> length_;
  std::vector<Row> tree_;  // the last one, and its branches
  std::vector<Branch> branches_;
  Buffer<uint8_t> ring_, anchors_, copies_;
};

}  // namespace lmc
