// Python face of what pictures that were JPEG files need (jpeg_samples.hpp).
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "jpeg_file.hpp"
#include "jpeg_samples.hpp"
#include "module.hpp"
#include "textframe.hpp"
#include "threads.hpp"

namespace py = pybind11;

namespace {

using lmc::jpeg::File;
using lmc::jpeg::Unknown;
using Bytes = py::array_t<uint8_t, py::array::c_style>;
using Shorts = py::array_t<int16_t, py::array::c_style>;
using Steps = py::array_t<uint16_t, py::array::c_style>;
using Reals = py::array_t<double, py::array::c_style>;

constexpr size_t kMostSize = size_t{1} << 30;

// A file of these headers (all up to its only scan) and coefficients, (rows, columns, 64) each.
py::object write_file(const py::bytes& headers, const std::vector<Shorts>& blocks) {
  std::vector<uint8_t> out;
  const std::string_view view = headers;
  std::vector<uint8_t> outside(1, lmc::jpeg::kOnes);
  outside.insert(outside.end(), view.begin(), view.end());
  try {
    File file = lmc::jpeg::from_bytes(outside.data(), outside.size(), kMostSize);
    if (blocks.size() != file.planes.size() || file.headers.scans.size() != 1) return py::none();
    for (size_t i = 0; i < blocks.size(); ++i) {
      const auto& c = file.headers.components[i];
      if (blocks[i].ndim() != 3 || blocks[i].shape(0) != c.height || blocks[i].shape(1) != c.width || blocks[i].shape(2) != 64) {
        throw py::value_error("the blocks of a component are (rows, columns, 64)");
      }
      for (int y = 0; y < c.height; ++y) {
        file.planes[i].make_row(y);
        std::copy_n(blocks[i].data(y, 0, 0), static_cast<size_t>(c.width) * 64, file.planes[i].block(0, y));
      }
    }
    size_t padding = 0;
    out = file.outside;
    lmc::jpeg::ScanWriter(file.headers, 0, file.planes, file.choices, padding, out, kMostSize).write();
    out.push_back(0xFF);
    out.push_back(0xD9);
  } catch (const Unknown&) {
    return py::none();
  }
  return py::bytes(reinterpret_cast<const char*>(out.data()), out.size());
}

// Of each component: (h, v, samples of all its blocks).
std::vector<std::tuple<int, int, Bytes>> samples(const py::bytes& content, bool fine) {
  const std::string_view data = content;
  std::vector<std::tuple<int, int, Bytes>> out;
  try {
    const File file = lmc::jpeg::take_apart(reinterpret_cast<const uint8_t*>(data.data()), data.size());
    for (size_t i = 0; i < file.planes.size(); ++i) {
      const auto& c = file.headers.components[i];
      Bytes plane({c.height * 8, c.width * 8});
      for (int y = 0; y < c.height; ++y) {
        for (int x = 0; x < c.width; ++x) {
          int64_t raw[64];
          (fine ? lmc::jpeg::fine_idct : lmc::jpeg::idct)(file.planes[i].block(x, y), c.quant.data(), raw);
          for (int p = 0; p < 64; ++p) {
            *plane.mutable_data(8 * y + p / 8, 8 * x + p % 8) = static_cast<uint8_t>(std::clamp<int64_t>(raw[p], 0, 255));
          }
        }
      }
      out.emplace_back(c.h, c.v, std::move(plane));
    }
  } catch (const Unknown& error) {
    throw lmc::Damaged(error.what());
  }
  return out;
}

// (coefficients (n, 64), how many samples of each block they miss (n,)).
py::tuple fit(const Shorts& low, const Shorts& high, const Steps& steps, const Reals& spread, bool fine, int threads) {
  if (low.ndim() != 2 || low.shape(1) != 64 || high.ndim() != 2 || high.shape(0) != low.shape(0) || high.shape(1) != 64 ||
      steps.size() != 64 || spread.size() != 64) {
    throw py::value_error("bounds are (n, 64), steps and spread (64,)");
  }
  const auto n = low.shape(0);
  Shorts coefs({n, py::ssize_t{64}});
  Bytes missed(n);
  const int16_t *l = low.data(), *h = high.data();
  int16_t* c = coefs.mutable_data();
  uint8_t* m = missed.mutable_data();
  const uint16_t* q = steps.data();
  const double* s = spread.data();
  {
    py::gil_scoped_release unlock;
    if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
    const int parts = static_cast<int>((n + 255) / 256);
    lmc::Pool pool(std::max(1, std::min(threads, parts)));
    pool.run(parts, [&](int part, int) {
      lmc::jpeg::BlockFitter fitter(q, s, fine);
      for (py::ssize_t i = part * 256; i < std::min<py::ssize_t>(n, part * 256 + 256); ++i) {
        m[i] = static_cast<uint8_t>(fitter.fit(l + 64 * i, h + 64 * i, c + 64 * i));
      }
    });
  }
  return py::make_tuple(coefs, missed);
}

// (thin plane, where it is sure, where the full plane is wrong).
py::tuple thin(const Shorts& full, int row_kind, int column_kind, int row_phase, int column_phase,
               const std::vector<int>& bias, const std::vector<bool>& ends, const std::optional<Shorts>& start) {
  if (full.ndim() != 2 || full.size() == 0 || bias.size() != 4 || ends.size() != 4) throw py::value_error("no such plane");
  const int height = static_cast<int>(full.shape(0)), width = static_cast<int>(full.shape(1));
  const lmc::jpeg::Axis rows(row_kind, height, row_phase, ends[0], ends[1]);
  const lmc::jpeg::Axis columns(column_kind, width, column_phase, ends[2], ends[3]);
  Shorts plane({rows.thin, columns.thin});
  if (start && start->size() != plane.size()) throw py::value_error("no such thin plane");
  const int16_t* begin = start ? start->data() : nullptr;
  Bytes sure({rows.thin, columns.thin}), wrong({height, width});
  const int biases[2][2] = {{bias[0], bias[1]}, {bias[2], bias[3]}};
  const int16_t* from = full.data();
  int16_t* to = plane.mutable_data();
  uint8_t *s = sure.mutable_data(), *w = wrong.mutable_data();
  {
    py::gil_scoped_release unlock;
    lmc::jpeg::Thinner(rows, columns, height, width, from, biases, row_phase, column_phase, w).run(begin, to, s);
  }
  return py::make_tuple(plane, sure, wrong);
}

// Y, Cb and Cr (3, n) of colours (n, 3) as libjpeg converts them, -1 where a channel is at its end, or
// where none or more than one give the colour.
Shorts to_ycc(const Bytes& rgb) {
  if (rgb.ndim() != 2 || rgb.shape(1) != 3) throw py::value_error("colours are (n, 3)");
  const py::ssize_t n = rgb.shape(0);
  Shorts out({py::ssize_t{3}, n});
  int red[256], blue[256], green_red[256], green_blue[256];
  std::vector<int> of_red(1024, -1), of_blue(1024, -1);
  for (int i = 0; i < 256; ++i) {
    const int x = i - 128;
    red[i] = (91881 * x + 32768) >> 16;
    blue[i] = (116130 * x + 32768) >> 16;
    green_red[i] = -46802 * x;
    green_blue[i] = -22554 * x + 32768;
    of_red[static_cast<size_t>(512 + red[i])] = i;
    of_blue[static_cast<size_t>(512 + blue[i])] = i;
  }
  const uint8_t* p = rgb.data();
  int16_t* to = out.mutable_data();
  for (py::ssize_t k = 0; k < n; ++k, p += 3) {
    int found[3] = {-1, -1, -1}, ways = 0;
    const auto inside = [](int v) { return v > 0 && v < 255; };
    if (inside(p[0]) && inside(p[1]) && inside(p[2])) {
      const int about = (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16;
      for (int y = std::max(0, about - 2); y <= std::min(255, about + 2); ++y) {
        const int cr = of_red[static_cast<size_t>(512 + p[0] - y)], cb = of_blue[static_cast<size_t>(512 + p[2] - y)];
        if (cr < 0 || cb < 0 || y + ((green_blue[cb] + green_red[cr]) >> 16) != p[1]) continue;
        ++ways;
        found[0] = y, found[1] = cb, found[2] = cr;
      }
    }
    for (int i = 0; i < 3; ++i) to[i * n + k] = static_cast<int16_t>(ways == 1 ? found[i] : -1);
  }
  return out;
}

}  // namespace

void bind_exjpeg(py::module_& m) {
  m.def("jpeg_write", &write_file, py::arg("headers"), py::arg("blocks"),
        "A JPEG file of these headers, of one scan, and coefficients by component, (rows, columns, 64);\n"
        "None where its tables lack what it needs.");
  m.def("jpeg_samples", &samples, py::arg("data"), py::arg("fine"),
        "Of each component of a JPEG file: (h, v, samples of its blocks (rows, columns)). Raises Damaged.");
  m.def("jpeg_fit", &fit, py::arg("low"), py::arg("high"), py::arg("steps"), py::arg("spread"), py::arg("fine"), py::arg("threads") = 0,
        "Coefficients (n, 64) whose samples lie within bounds (n, 64), and how many of each block do not.");
  m.def("jpeg_thin", &thin, py::arg("full"), py::arg("row_kind"), py::arg("column_kind"), py::arg("row_phase"),
        py::arg("column_phase"), py::arg("bias"), py::arg("ends"), py::arg("start") = py::none(),
        "Chroma as it was before it was spread, with one more row and column at each end; where it is\n"
        "sure; and where it does not give the full plane.");
  m.def("jpeg_to_ycc", &to_ycc, py::arg("rgb"),
        "Y, Cb, Cr (3, n) of colours (n, 3), -1 where they are not unique.");
}
