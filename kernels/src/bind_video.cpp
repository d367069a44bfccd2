// Python face of the video model (video.hpp).
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "bind_coding.hpp"
#include "bind_layers.hpp"
#include "module.hpp"
#include "video.hpp"

namespace py = pybind11;

namespace {

using namespace lmc::video;
using Samples = py::array_t<uint16_t, py::array::c_style>;
using Planes = std::vector<std::tuple<int, int, int, int>>;

Shape shape_of(int64_t frames, const Planes& planes, int depth, int effort, int strips) {
  if (frames < 1 || frames > 1 << 24 || planes.empty() || planes.size() > kPlanes || depth < 1 || depth > 16)
    throw py::value_error("frames have 1 to 4 planes of 1 to 16 bits");
  if (effort < 0 || effort >= kEfforts) throw py::value_error("no such effort");
  Shape shape;
  shape.frames = static_cast<int>(frames);
  shape.depth = depth;
  shape.planes = static_cast<int>(planes.size());
  shape.effort = effort;
  for (size_t c = 0; c < planes.size(); ++c) {
    const auto [width, height, right, down] = planes[c];
    if (width < 1 || height < 1 || width > 1 << 20 || height > 1 << 20 || right < 0 || down < 0 || right > kMostShift || down > kMostShift)
      throw py::value_error("a plane's shape is out of range");
    shape.plane[c] = {width, height, right, down};
    const PlaneShape& luma = shape.plane[0];
    if (width != (luma.width + (1 << right) - 1) >> right || height != (luma.height + (1 << down) - 1) >> down)
      throw py::value_error("a plane does not fit the first one");
  }
  if (shape.frame_samples() > size_t{1} << 30) throw py::value_error("a frame has too many samples");
  if (strips < 1 || strips > most_strips(shape)) throw py::value_error("the number of strips is out of range");
  shape.strips = strips;
  return shape;
}

// For each number of planes that a plane sees its layers.
class Networks {
 public:
  explicit Networks(const std::vector<std::vector<lmc::layers::GivenLayer>>& places) {
    if (places.size() != kNetworks) throw py::value_error("there are three networks");
    for (const auto& layers : places) {
      const bool wide = !layers.empty() && std::get<0>(layers[0]).ndim() == 2 && std::get<0>(layers[0]).shape(1) == kWideInputs;
      networks_.push_back(lmc::layers::network_of(layers, wide ? kWideInputs : kInputs));
      if (inputs_of(networks_.back()) != inputs_of(networks_[0])) throw py::value_error("the networks have different inputs");
    }
  }
  const Network* data() const { return networks_.data(); }
  int inputs() const { return inputs_of(networks_[0]); }

