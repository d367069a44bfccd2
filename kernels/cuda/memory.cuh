// Memory of a GPU, and how its failures are told.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace lmc::cuda {

inline void must(cudaError_t error) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw std::runtime_error(std::string("the GPU failed: ") + cudaGetErrorString(error));
}

// What a GPU's memory cannot take, in words.
class NoRoom : public std::bad_alloc {
 public:
  explicit NoRoom(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// Throws NoRoom unless `fixed` bytes and `each` for each of `count` things are free.
inline void need(const std::string& what, size_t fixed, size_t each = 0, size_t count = 0, const char* things = nullptr) {
  size_t left = 0, all = 0;
  must(cudaMemGetInfo(&left, &all));
  const size_t bytes = fixed + each * count;
  if (bytes <= left) return;
  std::string text = what + " would take " + std::to_string(bytes) + " bytes of the GPU's memory; " + std::to_string(left) + " of " +
                     std::to_string(all) + " are free";
  if (things) text += ", room for " + std::to_string(left > fixed ? (left - fixed) / each : 0) + " " + things;
  throw NoRoom(text);
}

// Bytes of the current GPU.
inline size_t total_memory() {
  size_t left = 0, all = 0;
  must(cudaMemGetInfo(&left, &all));
  return all;
}

inline int round_up(int n, int to) { return (n + to - 1) / to * to; }

// What the default stream does is done: a cache's own stream would not wait for it.
inline void settle() { must(cudaStreamSynchronize(cudaStreamLegacy)); }

// Memory of the GPU, zeroed.
template <class T>
class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t n) : size_(n) {
    if (n == 0) return;
    must(cudaMalloc(&data_, n * sizeof(T)));
    must(cudaMemset(data_, 0, n * sizeof(T)));
    settle();
  }
  Memory(const T* from, size_t n) : Memory(n) {
    if (n == 0) return;
    must(cudaMemcpy(data_, from, n * sizeof(T), cudaMemcpyHostToDevice));
    settle();
  }
  explicit Memory(const std::vector<T>& from) : Memory(from.data(), from.size()) {}
  Memory(Memory&& o) noexcept : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}
  Memory& operator=(Memory&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }
  ~Memory() { cudaFree(data_); }
  T* data() const { return data_; }
  size_t bytes() const { return size_ * sizeof(T); }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// Memory of the processor that the GPU reads and writes by itself; it only grows.
template <class T>
class Pinned {
 public:
  Pinned() = default;
  Pinned(const Pinned&) = delete;
  ~Pinned() { cudaFreeHost(data_); }
  T* room(size_t n) {
    if (n <= size_) return data_;
    cudaFreeHost(data_);
    data_ = nullptr;
    size_ = 0;
    must(cudaHostAlloc(&data_, n * sizeof(T), cudaHostAllocPortable));
    size_ = n;
    return data_;
  }
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// What a stream has come to; a thread that waits for it sleeps.
class Event {
 public:
  Event() { must(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync | cudaEventDisableTiming)); }
  Event(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  void record(cudaStream_t stream) const { must(cudaEventRecord(event_, stream)); }
  void wait() const { must(cudaEventSynchronize(event_)); }

 private:
  cudaEvent_t event_ = nullptr;
};

// To the GPU, by a stream. What lies in pinned memory has been read when the stream comes so far.
template <class T>
void give(Memory<T>& to, const std::vector<T>& from, Pinned<T>& by, cudaStream_t stream) {
  if (to.bytes() < from.size() * sizeof(T)) to = Memory<T>(from.size() + from.size() / 2);
  T* const pinned = by.room(from.size());
  std::copy(from.begin(), from.end(), pinned);
  must(cudaMemcpyAsync(to.data(), pinned, from.size() * sizeof(T), cudaMemcpyHostToDevice, stream));
}

}  // namespace lmc::cuda
