// A pool of threads for loops of independent tasks.
//
// A decoding step is hundreds of loops of some ten microseconds, so the workers spin a while before
// they sleep, and the caller takes part in its own loop: a worker that is late costs nothing.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace lmc {

class Pool {
 public:
  // `threads` counts the caller, too; 0 means one for each processor.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(task, worker) for every task in [0, tasks), in any order and on any thread, and returns
  // when all are done; worker is in [0, threads()). The first exception is thrown again here. Only
  // one thread may call run, and fn must not call it.
  template <class F>
  void run(int tasks, F&& fn) {
    if (tasks <= 1 || workers_.empty()) {
      for (int i = 0; i < tasks; ++i) fn(i, 0);
      return;
    }
    start(tasks, [](void* f, int task, int worker) { (*static_cast<F*>(f))(task, worker); },
          const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using Call = void (*)(void*, int, int);
  void start(int tasks, Call call, void* context);
  void work(int worker);
  bool step(int worker);

  // (generation, number of tasks, next task) in one word: a task is claimed by compare and swap, so
  // nobody can claim a task of a loop that has ended.
  std::atomic<uint64_t> state_{0};
  std::atomic<int> left_{0};
  Call call_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace lmc
