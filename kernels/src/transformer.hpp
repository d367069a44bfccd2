// The exact integer transformer of ARITHMETIC.md: weights, caches and the forward pass.
//
// Logits depend on the tensors and on each lane's tokens alone: not on the thread count, the
// instruction set, or how the tokens are divided over calls.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "network_kernels.hpp"
#include "threads.hpp"

namespace lmc {

enum class Type { i8, i32, u64, other };

// A tensor that somebody else keeps alive while a Network is built; contiguous.
struct Tensor {
  Type type = Type::other;
  std::vector<int64_t> shape;
  const void* data = nullptr;
};

using Tensors = std::map<std::string, Tensor>;

struct Config {
  int dim, layers, heads, kv_heads, head_dim, hidden;
  int vocab, extra;  // ids [0, vocab) have logits; [vocab, vocab + extra) are input only
  int64_t eps;       // of the norms, Q32
};

class Cache;

class Network {
 public:
  // Throws std::invalid_argument when a tensor is missing or malformed, when a sum could overflow, or
  // when `variant` (empty: the environment's LMC_KERNELS, else the fastest) does not run here.
  Network(const Tensors& tensors, const Config& config, int threads, const std::string& variant = "");
  ~Network();

  const Config& config() const { return config_; }
  int vocab() const { return config_.vocab; }
  Pool& pool() { return pool_; }
  const char* variant() const { return kernels_.name; }
  size_t bytes() const;  // memory of the weights

  // Appends token[i] to lane[i] for i in [0, rows). Rows of one lane must be consecutive. logits, if not null, receives
  // [rows, vocab] int32: Q16, base 2 (probability is proportional to 2^(logit / 65536)).
  // Throws std::invalid_argument (before any change) when a lane or token is out of range, rows of a
  // lane are apart, or a lane other than 0 is used before lane 0 holds the whole anchor.
  void forward(Cache& cache, int rows, const int32_t* lane, const int32_t* token, int32_t* logits);

 private:
  friend class Cache;
  struct Layer;
  struct Scratch;
  struct Norm;
  struct Part;
  template <class F>
  void loop(const Part& part, int tasks, F&& fn);
  std::vector<Part> divide(int rows, const int32_t* lane);
  void run(const Part& part, Cache& cache, int32_t* logits);
  void pass(Cache& cache, int rows, const int32_t* lane, const int32_t* token, int32_t* logits);
  void remember(Cache& cache, int layer, int row, int worker);
  void attend(const Cache& cache, int layer, int first, int count, int kv_head, int worker);
  void normalise(const Norm& norm, const Part& part);
  void activate(const int32_t* z, int n, int fraction, int row, Acts& out);
  void multiply(const Matrix& m, const Part& part, int32_t* out, size_t stride, bool add);
  void embed(int token, int32_t* x) const;

  Config config_;
  const Kernels& kernels_;
  Pool pool_;
  Arena arena_;
  Buffer<int8_t> embed_;
  Buffer<int32_t> embed_scale_;
  int embed_exponent_ = 0;
  std::vector<uint64_t> frequency_;
  std::vector<int> reach_;  // of each layer, in tokens; 0: the cache's whole window
  std::vector<Layer> layers_;
  std::unique_ptr<Norm> final_;
  std::unique_ptr<Matrix> head_;
  std::unique_ptr<Scratch> scratch_;
};

// Keys and values of `lanes` sequences. A row at position p sees its lane's keys at positions
// max(anchor, p - window + 1) .. p and the anchor keys, the first `anchor` tokens of lane 0; other
// lanes start at position `anchor`. A layer with a reach sees the newest keys alone, of the lane and of
// the anchor before it. window >= 1, anchor >= 0, window + anchor <= 4096.
// `chunk` is the most tokens of one lane that one internal pass appends (it only bounds memory).
class Cache {
 public:
  Cache(const Network& network, int lanes, int window, int anchor, int chunk);

  int lanes() const { return static_cast<int>(length_.size()); }
  int window() const { return window_; }
  int window(int layer) const { return windows_[layer]; }
  int anchor() const { return anchor_; }
  // Next position of a lane.
  int64_t length(int lane) const { return length_.at(lane); }
  // Takes the last `tokens` tokens of a lane back; at most chunk, and not below the lane's start nor the anchor.
  void rewind(int lane, int tokens);
  size_t bytes() const;  // memory when all of it is in use

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

  const Network* network_;
  int window_, anchor_, chunk_, heads_;
  // By layer: keys that a row sees; the first tile (of TILE tokens) in the ring, and the number of
  // tiles of a lane and head.
  std::vector<int> windows_, ring_tiles_;
  std::vector<size_t> ring_at_;
  int anchor_tiles_;
  size_t tile_bytes_;
  std::vector<int64_t> length_;
  std::vector<int64_t> high_;  // the furthest that each lane has been: what the ring still holds
  Buffer<uint8_t> ring_, anchors_;
};

}  // namespace lmc
