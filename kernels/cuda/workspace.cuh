// What a pass works in: a stream, memory for its rows, and its kernels as graphs, one launch for some hundred of them.
#pragma once
#include <map>
#include <tuple>

#include "between.cuh"
#include "model.cuh"

namespace lmc::cuda {

constexpr int kMostRows = 2048;            // of one pass
constexpr size_t kLogitsShare = 128;       // of a GPU's memory, that logits of one pass may take
constexpr int kChunk = 256;                // of one lane in one pass
constexpr int kCaches = 1024;              // that may be open
constexpr size_t kRunRoom = 100 << 10;     // shared memory of a block that attends a run: two of them fit a processor
constexpr int kLeastClustered = 64;        // rows from which on clusters work between attentions
constexpr int kRunsOf = 16;                // graphs are made for so many runs, and twice as many, …

// Rows of a pass are rounded up to what the kernels take, and so that few graphs serve all counts.
inline int bucket(int rows) { return rows <= 64 ? round_up(rows, 8) : round_up(rows, 64); }

class Workspace {
 public:
  // table: [layers][kCaches], the keys of each cache.
  Workspace(const Model& model, const Keys* table) : model_(model), table_(table) {
    for (const int slots : {kFewSlots, kManySlots}) allow_shared(attend_by(slots), most_shared(attend_by(slots)));
    most_clusters_ = clusters();
    for (const int queries : {8, 16}) {
      run_room_ = std::min(run_room_, most_shared(runs_by(queries)));
      allow_shared(runs_by(queries), run_room_);
    }
    must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  Workspace(const Workspace&) = delete;
  ~Workspace() {
    if (stream_) cudaStreamSynchronize(stream_);  // what has been begun reads and writes all that goes now
    drop_graphs();
    if (stream_) cudaStreamDestroy(stream_);
    cudaFreeHost(rows_);
  }

  cudaStream_t stream() const { return stream_; }
  int room() const { return room_; }
  // Of the last pass.
  const int* logits() const { return s_.logits.data(); }
  const Row* given() const { return given_.data(); }
  const int* taps() const { return s_.taps.data(); }  // [taps][bucket of the rows][dim]

  // Rows that a block may attend together; 1: there is no room for two.
  int longest_run(int seen) const {
    const Config& c = model_.config;
    const int group = model_.heads().group();
    int run = kMostQueries / group;
    while (run > 1 && room_of_run(seen + run - 1, run * group, c.head_dim) > run_room_) --run;
    return std::max(run, 1);
  }

  // Memory for the rows of the next pass, when the one before is done; at once for all trees there may be.
  Row* rows(int count) {
    make_room(std::max(bucket(count), kTree));
    return rows_;
  }
  // A pass over the first `count` rows, each of which sees `seen` keys at most.
  void start(int count, bool logits, const std::vector<int>& taps, int seen) {
    const int rows = bucket(count), run = longest_run(seen);
    const size_t tapped = taps.size() * static_cast<size_t>(room_) * static_cast<size_t>(model_.config.dim);
    if (s_.taps.bytes() < tapped * sizeof(int)) {
      drop_graphs();
      s_.taps = Memory<int>(tapped);
    }
    for (int i = count; i < rows; ++i) rows_[i].lane = -1;
    const int runs = find_runs(count, rows, run);
    must(cudaMemcpyAsync(given_.data(), rows_, static_cast<size_t>(rows) * sizeof(Row), cudaMemcpyHostToDevice, stream_));
    // A pass of its kind that comes once is not worth a graph, which takes longer to make than to run.
    const auto [found, first] = graphs_.try_emplace(Kind{rows, runs, seen, logits, taps});
    if (first) return run_kernels(rows, runs, seen, logits, taps);
    cudaGraphExec_t& graph = found->second;
    if (!graph) {
      cudaGraph_t made;
      must(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
      run_kernels(rows, runs, seen, logits, taps);
      must(cudaStreamEndCapture(stream_, &made));
      must(cudaGraphInstantiate(&graph, made, 0));
      cudaGraphDestroy(made);
    }
    must(cudaGraphLaunch(graph, stream_));
  }
  // For all that the stream has been given; `awake`: at once, at the price of a processor's core.
  void wait(bool awake) {
    if (awake) return must(cudaStreamSynchronize(stream_));
    done_.record(stream_);
    done_.wait();
  }

 private:
  // Dynamic shared memory that a block of a kernel may have.
  template <class Kernel>
  static size_t most_shared(Kernel kernel) {
    int device = 0, most = 0;
    must(cudaGetDevice(&device));
    must(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    cudaFuncAttributes has;
    must(cudaFuncGetAttributes(&has, kernel));
    return static_cast<size_t>(most) - has.sharedSizeBytes;
  }
  template <class Kernel>
  static void allow_shared(Kernel kernel, size_t bytes) {
    must(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  }
  // Clusters that work between attentions at a time; 0: the GPU or the network is not made for them.
  int clusters() const {
    int device = 0, major = 0, count = 0;
    must(cudaGetDevice(&device));
    must(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    if (major < 9 || model_.config.dim % 2 != 0 || tile().bytes() > most_shared(between_by())) return 0;
    allow_shared(between_by(), tile().bytes());
    const Launch launch(tile().bytes(), kTile, nullptr);
    must(cudaOccupancyMaxActiveClusters(&count, between_by(), &launch.how));
    return count;
  }
  struct Launch {
    cudaLaunchAttribute clusters{};
    cudaLaunchConfig_t how{};
    Launch(size_t shared, int rows, cudaStream_t stream) {
      clusters.id = cudaLaunchAttributeClusterDimension;
      clusters.val.clusterDim = {kCluster, 1, 1};
      how.gridDim = dim3(static_cast<unsigned>(rows / kTile * kCluster));
      how.blockDim = dim3(kWide);
      how.dynamicSmemBytes = shared;
      how.stream = stream;
      how.attrs = &clusters;
      how.numAttrs = 1;
    }
    Launch(const Launch&) = delete;
  };

  struct Scratch {
    Memory<int8_t> q, queries;
    Memory<int> scale, exponent, x, qkv, attended, gates, turns, factor, down, logits, taps;
  };

  void make_room(int rows) {
    if (rows <= room_) return;
    must(cudaStreamSynchronize(stream_));
    drop_graphs();
    const Config& c = model_.config;
    const auto n = static_cast<size_t>(rows);
    const int width = c.heads * c.head_dim;
    s_ = {};
    room_ = 0;
    const int each = model_.widest + 4 * (3 + c.dim + 2 * c.kv_heads * c.head_dim + 2 * c.hidden + 4 * c.heads + c.vocab) + 10 * width +
                     8 * static_cast<int>(model_.rotary.size()) * c.head_dim;
    need("a pass of " + std::to_string(rows) + " tokens", 0, static_cast<size_t>(each), n, "tokens");
    s_.q = Memory<int8_t>(n * static_cast<size_t>(model_.widest));
    s_.queries = Memory<int8_t>(2 * n * static_cast<size_t>(width));
    s_.scale = Memory<int>(n);
    s_.exponent = Memory<int>(n);
    s_.x = Memory<int>(n * static_cast<size_t>(c.dim));
    s_.qkv = Memory<int>(n * static_cast<size_t>(width + 2 * c.kv_heads * c.head_dim));
    s_.attended = Memory<int>(n * static_cast<size_t>(width));
    s_.gates = Memory<int>(2 * n * static_cast<size_t>(c.hidden));
    s_.turns = Memory<int>(model_.rotary.size() * 2 * n * static_cast<size_t>(c.head_dim));
    s_.factor = Memory<int>(2 * n * static_cast<size_t>(c.heads));
    s_.down = Memory<int>(2 * n * static_cast<size_t>(c.heads));
    s_.logits = Memory<int>(n * static_cast<size_t>(c.vocab));
    given_ = Memory<Row>(n);
    cudaFreeHost(rows_);
    rows_ = nullptr;
    must(cudaHostAlloc(&rows_, n * sizeof(Row), cudaHostAllocPortable));
    room_ = rows;
  }
  void drop_graphs() {
    for (const auto& [kind, graph] : graphs_) {
      if (graph) cudaGraphExecDestroy(graph);
    }
    graphs_.clear();
  }

  // Writes down which of the rows follow one another; returns the blocks that they take, 0 if none does.
  int find_runs(int count, int rows, int longest) {
    int runs = 0;
    for (int i = 0; i < rows; ++i) rows_[i].first = -1;
    for (int i = 0; i < count;) {
      Row& row = rows_[i];
      row.run = 1;
      const auto next = [&](const Row& r) { return r.cache == row.cache && r.lane == row.lane && r.position == row.position + row.run; };
      while (row.slot < 0 && row.run < longest && i + row.run < count && rows_[i + row.run].slot < 0 && next(rows_[i + row.run])) ++row.run;
      rows_[runs++].first = i;
      i += row.run;
    }
    if (runs == count || trees(count)) return 0;
    int blocks = kRunsOf;
    while (blocks < runs) blocks *= 2;
    return std::min(blocks, rows);
  }
  bool trees(int count) const { return std::any_of(rows_, rows_ + count, [](const Row& r) { return r.slot >= 0; }); }

  // More clusters than work at a time would be slower than kernels of their own for each step.
  bool clustered(int rows) const { return rows >= kLeastClustered && rows % kTile == 0 && rows / kTile <= most_clusters_; }
  Tile tile() const {
    const Config& c = model_.config;
    return {model_.widest, c.dim, (c.heads + 2 * c.kv_heads) * c.head_dim, c.hidden};
  }

  void run_kernels(int rows, int runs, int seen, bool logits, const std::vector<int>& taps) {
    const Config& c = model_.config;
    const auto n = static_cast<unsigned>(rows);
    for (int t = 0; t < static_cast<int>(model_.rotary.size()); ++t)
      turn_angles<<<n, 32, 0, stream_>>>(model_.heads(), table_, given_.data(), model_.rotary[static_cast<size_t>(t)].data(), model_.sine.data(), turns(t, rows));
    const bool together = clustered(rows);
    if (!together) embed<<<n, kThreads, 0, stream_>>>(embedding(), given_.data(), s_.x.data());
    for (size_t l = 0; l <= model_.layers.size(); ++l) {  // what lies before attention l, or, at last, the head
      together ? cluster_steps(l, rows) : single_steps(l, rows);
      for (size_t t = 0; l > 0 && t < taps.size(); ++t) {
        if (taps[t] != static_cast<int>(l) - 1) continue;
        const size_t size = static_cast<size_t>(rows) * static_cast<size_t>(c.dim);
        must(cudaMemcpyAsync(s_.taps.data() + t * size, s_.x.data(), size * sizeof(int), cudaMemcpyDeviceToDevice, stream_));
      }
      if (l == model_.layers.size()) break;
      const int reach = model_.layers[l].reach;
      attend_all(runs, longest_run(seen), reach > 0 ? std::min(seen, reach) : seen, n, model_.heads(), table_ + l * kCaches, given_.data(), queries(rows));
    }
    if (logits) multiply<false>(model_.head.matrix(), acts(model_.head.kp), given_.data(), rows, s_.logits.data(), stream_);
    must(cudaGetLastError());
  }
  Embedding embedding() const { return {model_.embed.data(), model_.embed_scale.data(), model_.embed_exponent, model_.config.dim}; }
  Queries queries(int rows) const { return {s_.queries.data(), s_.factor.data(), s_.down.data(), rows}; }
  Acts acts(int kp) const { return {s_.q.data(), kp, s_.scale.data(), s_.exponent.data()}; }
  int* turns(int table, int rows) const {
    return s_.turns.data() + static_cast<size_t>(table) * 2 * static_cast<size_t>(rows) * static_cast<size_t>(model_.config.head_dim);
  }

  // From attention l - 1 on to attention l, or to the head.
  void single_steps(size_t l, int rows) {
    const Config& c = model_.config;
    const auto n = static_cast<unsigned>(rows);
    const Row* const given = given_.data();
    int* const x = s_.x.data();
    const auto norm = [&](const NormWeights& by, const Weights& reader) {
      normalise<<<n, threads_for(c.dim), 0, stream_>>>(by.norm(c.eps), given, x, c.dim, acts(reader.kp));
    };
    if (l > 0) {
      const Layer& layer = model_.layers[l - 1];
      activate_row<<<n, threads_for(c.heads * c.head_dim), 0, stream_>>>(given, s_.attended.data(), c.heads * c.head_dim, acts(layer.out.kp));
      multiply<true>(layer.out.matrix(), acts(layer.out.kp), given, rows, x, stream_);
      norm(layer.ffn_norm, layer.gate_up);
      multiply<false>(layer.gate_up.matrix(), acts(layer.gate_up.kp), given, rows, s_.gates.data(), stream_);
      swiglu<<<n, threads_for(c.hidden / kKept), 0, stream_>>>(given, s_.gates.data(), c.hidden, model_.sigmoid.data(), acts(layer.down.kp));
      multiply<true>(layer.down.matrix(), acts(layer.down.kp), given, rows, x, stream_);
    }
    if (l == model_.layers.size()) return norm(*model_.last_norm, model_.head);
    const Layer& layer = model_.layers[l];
    norm(layer.attn_norm, layer.qkv);
    multiply<false>(layer.qkv.matrix(), acts(layer.qkv.kp), given, rows, s_.qkv.data(), stream_);
    turn_by()<<<dim3(n, static_cast<unsigned>((vectors(model_.heads()) + kTurned - 1) / kTurned)), 32 * kTurned, 0, stream_>>>(
        model_.heads(), table_ + l * kCaches, given, s_.qkv.data(), turns(layer.rotary, rows), layer.head_norms(c.eps), queries(rows));
  }
  void cluster_steps(size_t l, int rows) {
    const Config& c = model_.config;
    Between b{};
    b.rows = given_.data();
    b.x = s_.x.data();
    b.dim = c.dim;
    b.hidden = c.hidden;
    b.begins = l == 0;
    b.embedding = embedding();
    b.ends = l == model_.layers.size();
    if (!b.begins) {
      const Layer& layer = model_.layers[l - 1];
      b.attended = s_.attended.data();
      b.width = c.heads * c.head_dim;
      b.out = layer.out.matrix();
      b.gate_up = layer.gate_up.matrix();
      b.down = layer.down.matrix();
      b.inner = layer.ffn_norm.norm(c.eps);
      b.sigmoid = model_.sigmoid.data();
    }
    b.norm = (b.ends ? *model_.last_norm : model_.layers[l].attn_norm).norm(c.eps);
    b.acts = acts(model_.head.kp);
    b.qkv.n = (c.heads + 2 * c.kv_heads) * c.head_dim;  // shared memory is laid out by it
    if (!b.ends) {
      const Layer& layer = model_.layers[l];
      b.qkv = layer.qkv.matrix();
      b.heads = model_.heads();
      b.keys = table_ + l * kCaches;
      b.head_norms = layer.head_norms(c.eps);
      b.turns = turns(layer.rotary, rows);
      b.queries = queries(rows);
    }
    const Launch launch(tile().bytes(), rows, stream_);
    must(cudaLaunchKernelEx(&launch.how, between_by(), b, model_.widest));
  }
  void attend_all(int runs, int run, int seen, unsigned rows, const Heads& heads, const Keys* keys, const Row* given, const Queries& queries) {
    const auto kv = static_cast<unsigned>(heads.kv_heads);
    if (runs == 0) {
      int slots = kManySlots, together = std::min(heads.group(), kTogether);
      const auto room = [&] { return room_of_row(seen, together, heads.head_dim, slots); };
      const size_t most = most_shared(attend_by(kFewSlots));
      if (room() > most) slots = kFewSlots;
      if (room() > most) together = 1;
      attend_by(slots)<<<dim3(rows, kv), kAttend, room(), stream_>>>(heads, keys, given, queries, together, s_.attended.data());
      return;
    }
    const int most = run * heads.group();
    const size_t shared = room_of_run(seen + run - 1, most, heads.head_dim);
    runs_by(most)<<<dim3(static_cast<unsigned>(runs), kv), kAttend, shared, stream_>>>(heads, keys, given, queries, s_.attended.data());
  }

  // The kernels for heads of so many channels.
  int pieces() const { return (model_.config.head_dim + 63) / 64; }
  decltype(&turn<1>) turn_by() const {
    static constexpr decltype(&turn<1>) all[4] = {turn<1>, turn<2>, turn<3>, turn<4>};
    return all[pieces() - 1];
  }
  decltype(&between<1>) between_by() const {
    static constexpr decltype(&between<1>) all[4] = {between<1>, between<2>, between<3>, between<4>};
    return all[pieces() - 1];
  }
  decltype(&attend<1, kManySlots>) attend_by(int slots) const {
    static constexpr decltype(&attend<1, kManySlots>) all[2][4] = {
        {attend<1, kFewSlots>, attend<2, kFewSlots>, attend<3, kFewSlots>, attend<4, kFewSlots>},
        {attend<1, kManySlots>, attend<2, kManySlots>, attend<3, kManySlots>, attend<4, kManySlots>}};
    return all[slots == kManySlots][pieces() - 1];
  }
  decltype(&attend_runs<1, 1>) runs_by(int queries) const {
    static constexpr decltype(&attend_runs<1, 1>) all[2][4] = {{attend_runs<1, 1>, attend_runs<1, 2>, attend_runs<1, 3>, attend_runs<1, 4>},
                                         {attend_runs<2, 1>, attend_runs<2, 2>, attend_runs<2, 3>, attend_runs<2, 4>}};
    return all[queries > 8][pieces() - 1];
  }

  const Model& model_;
  const Keys* table_;
  int room_ = 0;
  int most_clusters_ = 0;
  size_t run_room_ = kRunRoom;
  Scratch s_;
  Row* rows_ = nullptr;  // read by the GPU from this memory
  Memory<Row> given_;
  using Kind = std::tuple<int, int, int, bool, std::vector<int>>;  // rows, runs, keys seen, logits wanted, layers tapped
  std::map<Kind, cudaGraphExec_t> graphs_;                         // null: it came once
  cudaStream_t stream_ = nullptr;
  Event done_;
};

}  // namespace lmc::cuda
