// Steps of decoding frames, gathered: one pass over the rows of all that wait.
//
// A step of one frame has some forty rows, too few for a GPU, and some hundred kernels. So frames that want a step wait
// until half of all frames do, and one of them runs the pass for all. The other half is busy meanwhile with
// what its last step has brought, or runs a pass of its own: there is a workspace for each, and one more, so that a pass
// does not wait until the last frame's logits have come. Each frame goes on when its own are there.
#pragma once
#include <array>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>

#include "views.cuh"
#include "workspace.cuh"

namespace lmc::cuda {

// One frame's step.
struct Step {
  // Asked. rows: of the pass, their place among the frame's rows. coded: what the rows of the step before have coded.
  int cache = 0, seen = 0;
  std::vector<Row> rows;
  std::vector<int> coded;
  const int* bias = nullptr;  // on the GPU
  // Answered, in pinned memory: logits [rows][vocab], reports [rows][report_words], the bias [vocab].
  int* logits = nullptr;
  uint64_t* reports = nullptr;
  int* values = nullptr;

  bool started = false;
  std::exception_ptr failure;
  Event answered;
};

class Batcher {
 public:
  // sights: [kCaches].
  Batcher(const Model& model, const Keys* table, const Sight* sights, int most_rows)
      : model_(model), table_(table), sights_(sights), most_rows_(static_cast<size_t>(most_rows)) {}

  // Frames that will ask for steps.
  void join() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++members_;
  }
  void leave() {
    const std::lock_guard<std::mutex> lock(mutex_);
    --members_;
    changed_.notify_all();
  }
  // Returns when the step is answered. Throws what the pass did.
  void pass(Step& step) {
    std::unique_lock<std::mutex> lock(mutex_);
    step.started = false;
    step.failure = nullptr;
    waiting_.push_back(&step);
    changed_.notify_all();
    while (!step.started) {
      Bench* const bench = free_bench();
      if (bench && due()) {
        lead(*bench, lock);
      } else {
        changed_.wait(lock);
      }
    }
    lock.unlock();
    if (step.failure) std::rethrow_exception(step.failure);
    step.answered.wait();
  }

 private:
  struct Bench {
    std::unique_ptr<Workspace> workspace;
    Memory<uint64_t> reports;
    Memory<int> coded;
    Memory<Lesson> lessons;
    Pinned<int> coded_pinned;
    Pinned<Lesson> lessons_pinned;
    bool busy = false;
  };

  Bench* free_bench() {
    for (Bench& bench : benches_) {
      if (!bench.busy) return &bench;
    }
    return nullptr;
  }
  // Where nothing runs, nobody waits for others. Of an odd number the smaller half is enough: the larger one would
  // leave too few for a pass of their own.
  bool due() const {
    const bool runs = std::any_of(benches_.begin(), benches_.end(), [](const Bench& b) { return b.busy; });
    return !waiting_.empty() && (!runs || waiting_.size() >= members_ / 2);
  }

  // Starts a pass for those that wait, and waits for its end.
  void lead(Bench& bench, std::unique_lock<std::mutex>& lock) {
    std::vector<Step*> steps;
    size_t rows = 0;
    for (auto at = waiting_.begin(); at != waiting_.end();) {  // the longest waiting first
      if (!steps.empty() && rows + (*at)->rows.size() > most_rows_) break;
      rows += (*at)->rows.size();
      steps.push_back(*at);
      at = waiting_.erase(at);
    }
    bench.busy = true;
    const bool alone = members_ <= 1;
    lock.unlock();
    std::exception_ptr failure;
    try {
      run(bench, steps, rows);
    } catch (...) {
      failure = std::current_exception();
      bench.workspace.reset();  // as in Answerers::with()
    }
    lock.lock();
    for (Step* step : steps) {
      step->failure = failure;
      step->started = true;
    }
    changed_.notify_all();
    lock.unlock();
    try {
      if (bench.workspace) bench.workspace->wait(alone);
    } catch (...) {  // the steps' own events tell it
    }
    lock.lock();
    bench.busy = false;
    changed_.notify_all();
  }

  void run(Bench& bench, const std::vector<Step*>& steps, size_t count) {
    const int vocab = model_.config.vocab, n = static_cast<int>(count);
    if (!bench.workspace) bench.workspace = std::make_unique<Workspace>(model_, table_);
    Workspace& work = *bench.workspace;
    const cudaStream_t stream = work.stream();
    Row* to = work.rows(n);
    const size_t words = report_words(vocab), room = static_cast<size_t>(work.room());
    if (bench.reports.bytes() < room * words * sizeof(uint64_t)) {
      need("the views of " + std::to_string(room) + " tokens", 0, words * sizeof(uint64_t), room, "tokens");
      bench.reports = Memory<uint64_t>(room * words);
    }
    teach(bench, steps);
    int seen = 1;
    for (const Step* step : steps) {
      to = std::copy(step->rows.begin(), step->rows.end(), to);
      seen = std::max(seen, step->seen);
    }
    work.start(n, true, {}, seen);
    const auto by = vocab % 4 == 0 ? report<4> : report<1>;  // rows of logits begin where vectors may
    by<<<static_cast<unsigned>(n), kSketch, 0, stream>>>(work.logits(), vocab, work.given(), sights_, bench.reports.data());
    size_t first = 0;
    for (const Step* step : steps) {
      const size_t own = step->rows.size(), wide = static_cast<size_t>(vocab);
      must(cudaMemcpyAsync(step->logits, work.logits() + first * wide, own * wide * sizeof(int), cudaMemcpyDeviceToHost, stream));
      must(cudaMemcpyAsync(step->reports, bench.reports.data() + first * words, own * words * sizeof(uint64_t), cudaMemcpyDeviceToHost, stream));
      must(cudaMemcpyAsync(step->values, step->bias, wide * sizeof(int), cudaMemcpyDeviceToHost, stream));
      step->answered.record(stream);
      first += own;
    }
    must(cudaGetLastError());
  }
  // What the rows of the steps before have coded.
  void teach(Bench& bench, const std::vector<Step*>& steps) {
    std::vector<int> coded;
    std::vector<Lesson> lessons;
    for (const Step* step : steps) {
      if (step->coded.empty()) continue;
      lessons.push_back({step->cache, static_cast<int>(coded.size()), static_cast<int>(step->coded.size())});
      coded.insert(coded.end(), step->coded.begin(), step->coded.end());
    }
    if (lessons.empty()) return;
    const cudaStream_t stream = bench.workspace->stream();
    give(bench.coded, coded, bench.coded_pinned, stream);
    give(bench.lessons, lessons, bench.lessons_pinned, stream);
    const int vocab = model_.config.vocab;
    learn_all<<<dim3(learn_blocks(vocab), static_cast<unsigned>(lessons.size())), kLearn, 0, stream>>>(vocab, bench.lessons.data(), bench.coded.data(), sights_);
  }

  const Model& model_;
  const Keys* table_;
  const Sight* sights_;
  const size_t most_rows_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Step*> waiting_;
  size_t members_ = 0;
  std::array<Bench, 3> benches_;
};

}  // namespace lmc::cuda
