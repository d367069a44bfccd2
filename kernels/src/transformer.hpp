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

// What a pass tells of the residual stream: of each row, after some layers, [rows][layers][dim].
struct Taps {
  std::vector<int> layers;
  std::vector<float> streams;
};

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
  void forward(Cache& cache, int rows, const int32_t* lane, const int32_t* token, int32_t* logits,
               Taps* taps = nullptr);

  // Tries tokens that may come next: a tree for each lane, behind the tokens it has. Row i follows row
  // parent[i] < i of its lane, or with -1 the lane's last token; it sees what it follows, and its logits are
  // those of forward() with the tokens on its way. No lane becomes longer: see Cache::keep. Throws
  // std::invalid_argument like forward(), and for trees of more rows than the cache's chunk, a parent that is
  // not an earlier row of the lane, or a lane that does not hold its anchor yet.
  void forward_tree(Cache& cache, int rows, const int32_t* lane, const int32_t* token, const int32_t* parent,
                    int32_t* logits, Taps* taps = nullptr);

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
  float* open(Taps* taps, int rows);
  void check_rows(const Cache& cache, int rows, const int32_t* lane, const int32_t* token) const;
  void begin(Cache& cache, int rows, const int32_t* token);
  void finish(Cache& cache, int rows, const int32_t* lane, int32_t* logits, float* streams);
  void remember(Cache& cache, int layer, int row, int head, int worker);
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
  const std::vector<int>* tapped_ = nullptr;  // the layers of the pass at hand
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
  // Makes the way to a row of the last forward_tree() part of its lane; once for each lane.
  void keep(int row);
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
