// Python face of the photo model (photo.hpp).
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bind_coding.hpp"
#include "bind_layers.hpp"
#include "module.hpp"
#include "photo.hpp"

namespace py = pybind11;

namespace {

using namespace lmc::photo;
template <class T>
using Array = py::array_t<T, py::array::c_style>;

Shape shape_of(int64_t height, int64_t width, int64_t channels, int depth) {
  if (height < 1 || width < 1 || height > 1 << 24 || width > 1 << 24 || (channels != 1 && channels != 3) || depth < 1 ||
      depth > 16 || height * width > int64_t{1} << 30)
    throw py::value_error("samples are (height, width, 1 or 3), of 1 to 16 bits");
  return {static_cast<int>(height), static_cast<int>(width), static_cast<int>(channels), depth};
}

Shape shape_of(const Array<uint16_t>& samples, int depth) {
  if (samples.ndim() != 3) throw py::value_error("samples are (height, width, channels)");
  const Shape shape = shape_of(samples.shape(0), samples.shape(1), samples.shape(2), depth);
  const uint16_t* data = samples.data();
  for (py::ssize_t i = 0; i < samples.size(); ++i)
    if (data[i] >> depth != 0) throw py::value_error("a sample has more bits than it may");
  return shape;
}

size_t row(const Shape& s) { return static_cast<size_t>(s.width) * static_cast<size_t>(s.channels); }

// The networks of an effort: for each place of a channel its layers.
class Networks {
 public:
  explicit Networks(const std::vector<std::vector<lmc::layers::GivenLayer>>& places) {
    if (places.size() != kNetworks) throw py::value_error("there are four networks");
    for (const auto& layers : places) networks_.push_back(lmc::layers::network_of(layers, kInputs));
  }
  const Network* data() const { return networks_.data(); }

 private:
  std::vector<Network> networks_;
};

py::bytes photo_encode(const Networks& networks, const Array<uint16_t>& samples, int depth, const py::object& progress,
                       const std::string& variant) {
  const Shape shape = shape_of(samples, depth);
  const uint16_t* data = samples.data();
  std::vector<uint8_t> out;
  {
    const Progress report = lmc::reporting(progress);
    py::gil_scoped_release unlock;
    out = variant_by_name(variant).encode(shape, networks.data(), data, row(shape), report);
  }
  return lmc::to_bytes(out);
}

Array<uint16_t> photo_decode(const Networks& networks, const py::bytes& payload, int64_t height, int64_t width,
                             int64_t channels, int depth, const py::object& progress, const std::string& variant) {
  const Shape shape = shape_of(height, width, channels, depth);
  const std::string_view view = payload;
  // A sample takes a decision at least, and none costs less than 1.3 millionths of a bit.
  if (static_cast<uint64_t>(height) * static_cast<uint64_t>(width) > (uint64_t{view.size()} + 8) << 23)
    throw lmc::Damaged("the payload cannot hold so many pixels");
  Array<uint16_t> samples({height, width, channels});
  uint16_t* data = samples.mutable_data();
  bool right;
  {
    const Progress report = lmc::reporting(progress);
    py::gil_scoped_release unlock;
    right = variant_by_name(variant).decode(shape, networks.data(), reinterpret_cast<const uint8_t*>(view.data()), view.size(),
                                            data, row(shape), report);
  }
  if (!right) throw lmc::Damaged("the coded bits lead nowhere");
  return samples;
}

py::tuple photo_rows(const Array<uint16_t>& samples, int depth, int channel) {
  const Shape shape = shape_of(samples, depth);
  if (channel < 0 || channel >= shape.channels) throw py::value_error("no such channel");
  std::vector<Row> rows;
  const uint16_t* data = samples.data();
  {
    py::gil_scoped_release unlock;
    variant_by_name("").record(shape, data, row(shape), channel, rows);
  }
  const auto n = static_cast<py::ssize_t>(rows.size());
  Array<uint8_t> inputs({n, static_cast<py::ssize_t>(kInputs)});
  Array<int32_t> numbers({n, py::ssize_t{3}});
  uint8_t* in = inputs.mutable_data();
  int32_t* to = numbers.mutable_data();
  for (const Row& r : rows) {
    for (const uint8_t v : r.inputs) *in++ = v;
    *to++ = r.centre;
    *to++ = r.scale;
    *to++ = r.value;
  }
  return py::make_tuple(inputs, numbers);
}

}  // namespace

void bind_photo(py::module_& m) {
  py::class_<Networks>(m, "PhotoNetworks", "The networks of the photo model: for each place of a channel its layers.")
      .def(py::init<const std::vector<std::vector<lmc::layers::GivenLayer>>&>(), py::arg("places"));
  m.def("photo_encode", &photo_encode, py::arg("networks"), py::arg("samples"), py::arg("depth"),
        py::arg("progress") = py::none(), py::arg("variant") = "", "Code samples (height, width, 1 or 3) of a photo.");
  m.def("photo_decode", &photo_decode, py::arg("networks"), py::arg("payload"), py::arg("height"), py::arg("width"),
        py::arg("channels"), py::arg("depth"), py::arg("progress") = py::none(), py::arg("variant") = "",
        "The samples that photo_encode coded. Raises Damaged.");
  m.def("photo_rows", &photo_rows, py::arg("samples"), py::arg("depth"), py::arg("channel"),
        "What a network sees of each sample of a channel, in coding order: inputs, and centre, scale and value.");
  m.def("photo_bytes", [](int64_t height, int64_t width, int64_t channels, int depth) {
    return strip_bytes(shape_of(height, width, channels, depth));
  }, py::arg("height"), py::arg("width"), py::arg("channels"), py::arg("depth"),
        "Bytes that photo_decode takes at most, beside its result.");
  m.def("photo_variants", &variant_names, "Instruction sets that the photo model runs on here.");
}
