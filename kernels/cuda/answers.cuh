// Passes of encoding frames, which know what comes: the whole of a pass is asked at once for what its walks want.
//
// There are a few places to work in, and frames take turns. Passes side by side fill what one leaves idle of a GPU, but
// more of them are in each other's way, and every place has memory for two thousand rows of logits and graphs of its own.
#pragma once
#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <numeric>

#include "views.cuh"
#include "workspace.cuh"

namespace lmc::cuda {

class Answerer {
 public:
  Answerer(const Model& model, const Keys* table)
      : vocab_(model.config.vocab), work_(model, table) {}

  int longest_run(int seen) const { return work_.longest_run(seen); }
  // Memory for the rows of a pass; at most so many then.
  Row* rows(int count) { return work_.rows(count); }

  // A pass over the first `rows` rows, each of which sees `seen` keys at most. Step after step its walks are answered and
  // teach the bias.
  void answer(int rows, int seen, const Walks& walks, const Learned& bias, Masses* out, bool awake) {
    if (std::accumulate(walks.steps.begin(), walks.steps.end(), size_t{0}) != walks.row.size()) refuse("the steps are not those of the walks");
    const size_t ranges = walks.ranges.size();
    const cudaStream_t stream = work_.stream();
    // All that may want memory comes before the pass: it could not be called back, and reads the rows.
    make_room();
    give(order_, walks.row, order_pinned_, stream);
    give(coded_, walks.token, coded_pinned_, stream);
    give(first_, walks.first, first_pinned_, stream);
    give(ranges_, walks.ranges, ranges_pinned_, stream);
    if (masses_.bytes() < ranges * sizeof(Masses)) masses_ = Memory<Masses>(ranges + ranges / 2);
    Masses* const to = masses_pinned_.room(ranges);
    work_.start(rows, true, {}, seen);
    const View own{nullptr, best_[0].data(), reciprocal_.data(), prefix_[0].data()};
    const View with{bias.values, best_[1].data(), reciprocal_.data(), prefix_[1].data()};
    const int* const logits = work_.logits();
    look_at(rows, nullptr, own);
    size_t at = 0;
    for (const int32_t step : walks.steps) {
      const int* const order = order_.data() + at;
      look_at(step, order, with);
      masses<<<static_cast<unsigned>(step), 64, 0, stream>>>(logits, vocab_, order, first_.data() + at, ranges_.data(), own, with, masses_.data());
      learn<<<learn_blocks(vocab_), kLearn, 0, stream>>>(logits, vocab_, step, order, coded_.data() + at, with, bias);
      at += static_cast<size_t>(step);
    }
    must(cudaMemcpyAsync(to, masses_.data(), ranges * sizeof *to, cudaMemcpyDeviceToHost, stream));
    must(cudaGetLastError());
    work_.wait(awake);
    std::copy_n(to, ranges, out);
  }

 private:
  void make_room() {
    if (room_ >= work_.room()) return;
    room_ = 0;
    const auto n = static_cast<size_t>(work_.room()), each = static_cast<size_t>(prefixes(vocab_));
    need("the views of " + std::to_string(n) + " tokens", 0, 16 * each + 12, n, "tokens");
    for (int i = 0; i < 2; ++i) {
      best_[i] = Memory<int>(n);
      prefix_[i] = Memory<uint64_t>(n * each);
    }
    reciprocal_ = Memory<uint32_t>(n);
    room_ = work_.room();
  }
  void look_at(int rows, const int* order, const View& view) {
    const auto by = vocab_ % 4 == 0 ? sketch<4> : sketch<1>;  // rows of logits begin where vectors may
    by<<<static_cast<unsigned>(rows), kSketch, 0, work_.stream()>>>(work_.logits(), vocab_, order, view);
  }

  const int vocab_;
  int room_ = 0;
  Memory<int> best_[2], order_, coded_;
  Memory<uint32_t> reciprocal_, first_;
  Memory<uint64_t> prefix_[2];
  Memory<Range> ranges_;
  Memory<Masses> masses_;
  Pinned<int32_t> order_pinned_, coded_pinned_;
  Pinned<uint32_t> first_pinned_;
  Pinned<Range> ranges_pinned_;
  Pinned<Masses> masses_pinned_;
  Workspace work_;  // goes first, when what it has begun is done
};

// All answerers of a GPU, made when they are wanted.
class Answerers {
 public:
  Answerers(const Model& model, const Keys* table) : model_(model), table_(table) {}

  // Calls work(answerer) when it is the caller's turn and one is free.
  template <class Work>
  auto with(Work&& work) {
    std::unique_lock<std::mutex> lock(mutex_);
    const uint64_t turn = turns_++;
    const auto free = [&] { return std::find(busy_.begin(), busy_.end(), false); };
    changed_.wait(lock, [&] { return turn == served_ && free() != busy_.end(); });
    const auto place = static_cast<size_t>(free() - busy_.begin());
    ++served_;
    changed_.notify_all();
    Answerer& answerer = at(place);
    busy_[place] = true;
    lock.unlock();
    struct Leave {
      Answerers& all;
      size_t place;
      ~Leave() {
        const std::lock_guard<std::mutex> lock(all.mutex_);
        all.busy_[place] = false;
        all.changed_.notify_all();
      }
    } leave{*this, place};
    try {
      return work(answerer);
    } catch (...) {  // its stream may be at work, or within a graph that is being made: it is not used again
      const std::lock_guard<std::mutex> again(mutex_);
      made_[place].reset();
      throw;
    }
  }
  int longest_run(int seen) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return at(0).longest_run(seen);
  }

 private:
  static constexpr size_t kPasses = 4;  // at a time

  Answerer& at(size_t place) {
    if (!made_[place]) made_[place] = std::make_unique<Answerer>(model_, table_);
    return *made_[place];
  }

  const Model& model_;
  const Keys* table_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t turns_ = 0, served_ = 0;
  std::array<bool, kPasses> busy_{};
  std::array<std::unique_ptr<Answerer>, kPasses> made_;
};

}  // namespace lmc::cuda
