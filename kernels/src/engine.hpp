// What runs a network: the processor (transformer.hpp), or a GPU (kernels/cuda).
//
// Logits depend on the tensors and on each lane's tokens alone: not on the engine, its threads, its
// instruction set, or how the tokens are divided over calls.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "views.hpp"

namespace lmc {

class Pool;

enum class Type { i8, i32, u64, other };

// A tensor that somebody else keeps alive while an engine is built; contiguous.
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

// What a pass tells of the residual stream: of each row, after some layers, [rows][layers][dim].
struct Taps {
  std::vector<int> layers;
  std::vector<float> streams;
};

// Keys and values of `lanes` sequences. A row at position p sees its lane's keys at positions
// max(anchor, p - window + 1) .. p and the anchor keys, the first `anchor` tokens of lane 0; other
// lanes start at position `anchor`. A layer with a reach sees the newest keys alone, of the lane and of
// the anchor before it. window >= 1, anchor >= 0, window + anchor <= 4096.
// `chunk` is the most tokens of one lane that one internal pass appends (it only bounds memory).
class EngineCache {
 public:
  virtual ~EngineCache() = default;
  virtual int lanes() const = 0;
  virtual int window() const = 0;
  virtual int anchor() const = 0;
  virtual int64_t length(int lane) const = 0;  // the next position of a lane
  // Makes the way to a row of the last forward_tree() part of its lane; once for each lane.
  virtual void keep(int row) = 0;
  virtual size_t bytes() const = 0;  // memory when all of it is in use
  // For a frame whose text this cache has not seen yet; null where logits are as near as the frame. The
  // views end before the cache.
  virtual std::unique_ptr<Views> views() { return nullptr; }
};

// Memory for logits from which an engine can be read fast.
using Logits = std::shared_ptr<int32_t>;

class Engine {
 public:
  virtual ~Engine() = default;

  const Config& config() const { return config_; }
  int vocab() const { return config_.vocab; }
  virtual const char* variant() const = 0;
  virtual size_t bytes() const = 0;  // memory of the weights
  virtual Logits logits(size_t rows) = 0;
  // Threads for what a frame does beside its passes. Frames that share a pool take turns.
  virtual std::shared_ptr<Pool> pool() = 0;

  // Throws std::invalid_argument for what the arithmetic does not allow.
  virtual std::unique_ptr<EngineCache> open(int lanes, int window, int anchor, int chunk) = 0;

  // Appends token[i] to lane[i] for i in [0, rows). Rows of one lane must be consecutive. logits, if not null, receives
  // [rows, vocab] int32: Q16, base 2 (probability is proportional to 2^(logit / 65536)).
  // Throws std::invalid_argument (before any change) when a lane or token is out of range, rows of a
  // lane are apart, or a lane other than 0 is used before lane 0 holds the whole anchor.
  virtual void forward(EngineCache& cache, int rows, const int32_t* lane, const int32_t* token, int32_t* logits,
                       Taps* taps = nullptr) = 0;

  // Tries tokens that may come next: a tree for each lane, behind the tokens it has. Row i follows row
  // parent[i] < i of its lane, or with -1 the lane's last token; it sees what it follows, and its logits are
  // those of forward() with the tokens on its way. No lane becomes longer: see EngineCache::keep. Throws
  // std::invalid_argument like forward(), and for trees of more rows than the cache's chunk, a parent that is
  // not an earlier row of the lane, or a lane that does not hold its anchor yet.
  virtual void forward_tree(EngineCache& cache, int rows, const int32_t* lane, const int32_t* token, const int32_t* parent,
                            int32_t* logits, Taps* taps = nullptr) = 0;

 protected:
  explicit Engine(const Config& config) : config_(config) {}
  const Config config_;
};

}  // namespace lmc
