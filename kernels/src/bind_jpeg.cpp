// Python face of the JPEG codec: a file's outside and its coded bands, and back.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

#include "bind_coding.hpp"
#include "jpeg_file.hpp"
#include "jpeg_model.hpp"
#include "module.hpp"
#include "threads.hpp"

namespace py = pybind11;

namespace {

using lmc::Decoder;
using lmc::Encoder;
using lmc::to_bytes;
using lmc::jpeg::Band;
using lmc::jpeg::Choices;
using lmc::jpeg::File;
using lmc::jpeg::Unknown;

constexpr size_t kMaxSize = size_t{1} << 30;  // of a frame (FORMAT.md, section 3)
constexpr size_t kMostBands = 256;

// Codes the bands of a file on a pool of threads. Only the caller's tells Python how far the work is,
// and lets it stop the work; whatever goes wrong in one band stops the others.
class Bands {
 public:
  Bands(File& file, int bands, size_t size, const py::object& progress)
      : file_(file), bands_(bands), size_(size), progress_(progress) {
    for (const auto& c : file.headers.components) blocks_ += static_cast<uint64_t>(c.width) * static_cast<uint64_t>(c.height);
  }

  // bits(i): the coder of a band.
  template <class BitsOf>
  void run(int threads, bool decode, BitsOf&& bits) {
    if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
    lmc::Pool pool(std::max(1, std::min(threads, bands_)));
    pool.run(bands_, [&](int i, int worker) {
      try {
        const int rows = file_.headers.mcu_rows;
        auto& coder = bits(static_cast<size_t>(i));
        Band<std::decay_t<decltype(coder)>> band(file_.headers, file_.planes, decode, lmc::jpeg::log2_lines(size_, bands_), coder);
        band.code(rows * i / bands_, rows * (i + 1) / bands_, [&](int blocks) { tell(blocks, worker == 0); });
      } catch (const Stopped&) {
      } catch (...) {
        stop_ = true;
        throw;
      }
    });
  }

 private:
  struct Stopped {};  // another band has failed, and tells why

  void tell(int blocks, bool aloud) {
    if (stop_) throw Stopped();
    const uint64_t done = done_ += static_cast<uint64_t>(blocks);
    if (aloud) lmc::tell(progress_, done * size_ / blocks_);  // below 2^31 blocks
  }

