// What a pass works in: a stream, memory for its rows, and its kernels as graphs, one launch for some hundred of them.
#pragma once
#include <map>
#include <tuple>

#include "model.cuh"

namespace lmc::cuda {

constexpr int kMostRows = 1024;            // of one pass
constexpr int kChunk = 256;                // of one lane in one pass
constexpr int kTree = 64;                  // rows of a tree
constexpr int kCaches = 1024;              // that may be open
constexpr size_t kLogits = 1u << 26;       // of one pass
constexpr size_t kRunRoom = 100 << 10;     // shared memory of a block that attends a run: two of them fit a processor
constexpr int kRunsOf = 16;                // graphs are made for so many runs, and twice as many, …

// Rows of a pass are rounded up to what the kernels take, and so that few graphs serve all counts.
inline int bucket(int rows) { return rows <= 64 ? round_up(rows, 8) : round_up(rows, 64); }

class Workspace {
 public:
  // table: [layers][kCaches], the keys of each cache.
  Workspace(const Model& model, const Keys* table) : model_(model), table_(table) {
    must(cudaFuncSetAttribute(normalise, cudaFuncAttributeMaxDynamicSharedMemorySize, 4 * (model.widest + kTree)));
    must(cudaFuncSetAttribute(attend_by(), cudaFuncAttributeMaxDynamicSharedMemorySize, 4 * (1 + kTogether) * (4096 + kTree)));
    for (const int queries : {8, 16}) must(cudaFuncSetAttribute(runs_by(queries), cudaFuncAttributeMaxDynamicSharedMemorySize, kRunRoom));
    must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    must(cudaEventCreateWithFlags(&done_, cudaEventBlockingSync | cudaEventDisableTiming));
  }
  Workspace(const Workspace&) = delete;
  ~Workspace() {
    drop_graphs();
    if (done_) cudaEventDestroy(done_);
    if (stream_) cudaStreamDestroy(stream_);
    cudaFreeHost(rows_);
  }

  cudaStream_t stream() const { return stream_; }
  int room() const { return room_; }
  // Of the last pass.
  const int* logits() const { return s_.logits.data(); }
  const Row* given() const { return given_.data(); }
  const int* taps() const { return s_.taps.data(); }  // [taps][bucket of the rows][dim]

  // Memory for the rows of the next pass, when the one before is done.
  Row* rows(int count) {
    make_room(bucket(count));
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
    cudaGraphExec_t& graph = graphs_[{rows, runs, seen, logits, taps}];
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
    must(cudaEventRecord(done_, stream_));
    must(cudaEventSynchronize(done_));
  }

 private:
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
    for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
    graphs_.clear();
  }

