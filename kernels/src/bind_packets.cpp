// The Python face of packets of lossless video: Ut Video and HuffYUV.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string_view>

#include "bind_coding.hpp"
#include "huffyuv.hpp"
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

using Wide = py::array_t<uint16_t, py::array::c_style>;

lmc::huffyuv::Stream to_stream(const std::vector<std::pair<uint32_t, uint32_t>>& planes, int bits, int prediction,
                               bool mixed, bool interlaced, bool own_tables, const py::bytes& tables) {
  const std::string_view view = tables;
  if (prediction < lmc::huffyuv::kLeft || prediction > lmc::huffyuv::kMedian || planes.size() > 4)
    throw py::value_error("no such shape");
  const auto how = static_cast<lmc::huffyuv::Prediction>(prediction);
  lmc::huffyuv::Shape shape{{}, bits, how, mixed, interlaced, own_tables};
  for (const auto& [width, height] : planes) {
    if (width > kMostSide || height > kMostSide) throw py::value_error("no such plane");
    shape.planes.push_back({width, height});
  }
  try {
    return {shape, data_of(view), view.size()};
  } catch (const lmc::huffman::Bad&) {
    throw lmc::Damaged("no such stream of HuffYUV");
  }
}

py::object huffyuv_read(lmc::huffyuv::Stream& stream, const py::bytes& packet) {
  const std::string_view view = packet;
  std::optional<lmc::huffyuv::Picture> picture;
  {
    py::gil_scoped_release unlock;
    picture = stream.read(data_of(view), view.size());
  }
  if (!picture) return py::none();
  return py::make_tuple(Wide(static_cast<py::ssize_t>(picture->samples.size()), picture->samples.data()),
                        lmc::to_bytes(picture->side));
}

py::tuple huffyuv_write(lmc::huffyuv::Stream& stream, const Wide& samples, bool usual, const py::bytes& side,
                        size_t at) {
  const std::string_view view = side;
  if (static_cast<size_t>(samples.size()) != stream.shape().samples())
    throw py::value_error("samples are of another shape");
  std::optional<std::vector<uint8_t>> packet;
  {
    py::gil_scoped_release unlock;
    packet = stream.write(samples.data(), usual, data_of(view), view.size(), at);
  }
  if (!packet) throw lmc::Damaged("the description of a HuffYUV packet leads nowhere");
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
  py::class_<lmc::huffyuv::Stream>(
      m, "HuffyuvStream", "A stream of HuffYUV, packet by packet from its first on.")
      .def(py::init(&to_stream), py::arg("planes"), py::arg("bits"), py::arg("prediction"), py::arg("mixed"),
           py::arg("interlaced"), py::arg("own_tables"), py::arg("tables"),
           "tables: as the extradata have them. Raises Damaged on a shape that none has.")
      .def("read", &huffyuv_read, py::arg("packet"),
           "Samples (its planes one after another) of the next packet, and what else it says; None if it is\n"
           "damaged or cannot be written again.")
      .def("write", &huffyuv_write, py::arg("samples"), py::arg("usual"), py::arg("side"), py::arg("at"),
           "The packet of the next picture, whose description begins at a place of `side`, or is the usual one,\n"
           "and the place behind it. Raises Damaged.");
}
