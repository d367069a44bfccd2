#include "threads.hpp"

#include <algorithm>
#include <stdexcept>

namespace lmc {
namespace {

constexpr int TASK_BITS = 20;
constexpr uint64_t TASK_MASK = (uint64_t{1} << TASK_BITS) - 1;
constexpr int SPINS = 4000;  // some 50 microseconds: longer than the gaps between the loops of a step

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool open(uint64_t state) { return (state & TASK_MASK) < ((state >> TASK_BITS) & TASK_MASK); }

}  // namespace

Pool::Pool(int threads) {
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> hold(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& t : workers_) t.join();
}

// Does one task of the present loop, if there is one left.
bool Pool::step(int worker) {
  uint64_t state = state_.load();
  do {
    if (!open(state)) return false;
  } while (!state_.compare_exchange_weak(state, state + 1));
  try {
    call_(context_, static_cast<int>(state & TASK_MASK), worker);
  } catch (...) {
    std::lock_guard<std::mutex> hold(mutex_);
    if (!error_) error_ = std::current_exception();
  }
  left_.fetch_sub(1);
  return true;
}

void Pool::work(int worker) {
  int idle = 0;
  while (!stop_) {
    if (step(worker)) {
      idle = 0;
    } else if (++idle < SPINS) {
      relax();
    } else {
      std::unique_lock<std::mutex> hold(mutex_);
      ++sleeping_;
      wake_.wait(hold, [this] { return stop_ || open(state_); });
      --sleeping_;
      idle = 0;
    }
  }
}

void Pool::start(int tasks, Call call, void* context) {
  if (static_cast<uint64_t>(tasks) > TASK_MASK) throw std::invalid_argument("too many tasks");
  call_ = call;
  context_ = context;
  error_ = nullptr;
  left_ = tasks;
  const uint64_t generation = (state_.load() >> (2 * TASK_BITS)) + 1;
  state_ = generation << (2 * TASK_BITS) | static_cast<uint64_t>(tasks) << TASK_BITS;
  if (sleeping_ > 0) {
    std::lock_guard<std::mutex> hold(mutex_);
    // No more than have something to do: each one that wakes costs the caller some microseconds.
    for (int i = std::min(tasks - 1, sleeping_.load()); i > 0; --i) wake_.notify_one();
  }
  while (step(0)) {
  }
  for (int idle = 0; left_.load() > 0;) {
    if (++idle < SPINS) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
  if (error_) std::rethrow_exception(error_);
}

}  // namespace lmc
