// The Python face of deflate streams, their checksums, and the filters of PNG.
#include <pybind11/numpy.h>

#include <array>
#include <string_view>

#include "deflate.hpp"
#include "module.hpp"
#include "textframe.hpp"

namespace py = pybind11;

namespace {

py::bytes to_bytes(const std::vector<uint8_t>& v) { return py::bytes(reinterpret_cast<const char*>(v.data()), v.size()); }

const uint8_t* pointer(std::string_view v) { return reinterpret_cast<const uint8_t*>(v.data()); }

py::object inflate(const py::bytes& data, size_t expected, int window_bits, size_t most) {
  const std::string_view view = data;
  std::optional<lmc::deflate::Stream> stream;
  std::optional<std::vector<uint8_t>> recipe;
  {
    py::gil_scoped_release unlock;
    if (expected < (size_t{1} << 31)) stream = lmc::deflate::inflate(pointer(view), view.size(), expected);
    if (stream) recipe = lmc::deflate::describe(*stream, window_bits, most);
  }
  if (!recipe) return py::none();
  return py::make_tuple(to_bytes(stream->bytes), to_bytes(*recipe), stream->size);
}

py::bytes deflate(const py::bytes& recipe, const py::bytes& bytes) {
  const std::string_view how = recipe, what = bytes;
  std::optional<std::vector<uint8_t>> stream;
  {
    py::gil_scoped_release unlock;
    if (what.size() < size_t{1} << 31) stream = lmc::deflate::rebuild(pointer(how), how.size(), pointer(what), what.size());
  }
  if (!stream) throw lmc::Damaged("the recipe of a deflate stream leads nowhere");
  return to_bytes(*stream);
}

uint32_t crc32(const py::bytes& data) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = (c & 1) ? c >> 1 ^ 0xEDB88320u : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  uint32_t c = 0xFFFFFFFFu;
  for (char b : std::string_view(data)) c = table[(c ^ static_cast<uint8_t>(b)) & 255] ^ c >> 8;
  return ~c;
}

uint32_t adler32(const py::bytes& data) {
  uint32_t a = 1, b = 0;
  for (char c : std::string_view(data)) {
    a = (a + static_cast<uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

}  // namespace

void bind_deflate(py::module_& m) {
  m.def("inflate", &inflate, py::arg("stream"), py::arg("size"), py::arg("window_bits"), py::arg("most"),
        "The bytes of a deflate stream of exactly `size` bytes, the recipe to write it again, and the\n"
        "bytes that it takes of `stream`; None if it is damaged or its recipe longer than `most`.");
  m.def("deflate", &deflate, py::arg("recipe"), py::arg("bytes"),
        "The stream that `inflate` made this recipe of. Raises Damaged.");
  m.def("crc32", &crc32, py::arg("data"), "CRC-32 as in PNG and gzip.");
  m.def("adler32", &adler32, py::arg("data"), "Adler-32 as in zlib (RFC 1950).");
}
