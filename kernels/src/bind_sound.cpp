// Python face of the sound model (sound.hpp).
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <string_view>
#include <vector>

#include "bind_coding.hpp"
#include "bind_layers.hpp"
#include "module.hpp"
#include "sound.hpp"

namespace py = pybind11;

namespace {

using namespace lmc::sound;
using Samples = py::array_t<int32_t, py::array::c_style>;

Shape shape_of(int64_t length, const std::vector<std::pair<int32_t, int32_t>>& ranges, int effort, int fade, bool weighted) {
  if (ranges.empty() || ranges.size() > kChannels || length < 1 || length > int64_t{1} << 40)
    throw py::value_error("samples are (channels, time), of at most 16 channels");
  if (effort < 0 || effort >= kEfforts || fade < 0 || fade >= kFades) throw py::value_error("no such effort, or no such fade");
  Shape shape;
  shape.channels = static_cast<int>(ranges.size());
  shape.length = length;
  shape.effort = effort;
  shape.fade = fade;
  shape.weighted = weighted;
  for (size_t c = 0; c < ranges.size(); ++c) {
    const auto [low, high] = ranges[c];
    if (low >= high || low < -(1 << (kDepth - 1)) || high >= 1 << (kDepth - 1)) throw py::value_error("a range of samples is wrong");
    shape.low[c] = low;
    shape.high[c] = high;
  }
  return shape;
}

// The network of an effort.
struct OneNetwork {
  explicit OneNetwork(const std::vector<lmc::layers::GivenLayer>& layers) : network(lmc::layers::network_of(layers, kInputs)) {}
  lmc::layers::Network network;
};
const lmc::layers::Network* network_of(const OneNetwork* given) { return given == nullptr ? nullptr : &given->network; }

// What samples are, and where each channel begins.
Shape shape_of(const Samples& samples, const std::vector<std::pair<int32_t, int32_t>>& ranges, int effort, int fade, bool weighted,
               const int32_t** rows) {
  if (samples.ndim() != 2 || static_cast<size_t>(samples.shape(0)) != ranges.size())
    throw py::value_error("samples are (channels, time), with a range for each channel");
  const Shape shape = shape_of(samples.shape(1), ranges, effort, fade, weighted);
  for (int c = 0; c < shape.channels; ++c) {
    rows[c] = samples.data(c, 0);
    for (int64_t t = 0; t < shape.length; ++t)
      if (rows[c][t] < shape.low[c] || rows[c][t] > shape.high[c]) throw py::value_error("a sample is out of its range");
  }
  return shape;
}

py::bytes sound_encode(const Samples& samples, const std::vector<std::pair<int32_t, int32_t>>& ranges, int effort, int fade,
                       bool weighted, const OneNetwork* network, const py::object& progress, const std::string& variant) {
  const int32_t* rows[kChannels];
  const Shape shape = shape_of(samples, ranges, effort, fade, weighted, rows);
  std::vector<uint8_t> out;
  {
    const Progress report = lmc::reporting(progress);
    py::gil_scoped_release unlock;
    out = variant_by_name(variant).encode(shape, network_of(network), rows, report);
  }
  return lmc::to_bytes(out);
}

Samples sound_decode(const py::bytes& payload, int64_t length, const std::vector<std::pair<int32_t, int32_t>>& ranges, int effort,
                     int fade, bool weighted, const OneNetwork* network, const py::object& progress, const std::string& variant) {
  const Shape shape = shape_of(length, ranges, effort, fade, weighted);
  const std::string_view view = payload;
  // A moment takes a decision at least, if any channel changes, and none costs less than 1.3 millionths of a bit.
  if (static_cast<uint64_t>(length) > (uint64_t{view.size()} + 8) << 23)
    throw lmc::Damaged("the payload cannot hold so many samples");
  Samples samples({static_cast<py::ssize_t>(shape.channels), static_cast<py::ssize_t>(length)});
  int32_t* rows[kChannels];
  for (int c = 0; c < shape.channels; ++c) rows[c] = samples.mutable_data(c, 0);
  bool right;
  {
    const Progress report = lmc::reporting(progress);
    py::gil_scoped_release unlock;
    right = variant_by_name(variant).decode(shape, network_of(network), reinterpret_cast<const uint8_t*>(view.data()), view.size(), rows, report);
  }
  if (!right) throw lmc::Damaged("the coded bits lead nowhere");
  return samples;
}

py::tuple sound_rows(const Samples& samples, const std::vector<std::pair<int32_t, int32_t>>& ranges, int effort, int fade,
                     bool weighted) {
  const int32_t* rows[kChannels];
  const Shape shape = shape_of(samples, ranges, effort, fade, weighted, rows);
  std::vector<Row> noted;
  {
    py::gil_scoped_release unlock;
    variant_by_name("").record(shape, rows, noted);
  }
  const auto n = static_cast<py::ssize_t>(noted.size());
  py::array_t<uint8_t> inputs({n, static_cast<py::ssize_t>(kInputs)});
  py::array_t<int64_t> numbers({n, py::ssize_t{2}});
  uint8_t* in = inputs.mutable_data();
  int64_t* to = numbers.mutable_data();
  for (const Row& r : noted) {
    for (const uint8_t v : r.inputs) *in++ = v;
    *to++ = r.offset;
    *to++ = r.scale;
  }
  return py::make_tuple(inputs, numbers);
}

}  // namespace

void bind_sound(py::module_& m) {
  py::class_<OneNetwork>(m, "SoundNetwork", "A network of the sound model: its layers.")
      .def(py::init<const std::vector<lmc::layers::GivenLayer>&>(), py::arg("layers"));
  m.def("sound_encode", &sound_encode, py::arg("samples"), py::arg("ranges"), py::arg("effort"), py::arg("fade"),
        py::arg("weighted"), py::arg("network") = nullptr, py::arg("progress") = py::none(), py::arg("variant") = "",
        "Code samples (channels, time) of a segment; ranges: least and greatest sample of each channel.");
  m.def("sound_decode", &sound_decode, py::arg("payload"), py::arg("length"), py::arg("ranges"), py::arg("effort"),
        py::arg("fade"), py::arg("weighted"), py::arg("network") = nullptr, py::arg("progress") = py::none(),
        py::arg("variant") = "", "The samples that sound_encode coded. Raises Damaged.");
  m.def("sound_rows", &sound_rows, py::arg("samples"), py::arg("ranges"), py::arg("effort"), py::arg("fade"), py::arg("weighted"),
        "What a network sees of each sample, in coding order: inputs, and 64 sample - centre and scale.");
  m.def("sound_bytes", [](int channels) {
    Shape shape;
    shape.channels = channels;
    return segment_bytes(shape);
  }, py::arg("channels"), "Bytes that sound_decode takes at most, beside its result.");
  m.def("sound_variants", &variant_names, "Instruction sets that the sound model runs on here.");
}