  // Rows that a block may attend together; 1: there is no room for two.
  int longest_run(int seen) const {
    const Config& c = model_.config;
    const int group = model_.heads().group();
    int run = kMostQueries / group;
    while (run > 1 && room_of_run(seen + run - 1, run * group, c.head_dim) > kRunRoom) --run;
    return std::max(run, 1);
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

  void run_kernels(int rows, int runs, int seen, bool logits, const std::vector<int>& taps) {
    const cudaStream_t stream = stream_;
    const Config& c = model_.config;
    const Heads heads = model_.heads();
    const auto n = static_cast<unsigned>(rows);
    const Row* const given = given_.data();
    Acts acts{s_.q.data(), 0, s_.scale.data(), s_.exponent.data()};
    const Queries queries{s_.queries.data(), s_.factor.data(), s_.down.data(), rows};
    const int width = c.heads * c.head_dim;
    const auto norm = [&](const NormWeights& by, int kp) {
      acts.kp = kp;
      normalise<<<n, rows < 256 ? kThreads : kThreads / 2, by.order.size() * sizeof(int), stream>>>(by.norm(c.eps), given, s_.x.data(), c.dim, acts);
    };
    embed<<<n, kThreads, 0, stream>>>({model_.embed.data(), model_.embed_scale.data(), model_.embed_exponent, c.dim}, given, s_.x.data());
    const auto turns = [&](int table) { return s_.turns.data() + static_cast<size_t>(table) * 2 * n * static_cast<size_t>(c.head_dim); };
    for (int t = 0; t < static_cast<int>(model_.rotary.size()); ++t)
      turn_angles<<<n, 32, 0, stream>>>(heads, table_, given, model_.rotary[static_cast<size_t>(t)].data(), model_.sine.data(), turns(t));
    for (size_t l = 0; l < model_.layers.size(); ++l) {
      const Layer& layer = model_.layers[l];
      const Keys* const keys = table_ + l * kCaches;
      norm(layer.attn_norm, layer.qkv.kp);
      multiply<false>(layer.qkv.matrix(), acts, given, rows, s_.qkv.data(), stream);
      turn<<<dim3(n, static_cast<unsigned>((2 * (c.heads + c.kv_heads) + kTurned - 1) / kTurned)), 32 * kTurned, 0, stream>>>(
          heads, keys, given, s_.qkv.data(), turns(layer.rotary), layer.head_norms(c.eps), queries);
      attend_all(runs, longest_run(seen), layer.reach > 0 ? std::min(seen, layer.reach) : seen, n, heads, keys, given, queries);
      acts.kp = layer.out.kp;
      activate_row<<<n, kThreads, 0, stream>>>(given, s_.attended.data(), width, acts);
      multiply<true>(layer.out.matrix(), acts, given, rows, s_.x.data(), stream);
      norm(layer.ffn_norm, layer.gate_up.kp);
      multiply<false>(layer.gate_up.matrix(), acts, given, rows, s_.gates.data(), stream);
      acts.kp = layer.down.kp;
      swiglu<<<n, kThreads, c.hidden <= kNear ? static_cast<size_t>(c.hidden) * sizeof(int) : 0, stream>>>(given, s_.gates.data(), c.hidden, model_.sigmoid.data(), acts);
      multiply<true>(layer.down.matrix(), acts, given, rows, s_.x.data(), stream);
      for (size_t t = 0; t < taps.size(); ++t) {
        if (taps[t] != static_cast<int>(l)) continue;
        const size_t size = static_cast<size_t>(rows) * static_cast<size_t>(c.dim);
        must(cudaMemcpyAsync(s_.taps.data() + t * size, s_.x.data(), size * sizeof(int), cudaMemcpyDeviceToDevice, stream));
      }
    }
    if (logits) {
      norm(*model_.last_norm, model_.head.kp);
      multiply<false>(model_.head.matrix(), acts, given, rows, s_.logits.data(), stream);
    }
    must(cudaGetLastError());
  }
  void attend_all(int runs, int run, int seen, unsigned rows, const Heads& heads, const Keys* keys, const Row* given, const Queries& queries) {
    const auto kv = static_cast<unsigned>(heads.kv_heads);
    if (runs == 0) {
      const size_t shared = static_cast<size_t>(padded(seen)) * static_cast<size_t>(1 + std::min(heads.group(), kTogether)) * sizeof(int);
      attend_by()<<<dim3(rows, kv), kAttend, shared, stream_>>>(heads, keys, given, queries, s_.attended.data());
      return;
    }
    const int most = run * heads.group();
    const size_t shared = room_of_run(seen + run - 1, most, heads.head_dim);
    runs_by(most)<<<dim3(static_cast<unsigned>(runs), kv), kAttend, shared, stream_>>>(heads, keys, given, queries, s_.attended.data());
  }

  using Attend = void (*)(Heads, const Keys*, const Row*, Queries, int*);
  int pieces() const { return (model_.config.head_dim + 63) / 64; }
  Attend attend_by() const {
    static constexpr Attend all[4] = {attend<1>, attend<2>, attend<3>, attend<4>};
    return all[pieces() - 1];
  }
  Attend runs_by(int queries) const {
    static constexpr Attend all[2][4] = {{attend_runs<1, 1>, attend_runs<1, 2>, attend_runs<1, 3>, attend_runs<1, 4>},
                                         {attend_runs<2, 1>, attend_runs<2, 2>, attend_runs<2, 3>, attend_runs<2, 4>}};
    return all[queries > 8][pieces() - 1];
  }

  const Model& model_;
  const Keys* table_;
  int room_ = 0;
  Scratch s_;
  Row* rows_ = nullptr;  // read by the GPU from this memory
  Memory<Row> given_;
  // By rows, runs, keys seen, whether logits are wanted, and the layers that are tapped.
  std::map<std::tuple<int, int, int, bool, std::vector<int>>, cudaGraphExec_t> graphs_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t done_ = nullptr;
};

}  // namespace lmc::cuda
