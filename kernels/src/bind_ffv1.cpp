// The Python face of FFV1 packets.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string_view>

#include "bind_coding.hpp"
#include "ffv1.hpp"
#include "module.hpp"

namespace py = pybind11;

namespace {

using Samples = py::array_t<uint16_t, py::array::c_style>;

py::object ffv1_take(const std::vector<py::bytes>& packets, const py::bytes& record, int width, int height,
                     size_t most) {
  const std::vector<std::string_view> views(packets.begin(), packets.end());
  const std::string_view head = record;
  std::optional<lmc::ffv1::Taken> taken;
  {
    py::gil_scoped_release unlock;
    taken = lmc::ffv1::take(views, head, width, height, most);
  }
  if (!taken) return py::none();
  const size_t frames = packets.size();
  Samples samples({frames, taken->samples.size() / frames}, taken->samples.data());
  const lmc::ffv1::Shape& shape = taken->shape;
  return py::make_tuple(samples, shape.bits, shape.coarse, shape.rgb, lmc::to_bytes(taken->side));
}

py::list ffv1_give(const Samples& samples, int bits, std::vector<std::pair<int, int>> coarse, bool rgb,
                   const py::bytes& side, const py::bytes& record, int width, int height) {
  if (samples.ndim() != 2) throw py::value_error("samples are (frames, samples of a frame)");
  const std::string_view how = side, head = record;
  const lmc::ffv1::Shape shape{bits, rgb, std::move(coarse)};
  std::optional<std::vector<std::vector<uint8_t>>> packets;
  {
    py::gil_scoped_release unlock;
    packets = lmc::ffv1::give(samples.data(), static_cast<size_t>(samples.shape(0)),
                              static_cast<size_t>(samples.shape(1)), shape, how, head, width, height);
  }
  if (!packets) throw lmc::Damaged("the fields of an FFV1 video lead nowhere");
  py::list out;
  for (const std::vector<uint8_t>& packet : *packets) out.append(lmc::to_bytes(packet));
  return out;
}

}  // namespace

void bind_ffv1(py::module_& m) {
  m.def("ffv1_take", &ffv1_take, py::arg("packets"), py::arg("record"), py::arg("width"), py::arg("height"),
        py::arg("most"),
        "Packets of FFV1 as samples (frames, samples of a frame), bits, how coarse planes behind the first\n"
        "one are (log2 of columns and rows), whether they are green, blue and red, and the fields that packets have beside samples;\n"
        "None if they are damaged, of a kind that is not known, or have more than `most` samples.");
  m.def("ffv1_give", &ffv1_give, py::arg("samples"), py::arg("bits"), py::arg("coarse"), py::arg("rgb"),
        py::arg("side"), py::arg("record"), py::arg("width"), py::arg("height"),
        "The packets that `ffv1_take` made these samples and fields of. Raises Damaged.");
}
