// The Python face of FLAC frames.
#include <pybind11/numpy.h>

#include <string_view>

#include "bind_coding.hpp"
#include "flac.hpp"
#include "module.hpp"

namespace py = pybind11;

namespace {

using Samples = py::array_t<int32_t, py::array::c_style>;

void check(int channels, int bits) {
  if (channels < 1 || channels > 8 || bits < 4 || bits > 32) throw py::value_error("no such samples in FLAC");
}

template <typename T>
py::array_t<T> to_array(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::object flac_read(const py::bytes& data, size_t start, int channels, int bits, size_t most) {
  const std::string_view view = data;
  check(channels, bits);
  if (start > view.size()) throw py::value_error("the frames begin behind the end");
  std::optional<lmc::flac::Sound> sound;
  {
    py::gil_scoped_release unlock;
    const auto* bytes = reinterpret_cast<const uint8_t*>(view.data());
    sound = lmc::flac::read(bytes + start, view.size() - start, channels, bits, most);
  }
  if (!sound) return py::none();
  const size_t count = sound->samples[0].size();
  Samples samples({static_cast<size_t>(channels), count});
  for (size_t c = 0; c < sound->samples.size(); ++c) {
    std::copy(sound->samples[c].begin(), sound->samples[c].end(), samples.mutable_data() + c * count);
  }
  return py::make_tuple(samples, lmc::to_bytes(sound->recipe), sound->size, to_array(sound->frames.sizes),
                        to_array(sound->frames.blocks));
}

py::tuple flac_write(const py::bytes& recipe, const Samples& samples, int bits) {
  const std::string_view how = recipe;
  if (samples.ndim() != 2) throw py::value_error("samples are (channels, time)");
  const int channels = static_cast<int>(std::min<py::ssize_t>(samples.shape(0), 9));
  const size_t count = static_cast<size_t>(samples.shape(1));
  check(channels, bits);
  const int32_t* rows[8] = {};
  for (int c = 0; c < channels; ++c) rows[c] = samples.data() + static_cast<size_t>(c) * count;
  std::optional<lmc::flac::Frames> frames;
  {
    py::gil_scoped_release unlock;
    frames = lmc::flac::write(reinterpret_cast<const uint8_t*>(how.data()), how.size(), rows, channels, bits, count);
  }
  if (!frames) throw lmc::Damaged("the recipe of a FLAC file leads nowhere");
  return py::make_tuple(lmc::to_bytes(frames->bytes), to_array(frames->sizes), to_array(frames->blocks));
}

}  // namespace

void bind_flac(py::module_& m) {
  m.def("flac_read", &flac_read, py::arg("data"), py::arg("start"), py::arg("channels"), py::arg("bits"),
        py::arg("most"),
        "The FLAC frames from a place on: samples (channels, time), the recipe to write the frames again,\n"
        "the bytes that they take, and bytes and samples of each; None if they are damaged or have more\n"
        "than `most` samples.");
  m.def("flac_write", &flac_write, py::arg("recipe"), py::arg("samples"), py::arg("bits"),
        "The frames that `flac_read` made this recipe of, and bytes and samples of each. Raises Damaged.");
}
