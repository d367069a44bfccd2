// The network of ARITHMETIC.md on a GPU: the same integers as on the processor.
//
// A cache that is fed for itself has a workspace of its own. Passes of encoding frames run side by side (answers.cuh), the
// steps of decoding frames are gathered to passes over all of them (batch.cuh).
#include <atomic>
#include <cstdio>

#include "../src/threads.hpp"
#include "answers.cuh"
#include "batch.cuh"

namespace lmc::cuda {
namespace {

class GpuNetwork;

class GpuCache : public EngineCache {
 public:
  GpuCache(GpuNetwork& network, int lanes, int window, int anchor, int chunk);
  ~GpuCache() override;

  int lanes() const override { return static_cast<int>(length_.size()); }
  int window() const override { return window_; }
  int anchor() const override { return anchor_; }
  int64_t length(int lane) const override { return length_.at(static_cast<size_t>(lane)); }
  void keep(int row) override;
  size_t bytes() const override { return memory_.bytes(); }
  std::unique_ptr<Views> views() override;

 private:
  friend class GpuNetwork;
  friend class GpuViews;
  int seen() const { return anchor_ + window_; }
  Workspace& workspace();
  // The row of a lane's next token.
  Row append(int lane, int token) {
    const int position = static_cast<int>(length_[static_cast<size_t>(lane)]++);
    return {slot_, lane, token, position, position + 1, -1, 0, 0, 1, -1};
  }
  void pass(int rows, int32_t* logits, float* streams, const std::vector<int>& taps);

  GpuNetwork* network_;
  int window_, anchor_, chunk_, branches_, slot_;
  std::vector<int64_t> length_;
  Memory<int8_t> memory_;  // of all layers: many small allocations take a second
  std::unique_ptr<Workspace> workspace_;
  struct TreeRow {
    int lane, parent, slot, position;
  };
  std::vector<TreeRow> tree_;  // of the last forward_tree(); lane -1: kept already
};

// The numbers of open caches, and what kernels find by them.
class Table {
 public:
  explicit Table(size_t layers) : keys_(layers * kCaches), sights_(kCaches) {
    for (int i = kCaches; i-- > 0;) free_.push_back(i);
  }
  const Keys* keys() const { return keys_.data(); }
  const Sight* sights() const { return sights_.data(); }
  int take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) throw NoRoom("a GPU has " + std::to_string(kCaches) + " caches at a time");
    const int slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void give_back(int slot) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(slot);
  }
  void set(int slot, const std::vector<Keys>& layers) {
    must(cudaMemcpy2D(keys_.data() + slot, kCaches * sizeof(Keys), layers.data(), sizeof(Keys), sizeof(Keys), layers.size(), cudaMemcpyHostToDevice));
    settle();
  }
  void set(int slot, const Sight& sight) {
    must(cudaMemcpy(sights_.data() + slot, &sight, sizeof sight, cudaMemcpyHostToDevice));
    settle();
  }

 private:
  Memory<Keys> keys_;  // [layers][kCaches]
  Memory<Sight> sights_;
  std::mutex mutex_;
  std::vector<int> free_;
};

// Makes a device the thread's own; throws where it is too old.
int used(int device) {
  must(cudaSetDevice(device));
  cudaDeviceProp found;
  must(cudaGetDeviceProperties(&found, device));
  if (found.major < 8) throw std::runtime_error(std::string(found.name) + " is too old: it has no int8 products of compute capability 8.0");
  return device;
}

class GpuNetwork : public Engine {
 public:
  GpuNetwork(const Tensors& tensors, const Config& config, int threads, int device)
      : Engine(checked(config)),
        threads_(threads),
        device_(used(device)),
        model_(tensors, config_),
        table_(model_.layers.size()),
        answerers_(model_, table_.keys()),
        batcher_(model_, table_.keys(), table_.sights(), most_rows()) {}

