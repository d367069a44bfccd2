// Python face of the coder of drawn images (graphic.hpp).
#include <pybind11/functional.h>
#include <pybind11/numpy.h>

#include <memory>
#include <string_view>
#include <type_traits>

#include "bind_coding.hpp"
#include "graphic.hpp"
#include "module.hpp"

namespace py = pybind11;

namespace {

using lmc::Decoder;
using lmc::Encoder;
using lmc::Reporter;
using lmc::graphic::Geometry;
using Samples = py::array_t<uint8_t, py::array::c_style>;

constexpr uint64_t kMostSamples = uint64_t{1} << 28;
constexpr size_t kReportSamples = size_t{1} << 14;  // how often progress is told at least

Geometry geometry(uint64_t height, uint64_t width, uint64_t channels, int depth) {
  if (channels < 1 || channels > 4) throw py::value_error("an image has 1 to 4 channels");
  if (depth < 1 || depth > 8 || (depth != 8 && channels != 1)) throw py::value_error("no such depth of samples");
  if (height == 0 || width == 0 || height > kMostSamples || width > kMostSamples ||
      height * width > kMostSamples / channels) {
    throw py::value_error("no such size of an image");
  }
  const Geometry g{static_cast<uint32_t>(height), static_cast<uint32_t>(width), static_cast<uint32_t>(channels),
                   static_cast<uint32_t>(depth)};
  // Places are 32 bits, and a border costs a narrow image much.
  if (lmc::graphic::canvas_size(g) >= UINT32_MAX) throw py::value_error("the image is too narrow for its size");
  return g;
}

// Calls f with the effort as a type.
template <class F>
auto of_effort(int effort, F&& f) {
  switch (effort) {
    case 0: return f(std::integral_constant<int, 0>{});
    case 1: return f(std::integral_constant<int, 1>{});
    case 2: return f(std::integral_constant<int, 2>{});
    default: throw py::value_error("no such effort");
  }
}

py::bytes encode_graphic(const Samples& samples, int depth, int effort, const py::object& progress) {
  if (samples.ndim() != 3) throw py::value_error("samples are (height, width, channels)");
  const auto size = [&](int axis) { return static_cast<uint64_t>(samples.shape(axis)); };
  const Geometry g = geometry(size(0), size(1), size(2), depth);
  const uint8_t* data = samples.data();
  uint8_t all = 0;
  for (py::ssize_t i = 0; i < samples.size(); ++i) all |= data[i];
  if (all >> depth != 0) throw py::value_error("a sample is deeper than the image");
  return of_effort(effort, [&](auto e) {
    Encoder bits;
    Reporter report(progress, kReportSamples);
    {
      py::gil_scoped_release unlock;
      std::make_unique<lmc::graphic::Coder<e(), Encoder>>(g, bits)->run(data, report);
    }
    return lmc::to_bytes(std::move(bits.coder).bytes());
  });
}

Samples decode_graphic(const py::bytes& payload, uint64_t height, uint64_t width, uint64_t channels, int depth,
                       int effort, const py::object& progress) {
  const Geometry g = geometry(height, width, channels, depth);
  const std::string_view view = payload;
  // A pixel costs at least 1.3 millionths of a bit.
  if (g.pixels() > (uint64_t{view.size()} + 8) << 23) throw lmc::Damaged("the payload cannot hold so many pixels");
  return of_effort(effort, [&](auto e) {
    Decoder bits(view);
    Reporter report(progress, kReportSamples);
    using Coder = lmc::graphic::Coder<e(), Decoder>;
    std::unique_ptr<Coder> coder;
    {
      py::gil_scoped_release unlock;
      coder = std::make_unique<Coder>(g, bits);  // its memory is taken as it is touched
      coder->run(nullptr, report);
    }
    Samples out({height, width, channels});
    uint8_t* to = out.mutable_data();
    for (uint32_t y = 0; y < g.height; ++y) coder->unpack(y, to + size_t{y} * g.width * g.channels);
    return out;
  });
}

uint64_t graphic_bytes(uint64_t height, uint64_t width, uint64_t channels, int effort) {
  const Geometry g = geometry(height, width, channels, 8);
  if (effort < 0 || effort > 2) throw py::value_error("no such effort");
  return lmc::graphic::coder_bytes(g, effort) + g.pixels() * g.channels;
}

// How many in 100 pixels are equal to the one before or above.
int looks_drawn(const Samples& samples) {
  if (samples.ndim() != 3 || samples.size() == 0) throw py::value_error("samples are (height, width, channels)");
  const auto height = samples.shape(0), width = samples.shape(1), channels = samples.shape(2);
  const uint8_t* p = samples.data();
  const auto same = [&](const uint8_t* a, const uint8_t* b) { return std::equal(a, a + channels, b); };
  uint64_t equal = 0;
  for (py::ssize_t y = 0; y < height; ++y) {
    for (py::ssize_t x = 0; x < width; ++x, p += channels) {
      equal += (x > 0 && same(p, p - channels)) || (y > 0 && same(p, p - width * channels));
    }
  }
  const auto pixels = static_cast<uint64_t>(height) * static_cast<uint64_t>(width);
  return static_cast<int>(pixels == 1 ? 100 : equal * 100 / (pixels - 1));
}

}  // namespace

void bind_graphic(py::module_& m) {
  m.def("encode_graphic", &encode_graphic, py::arg("samples"), py::arg("depth"), py::arg("effort"),
        py::arg("progress") = py::none(),
        "Code samples (height, width, channels) of a drawn image; effort 0 to 2.");
  m.def("decode_graphic", &decode_graphic, py::arg("payload"), py::arg("height"), py::arg("width"),
        py::arg("channels"), py::arg("depth"), py::arg("effort"), py::arg("progress") = py::none(),
        "The samples that encode_graphic coded. Raises Damaged.");
  m.def("graphic_bytes", &graphic_bytes, py::arg("height"), py::arg("width"), py::arg("channels"), py::arg("effort"),
        "Bytes that decode_graphic takes at most, its result among them.");
  m.def("looks_drawn", &looks_drawn, py::arg("samples"),
        "How many in 100 pixels are equal to the one before or above.");
}