 private:
  static int inputs_of(const Network& network) { return network.layers[0].inputs; }
  std::vector<Network> networks_;
};

// The networks' layers; the shape gets to know what they see.
const Network* data_of(const Networks* networks, Shape& shape) {
  if (networks == nullptr) return nullptr;
  shape.inputs = networks->inputs();
  return networks->data();
}

void check(const Samples& samples, const Shape& shape) {
  if (static_cast<size_t>(samples.size()) != shape.frame_samples() * static_cast<size_t>(shape.frames))
    throw py::value_error("samples are frames, each its planes, each its rows");
  const uint16_t* data = samples.data();
  for (py::ssize_t i = 0; i < samples.size(); ++i)
    if (data[i] >> shape.depth != 0) throw py::value_error("a sample has more bits than it may");
}

std::vector<py::bytes> video_encode(const Samples& samples, int64_t frames, const Planes& planes, int depth, int effort, int strips, const Networks* networks,
                                    int threads, const py::object& progress, const std::string& variant) {
  Shape shape = shape_of(frames, planes, depth, effort, strips);
  const Network* const layers = data_of(networks, shape);
  check(samples, shape);
  const uint16_t* data = samples.data();
  std::vector<std::vector<uint8_t>> out;
  {
    const Progress report = lmc::reporting(progress);
    py::gil_scoped_release unlock;
    out = variant_by_name(variant).encode(shape, layers, data, threads, report);
  }
  std::vector<py::bytes> payloads;
  for (const auto& part : out) payloads.push_back(lmc::to_bytes(part));
  return payloads;
}

Samples video_decode(const std::vector<py::bytes>& payloads, int64_t frames, const Planes& planes, int depth, int effort, int strips,
                     const Networks* networks, int threads, const py::object& progress, const std::string& variant) {
  Shape shape = shape_of(frames, planes, depth, effort, strips);
  const Network* const layers = data_of(networks, shape);
  if (payloads.size() != static_cast<size_t>(strips) + 1) throw py::value_error("there is a payload of vectors and one for each strip");
  std::vector<std::pair<const uint8_t*, size_t>> views;
  size_t size = 0;
  for (const py::bytes& payload : payloads) {
    const std::string_view view = payload;
    views.emplace_back(reinterpret_cast<const uint8_t*>(view.data()), view.size());
    size += view.size();
  }
  // A sample takes a decision at least, and none costs less than 1.3 millionths of a bit.
  const size_t count = shape.frame_samples() * static_cast<size_t>(frames);
  if (static_cast<uint64_t>(count) >> 23 > uint64_t{size} + 8 * views.size()) throw lmc::Damaged("the payload cannot hold so many samples");
  Samples samples(static_cast<py::ssize_t>(count));
  uint16_t* data = samples.mutable_data();
  bool right;
  {
    const Progress report = lmc::reporting(progress);
    py::gil_scoped_release unlock;
    right = variant_by_name(variant).decode(shape, layers, views, data, threads, report);
  }
  if (!right) throw lmc::Damaged("the coded bits lead nowhere");
  return samples;
}

py::list video_rows(const Samples& samples, int64_t frames, const Planes& planes, int depth, int effort, int strips, int every) {
  Shape shape = shape_of(frames, planes, depth, effort, strips);
  shape.inputs = kWideInputs;
  check(samples, shape);
  if (every < 1) throw py::value_error("no sample would be kept");
  std::vector<std::vector<Row>> rows;
  const uint16_t* data = samples.data();
  {
    py::gil_scoped_release unlock;
    rows = variant_by_name("").record(shape, data, every);
  }
  py::list all;
  for (const std::vector<Row>& plane : rows) {
    const auto n = static_cast<py::ssize_t>(plane.size());
    py::array_t<uint8_t> inputs({n, static_cast<py::ssize_t>(kWideInputs)});
    py::array_t<int32_t> numbers({n, py::ssize_t{4}});
    uint8_t* in = inputs.mutable_data();
    int32_t* to = numbers.mutable_data();
    for (const Row& r : plane) {
      for (const uint8_t v : r.inputs) *in++ = v;
      for (const int32_t v : {r.centre, r.scale, r.value, r.cost}) *to++ = v;
    }
    all.append(py::make_tuple(inputs, numbers));
  }
  return all;
}

}  // namespace

void bind_video(py::module_& m) {
  py::class_<Networks>(m, "VideoNetworks", "The networks of the video model: for each number of planes that a plane sees its layers.")
      .def(py::init<const std::vector<std::vector<lmc::layers::GivenLayer>>&>(), py::arg("places"));
  m.def("video_encode", &video_encode, py::arg("samples"), py::arg("frames"), py::arg("planes"), py::arg("depth"), py::arg("effort"),
        py::arg("strips"), py::arg("networks") = py::none(), py::arg("threads") = 0, py::arg("progress") = py::none(), py::arg("variant") = "",
        "Code the samples of a segment; planes: width, height, and log2 of the columns and rows of luma that a sample stands for. "
        "Gives the vectors, then each strip.");
  m.def("video_decode", &video_decode, py::arg("payloads"), py::arg("frames"), py::arg("planes"), py::arg("depth"), py::arg("effort"),
        py::arg("strips"), py::arg("networks") = py::none(), py::arg("threads") = 0, py::arg("progress") = py::none(), py::arg("variant") = "",
        "The samples that video_encode coded. Raises Damaged.");
  m.def("video_rows", &video_rows, py::arg("samples"), py::arg("frames"), py::arg("planes"), py::arg("depth"), py::arg("effort"),
        py::arg("strips"), py::arg("every"),
        "For each plane what its network sees of every so manieth sample, in coding order: inputs; and centre, scale, value, and what "
        "the sample costs without a network, in units of 2^-12 of a nat.");
  m.def("video_bytes", [](const Planes& planes, int strips) {
    return segment_bytes(shape_of(1, planes, 8, 0, strips));
  }, py::arg("planes"), py::arg("strips"), "Bytes that video_decode takes at most, beside its result.");
  m.def("video_most_strips", [](const Planes& planes) {
    return most_strips(shape_of(1, planes, 8, 0, 1));
  }, py::arg("planes"), "The greatest number of strips.");
  m.def("video_variants", &variant_names, "Instruction sets that the video model runs on here.");
}
