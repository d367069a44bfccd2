// The Python face of packets of lossless video: Ut Video.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string_view>

#include "bind_coding.hpp"
#include "module.hpp"
#include "utvideo.hpp"

namespace py = pybind11;

namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;
using Sizes = std::vector<std::tuple<uint32_t, uint32_t, bool>>;

constexpr uint32_t kMostSide = 1 << 16;
constexpr uint32_t kMostSlices = 256;

const uint8_t* data_of(std::string_view view) { return reinterpret_cast<const uint8_t*>(view.data()); }

lmc::utvideo::Shape to_shape(const Sizes& planes, uint32_t slices) {
  lmc::utvideo::Shape shape{{}, slices};
  if (planes.empty() || planes.size() > 4 || slices < 1 || slices > kMostSlices) throw py::value_error("no such shape");
  for (const auto& [width, height, even] : planes) {
    if (width < 1 || width > kMostSide || height < 1 || height > kMostSide || (even && height % 2 != 0))
      throw py::value_error("no such plane");
    shape.planes.push_back({width, height, even});
  }
  return shape;
}

py::object utvideo_read(const py::bytes& packet, const Sizes& planes, uint32_t slices) {
  const std::string_view view = packet;
  const auto shape = to_shape(planes, slices);
  std::optional<lmc::utvideo::Picture> picture;
  {
    py::gil_scoped_release unlock;
    picture = lmc::utvideo::read(data_of(view), view.size(), shape);
  }
  if (!picture) return py::none();
  return py::make_tuple(Bytes(static_cast<py::ssize_t>(picture->samples.size()), picture->samples.data()),
                        lmc::to_bytes(picture->side));
}

py::tuple utvideo_write(const Bytes& samples, const Sizes& planes, uint32_t slices, const py::bytes& side, size_t at) {
  const std::string_view view = side;
  const auto shape = to_shape(planes, slices);
  if (static_cast<size_t>(samples.size()) != shape.samples()) throw py::value_error("samples are of another shape");
  std::optional<std::vector<uint8_t>> packet;
  {
    py::gil_scoped_release unlock;
    packet = lmc::utvideo::write(samples.data(), shape, data_of(view), view.size(), at);
  }
  if (!packet) throw lmc::Damaged("the description of a Ut Video packet leads nowhere");
  return py::make_tuple(lmc::to_bytes(*packet), at);
}

}  // namespace

void bind_packets(py::module_& m) {
  m.def("utvideo_read", &utvideo_read, py::arg("packet"), py::arg("planes"), py::arg("slices"),
        "Samples (its planes one after another) of a packet of Ut Video, and what else it says; None if it is\n"
        "damaged or cannot be written again. planes: width, height, and whether slices end at even rows.");
  m.def("utvideo_write", &utvideo_write, py::arg("samples"), py::arg("planes"), py::arg("slices"), py::arg("side"),
        py::arg("at"),
        "The packet whose description begins at a place of `side`, and the place behind it. Raises Damaged.");
}
