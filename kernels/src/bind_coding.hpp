// What the Python faces of the codecs share: decisions into a range coder and out of it, payloads
// as bytes, and how far the work is.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "rangecoder.hpp"
#include "textframe.hpp"

namespace lmc {

namespace py = pybind11;

struct Encoder {
  RangeEncoder coder;
  int operator()(int bit, uint32_t p) {
    coder.encode(bit, p);
    return bit;
  }
};

struct Decoder {
  RangeDecoder coder;
  explicit Decoder(std::string_view payload)
      : coder(reinterpret_cast<const uint8_t*>(payload.data()), payload.size()) {}
  int operator()(int, uint32_t p) {
    const int bit = coder.decode(p);
    if (coder.damaged()) throw Damaged("the coded bits lead nowhere");
    return bit;
  }
};

// Tells Python how far the work is and lets it stop the work: by an exception
// of the callback, or by a signal (Ctrl-C). Takes the lock for that.
inline void tell(const py::object& callback, size_t done) {
  py::gil_scoped_acquire lock;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  if (!callback.is_none()) callback(done);
}

// The same as a function, which any thread may call.
inline std::function<void(size_t)> reporting(const py::object& callback) {
  return [&callback](size_t done) { tell(callback, done); };
}

// Tells it after each `step` of the work at least.
class Reporter {
 public:
  Reporter(const py::object& callback, size_t step) : callback_(callback), step_(step) {}
  void operator()(size_t done) {
    if (done - last_ < step_) return;
    last_ = done;
    tell(callback_, done);
  }

 private:
  const py::object& callback_;
  const size_t step_;
  size_t last_ = 0;
};

inline py::bytes to_bytes(const std::vector<uint8_t>& out) {
  return {reinterpret_cast<const char*>(out.data()), out.size()};
}

}  // namespace lmc