  File& file_;
  const int bands_;
  const size_t size_;
  const py::object& progress_;
  uint64_t blocks_ = 0;
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> stop_{false};
};

// Whether what a frame keeps gives the file again. The coefficients are borrowed.
bool rebuilds(File& file, const std::vector<uint8_t>& outside, std::string_view data) {
  bool same = false;
  try {
    File again = lmc::jpeg::from_bytes(outside.data(), outside.size(), data.size());
    again.planes.swap(file.planes);
    try {
      const std::vector<uint8_t> out = lmc::jpeg::put_together(again, data.size());
      same = std::memcmp(out.data(), data.data(), data.size()) == 0;
    } catch (const Unknown&) {
    }
    again.planes.swap(file.planes);
  } catch (const Unknown&) {
  }
  return same;
}

// (what lies outside of the scans, the bands, bytes of memory to decode), or None.
py::object encode(const py::bytes& content, int bands, int threads, const py::object& progress) {
  const std::string_view data = content;
  if (data.size() > kMaxSize) throw py::value_error("too long for a frame");
  File file;
  std::vector<uint8_t> outside;
  std::vector<Encoder> coders;
  {
    py::gil_scoped_release unlock;
    bool known = false;
    try {
      file = lmc::jpeg::take_apart(reinterpret_cast<const uint8_t*>(data.data()), data.size());
      // Most files end their runs where libjpeg does; then these are not kept.
      const auto runs = std::move(file.choices.runs);
      file.choices.runs.clear();
      outside = lmc::jpeg::to_bytes(file);
      known = rebuilds(file, outside, data);
      if (!known && file.headers.progressive) {
        file.choices.runs = runs;
        outside = lmc::jpeg::to_bytes(file);
        known = rebuilds(file, outside, data);
      }
    } catch (const Unknown&) {
    }
    if (known) {
      coders.resize(static_cast<size_t>(std::max(1, std::min(bands, std::min(file.headers.mcu_rows, 256)))));
      Bands(file, static_cast<int>(coders.size()), data.size(), progress).run(threads, false, [&](size_t i) -> Encoder& {
        return coders[i];
      });
    }
  }
  if (coders.empty()) return py::none();
  std::vector<py::bytes> out;
  for (Encoder& coder : coders) out.push_back(to_bytes(std::move(coder.coder).bytes()));
  const int lines = lmc::jpeg::log2_lines(data.size(), static_cast<int>(out.size()));
  const uint64_t memory = lmc::jpeg::Decisions::bytes(lines) + file.blocks() * 130 + 4 * outside.size() + 2 * data.size();
  return py::make_tuple(to_bytes(outside), out, memory);
}

py::bytes decode(const py::bytes& outside, const std::vector<py::bytes>& bands, size_t size, int threads,
                 const py::object& progress) {
  if (size == 0 || size > kMaxSize || bands.empty() || bands.size() > kMostBands) {
    throw py::value_error("no such frame");
  }
  const std::string_view first = outside;
  std::vector<Decoder> coders;
  for (const py::bytes& band : bands) coders.emplace_back(std::string_view(band));
  std::vector<uint8_t> out;
  {
    py::gil_scoped_release unlock;
    try {
      File file = lmc::jpeg::from_bytes(reinterpret_cast<const uint8_t*>(first.data()), first.size(), size);
      if (coders.size() > static_cast<size_t>(file.headers.mcu_rows)) throw Unknown("more bands than rows");
      Bands(file, static_cast<int>(coders.size()), size, progress).run(threads, true, [&](size_t i) -> Decoder& {
        return coders[i];
      });
      out = lmc::jpeg::put_together(file, size);
    } catch (const Unknown& error) {
      throw lmc::Damaged(error.what());
    }
  }
  return to_bytes(out);
}

// Of each component: (h, v, width and height in blocks, steps by place, coefficients row by row).
using Blocks = std::tuple<int, int, int, int, std::vector<int>, std::vector<int>>;

std::vector<Blocks> blocks(const py::bytes& content) {
  const std::string_view data = content;
  const File file = lmc::jpeg::take_apart(reinterpret_cast<const uint8_t*>(data.data()), data.size());
  std::vector<Blocks> out;
  for (size_t i = 0; i < file.planes.size(); ++i) {
    const lmc::jpeg::Component& c = file.headers.components[i];
    std::vector<int> all;
    for (int y = 0; y < c.height; ++y) {
      const int16_t* row = file.planes[i].block(0, y);
      all.insert(all.end(), row, row + static_cast<size_t>(c.width) * 64);
    }
    out.emplace_back(c.h, c.v, c.width, c.height, std::vector<int>(c.quant.begin(), c.quant.end()), std::move(all));
  }
  return out;
}

}  // namespace

void bind_jpeg(py::module_& m) {
  m.def("jpeg_encode", &encode, py::arg("data"), py::arg("bands") = 1, py::arg("threads") = 0,
        py::arg("progress") = py::none(),
        "A JPEG file as (the bytes outside of its scans, one payload for each band, bytes of memory\n"
        "that decoding takes), or None where it is none that can be rebuilt bit for bit.");
  m.def("jpeg_decode", &decode, py::arg("outside"), py::arg("bands"), py::arg("size"), py::arg("threads") = 0,
        py::arg("progress") = py::none(),
        "The file of `size` bytes that jpeg_encode took apart. Raises Damaged.");
  m.def("jpeg_blocks", &blocks, py::arg("data"),
        "Of each component of a JPEG file: (h, v, width and height in blocks, steps by place,\n"
        "coefficients by row, block and place); for tests. RuntimeError where it is none that is known.");
}
