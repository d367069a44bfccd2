// The Python face of deflate streams, their checksums, and the filters of PNG.
#include <pybind11/numpy.h>

#include <array>
#include <string_view>

#include "bind_coding.hpp"
#include "deflate.hpp"
#include "module.hpp"
#include "png_filter.hpp"

namespace py = pybind11;

namespace {

using lmc::to_bytes;

const uint8_t* pointer(std::string_view v) { return reinterpret_cast<const uint8_t*>(v.data()); }

py::object inflate(const py::bytes& data, size_t expected, int window_bits, size_t most, bool exact) {
  const std::string_view view = data;
  std::optional<lmc::deflate::Stream> stream;
  std::optional<std::vector<uint8_t>> recipe;
  {
    py::gil_scoped_release unlock;
    if (expected < (size_t{1} << 31)) stream = lmc::deflate::inflate(pointer(view), view.size(), expected, exact);
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
    if (what.size() < size_t{1} << 31) {
      stream = lmc::deflate::rebuild(pointer(how), how.size(), pointer(what), what.size());
    }
  }
  if (!stream) throw lmc::Damaged("the recipe of a deflate stream leads nowhere");
  return to_bytes(*stream);
}

py::bytes deflate_plain(const py::bytes& bytes) {
  const std::string_view view = bytes;
  if (view.size() >= size_t{1} << 31) throw py::value_error("too long for a stream");
  std::vector<uint8_t> out;
  {
    py::gil_scoped_release unlock;
    out = lmc::deflate::compress(pointer(view), view.size());
  }
  return to_bytes(out);
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

void check_rows(size_t size, size_t rows, size_t width, size_t step) {
  if (width == 0 || step == 0 || size / width < rows || size != rows * width) {
    throw py::value_error("not so many rows of that width");
  }
}

py::object png_unfilter(const py::bytes& data, size_t rows, size_t width, size_t step) {
  const std::string_view view = data;
  check_rows(view.size(), rows, width + 1, step);
  std::vector<uint8_t> out(rows * width), filters(rows), zeros(width);
  const uint8_t* above = zeros.data();
  for (size_t y = 0; y < rows; ++y) {
    const uint8_t* in = pointer(view) + y * (width + 1);
    if (*in >= lmc::png::kFilters) return py::none();
    filters[y] = *in;
    uint8_t* row = out.data() + y * width;
    lmc::png::unfilter_row(*in, in + 1, above, width, step, row);
    above = row;
  }
  return py::make_tuple(to_bytes(out), to_bytes(filters));
}

py::bytes png_filter(const py::bytes& data, const py::bytes& filters, size_t width, size_t step) {
  const std::string_view view = data, how = filters;
  check_rows(view.size(), how.size(), width, step);
  std::vector<uint8_t> out(how.size() * (width + 1)), zeros(width);
  const uint8_t* above = zeros.data();
  for (size_t y = 0; y < how.size(); ++y) {
    const uint8_t* row = pointer(view) + y * width;
    uint8_t* to = out.data() + y * (width + 1);
    *to = static_cast<uint8_t>(how[y]);
    if (*to >= lmc::png::kFilters) throw lmc::Damaged("there is no such filter");
    lmc::png::filter_row(*to, row, above, width, step, to + 1);
    above = row;
  }
  return to_bytes(out);
}

py::bytes png_usual_filters(const py::bytes& data, size_t rows, size_t width, size_t step) {
  const std::string_view view = data;
  check_rows(view.size(), rows, width, step);
  std::vector<uint8_t> out(rows), zeros(width), scratch(width);
  const uint8_t* above = zeros.data();
  for (size_t y = 0; y < rows; ++y) {
    const uint8_t* row = pointer(view) + y * width;
    out[y] = static_cast<uint8_t>(lmc::png::usual_filter(row, above, width, step, scratch.data()));
    above = row;
  }
  return to_bytes(out);
}

}  // namespace

void bind_deflate(py::module_& m) {
  m.def("inflate", &inflate, py::arg("stream"), py::arg("size"), py::arg("window_bits"), py::arg("most"),
        py::arg("exact") = true,
        "The bytes of a deflate stream of `size` bytes (or at most so many, if not exact), the recipe to\n"
        "write it again, and the bytes that it takes of `stream`; None if it is damaged or its recipe is\n"
        "longer than `most`.");
  m.def("deflate", &deflate, py::arg("recipe"), py::arg("content"),
        "The stream that `inflate` made this recipe of. Raises Damaged.");
  m.def("deflate_plain", &deflate_plain, py::arg("content"), "A deflate stream of content, with a short recipe.");
  m.def("crc32", &crc32, py::arg("data"), "CRC-32 as in PNG and gzip.");
  m.def("adler32", &adler32, py::arg("data"), "Adler-32 as in zlib (RFC 1950).");
  m.def("png_unfilter", &png_unfilter, py::arg("data"), py::arg("rows"), py::arg("width"), py::arg("step"),
        "Rows of `width` bytes, each behind its filter: the bytes without filters, and the filters.\n"
        "`step` is how far back the pixel to the left is. None if there is no such filter.");
  m.def("png_filter", &png_filter, py::arg("data"), py::arg("filters"), py::arg("width"), py::arg("step"),
        "The inverse of png_unfilter. Raises Damaged if there is no such filter.");
  m.def("png_usual_filters", &png_usual_filters, py::arg("data"), py::arg("rows"), py::arg("width"), py::arg("step"),
        "The filters that libpng would take for these rows.");
}