  const char* variant() const override { return "cuda"; }
  size_t bytes() const override { return model_.bytes(); }
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
      const int n = append(cache, cache.workspace().rows(std::min(rows - done, most_rows())), rows - done, lane + done, token + done);
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
    Row* const to = cache.workspace().rows(rows);
    cache.tree_.clear();
    for (int i = 0, first = 0; i < rows; ++i) {
      if (lane[i] != lane[first]) first = i;
      const int p = parent[i], slot = i - first, base = static_cast<int>(cache.length_[static_cast<size_t>(lane[i])]);
      const int position = p < 0 ? base : cache.tree_[static_cast<size_t>(p)].position + 1;
      cache.tree_.push_back({lane[i], p, slot, position});
      to[i] = {cache.slot_, lane[i], token[i], position, base, slot, (p < 0 ? 0 : to[p].ancestors) | uint64_t{1} << slot, i, 1, -1};
    }
    cache.pass(rows, logits, open_taps(taps, rows), taps ? taps->layers : std::vector<int>());
  }

 private:
  friend class GpuCache;
  friend class GpuViews;
  void use() const { must(cudaSetDevice(device_)); }
  int most_rows() const {
    const size_t rows = memory_ / kLogitsShare / (static_cast<size_t>(vocab()) * sizeof(int32_t));
    return static_cast<int>(std::clamp<size_t>(rows / 64 * 64, 64, kMostRows));
  }
  // Rows for a pass, as many of them as it takes; there is room for most_rows() of them.
  int append(GpuCache& cache, Row* to, int rows, const int32_t* lane, const int32_t* token) const {
    const int most = std::min(rows, most_rows());
    int run = 0, n = 0;
    for (; n < most; ++n) {
      run = n > 0 && lane[n - 1] == lane[n] ? run + 1 : 1;
      if (run > cache.chunk_) break;
      to[n] = cache.append(lane[n], token[n]);
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

  const int threads_, device_;
  const size_t memory_ = total_memory();
  std::atomic<int> caches_{0};  // that are open
  const Model model_;
  Table table_;
  Answerers answerers_;
  Batcher batcher_;
};

GpuCache::GpuCache(GpuNetwork& network, int lanes, int window, int anchor, int chunk)
    : network_(&network), window_(window), anchor_(anchor), chunk_(std::min(chunk, kChunk)), branches_(std::min(chunk_, kTree)) {
  check_cache(lanes, window, anchor, chunk);
  const Config& c = network.config();
  length_.assign(static_cast<size_t>(lanes), anchor);
  length_[0] = 0;
  const auto all = static_cast<size_t>(lanes) * static_cast<size_t>(c.kv_heads);
  const auto sees = [&](const Layer& l) { return l.reach > 0 ? std::min(window, l.reach) : window; };
  size_t each = 0;  // tokens of a lane, over all layers
  for (const Layer& l : network.model_.layers) each += static_cast<size_t>(sees(l) + chunk_ + (chunk_ > 1 ? branches_ : 0));
  const size_t token = static_cast<size_t>(c.kv_heads) * static_cast<size_t>(2 * c.head_dim + 8);
  need("the keys of " + std::to_string(lanes) + " lanes of " + std::to_string(window) + " tokens",
       network.model_.layers.size() * static_cast<size_t>(anchor) * token, each * token, static_cast<size_t>(lanes), "lanes");
  std::vector<Keys> layers;
  const auto lay = [&](int8_t* memory) {  // all arrays one behind the other; returns their bytes
    size_t end = 0;
    const auto take = [&](size_t bytes) {
      const size_t at = std::exchange(end, end + (bytes + 255) / 256 * 256);
      return memory ? memory + at : nullptr;
    };
    layers.clear();
    for (const Layer& l : network.model_.layers) {
      const int size = sees(l) + chunk_;
      const size_t ring = all * static_cast<size_t>(size), shared = static_cast<size_t>(c.kv_heads) * static_cast<size_t>(anchor);
      const size_t tokens = ring + shared + (chunk_ > 1 ? all * static_cast<size_t>(branches_) : 0), wide = tokens * static_cast<size_t>(c.head_dim);
      if (tokens > INT32_MAX) refuse("so many lanes and so long a window do not fit a GPU");
      int8_t *const key = take(wide), *const value = take(wide), *const key_scale = take(4 * tokens), *const value_scale = take(4 * tokens);
      layers.push_back({key, value, reinterpret_cast<int*>(key_scale), reinterpret_cast<int*>(value_scale), size, sees(l), static_cast<int>(ring),
                        static_cast<int>(ring + shared), anchor, branches_, anchor + window - 1, l.reach > 0});
    }
    return end;
  };
  memory_ = Memory<int8_t>(lay(nullptr));
  lay(memory_.data());
  slot_ = network.table_.take();
  network.table_.set(slot_, layers);
  ++network.caches_;
}

GpuCache::~GpuCache() {
  --network_->caches_;
  network_->table_.give_back(slot_);
}

Workspace& GpuCache::workspace() {
  if (!workspace_) workspace_ = std::make_unique<Workspace>(network_->model_, network_->table_.keys());
  return *workspace_;
}

void GpuCache::pass(int count, int32_t* logits, float* streams, const std::vector<int>& taps) {
  Workspace& work = workspace();
  work.start(count, logits != nullptr, taps, seen());
  if (logits) {
    const size_t size = static_cast<size_t>(count) * static_cast<size_t>(network_->vocab()) * sizeof *logits;
    must(cudaMemcpyAsync(logits, work.logits(), size, cudaMemcpyDeviceToHost, work.stream()));
  }
  const auto dim = static_cast<size_t>(network_->config().dim);
  const size_t tapped = static_cast<size_t>(bucket(count)) * dim;
  std::vector<int> x(taps.size() * tapped);
  if (!x.empty()) must(cudaMemcpyAsync(x.data(), work.taps(), x.size() * sizeof(int), cudaMemcpyDeviceToHost, work.stream()));
  work.wait(network_->caches_ <= 1);
  for (size_t t = 0; t < taps.size(); ++t)
    for (size_t i = 0; i < static_cast<size_t>(count); ++i)
      for (size_t k = 0; k < dim; ++k) streams[(i * taps.size() + t) * dim + k] = static_cast<float>(x[t * tapped + i * dim + k]) / 65536;
}

void GpuCache::keep(int row) {
  if (row < 0 || row >= static_cast<int>(tree_.size())) refuse("there is no such row to keep");
  const int lane = tree_[static_cast<size_t>(row)].lane;
  if (lane < 0) refuse("a way of that lane's tree has been kept");
  network_->use();
  Way way{lane, 0, {}};
  for (int i = row; i >= 0; i = tree_[static_cast<size_t>(i)].parent) {
    const TreeRow& r = tree_[static_cast<size_t>(i)];
    way.row[way.rows++] = {r.slot, r.position};
  }
  length_[static_cast<size_t>(lane)] = way.row[0].position + 1;
  const Heads heads = network_->model_.heads();
  const dim3 blocks(static_cast<unsigned>(way.rows), static_cast<unsigned>(heads.kv_heads), static_cast<unsigned>(network_->model_.layers.size()));
  keep_rows<<<blocks, 64, 0, workspace().stream()>>>(heads, network_->table_.keys() + slot_, kCaches, way);  // before the next pass
  must(cudaGetLastError());
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
        prefixes_(static_cast<size_t>(prefixes(vocab_))),
        values_(static_cast<size_t>(vocab_)),
        squares_(static_cast<size_t>(vocab_)),
        rates_(std::vector<uint32_t>(static_cast<size_t>(vocab_), Bias::kFirstRate)) {}
  ~GpuViews() override {
    if (decoding_) net_.batcher_.leave();
  }

  int most_rows() const override { return net_.most_rows(); }
  int most_run() const override { return cache_.chunk_; }
  int whole_run() const override { return net_.answerers_.longest_run(cache_.seen()); }

  void answer(int rows, const int32_t* lane, const int32_t* token, const Walks& walks, Masses* out) override {
    check(rows, lane, token);
    net_.answerers_.with([&](Answerer& by) {
      if (net_.append(cache_, by.rows(rows), rows, lane, token) != rows) refuse("a run is longer than a pass takes");
      by.answer(rows, cache_.seen(), walks, bias(), out, net_.caches_ <= 1);
    });
  }

  void look(int rows, const int32_t* lane, const int32_t* token) override {
    check(rows, lane, token);
    if (!decoding_) begin_decoding();
    const auto n = static_cast<size_t>(rows);
    step_.rows.clear();
    for (int i = 0; i < rows; ++i) {
      step_.rows.push_back(cache_.append(lane[i], token[i]));
      step_.rows.back().place = i;
    }
    step_.logits = logits_pinned_.room(n * static_cast<size_t>(vocab_));
    step_.reports = reports_pinned_.room(n * report_words(vocab_));
    step_.values = bias_pinned_.room(static_cast<size_t>(vocab_));
    net_.batcher_.pass(step_);
    step_.coded.clear();
  }
  Sketch plain(int row) const override { return sketched(row, 0, nullptr); }
  Sketch biased(int row) const override { return sketched(row, 1, bias_pinned_.data()); }

  void learn(const int32_t* token) override { step_.coded.assign(token, token + step_.rows.size()); }

 private:
  Learned bias() const { return {values_.data(), squares_.data(), rates_.data()}; }
  void check(int rows, const int32_t* lane, const int32_t* token) {
    check_rows(net_.config(), cache_, rows, lane, token);
    if (rows > most_rows()) refuse("more rows than one pass takes");
    net_.use();
    cache_.tree_.clear();
  }
  void begin_decoding() {
    const auto lanes = static_cast<size_t>(cache_.lanes());
    need("the last rows of " + std::to_string(lanes) + " lanes", 0, 4 * static_cast<size_t>(vocab_) + 8, lanes, "lanes");
    last_logits_ = Memory<int>(lanes * static_cast<size_t>(vocab_));
    last_best_ = Memory<int>(lanes);
    last_reciprocal_ = Memory<uint32_t>(lanes);
    net_.table_.set(cache_.slot_, Sight{last_logits_.data(), last_best_.data(), last_reciprocal_.data(), bias()});
    step_.cache = cache_.slot_;
    step_.seen = cache_.seen();
    step_.bias = values_.data();
    net_.batcher_.join();
    decoding_ = true;
  }
  Sketch sketched(int row, size_t view, const int32_t* bias) const {
    const auto at = static_cast<size_t>(row);
    const uint64_t* const report = reports_pinned_.data() + at * report_words(vocab_);
    const auto best = static_cast<int32_t>(static_cast<uint32_t>(report[2 * prefixes_] >> (32 * view)));
    return {static_cast<uint32_t>(vocab_), logits_pinned_.data() + at * static_cast<size_t>(vocab_), bias, best, report + view * prefixes_};
  }

  GpuCache& cache_;
  GpuNetwork& net_;
  int vocab_;
  size_t prefixes_;
  Memory<int> values_;
  Memory<uint32_t> squares_, rates_;
  // Of a decoder.
  Memory<int> last_logits_, last_best_;
  Memory<uint32_t> last_reciprocal_;
  Pinned<int32_t> logits_pinned_, bias_pinned_;
  Pinned<uint64_t> reports_pinned_;
  Step step_;
  bool decoding_ = false;
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

// Starts a GPU, which takes some tenths of a second; what fails is told when it is used.
extern "C" void lmc_cuda_wake(int device) {
  if (cudaSetDevice(device) == cudaSuccess) cudaFree(nullptr);
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
