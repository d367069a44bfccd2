// Python face of byte pair encoding (merges.hpp).
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string_view>
#include <vector>

#include "merges.hpp"
#include "module.hpp"

namespace py = pybind11;

namespace {

using Ids = py::array_t<int32_t>;

std::unique_ptr<lmc::Merges> make(const lmc::Vocabulary& vocabulary, std::string_view merges, bool gpt2, bool contractions, int numbers,
                                  bool whole) {
  if (numbers < 0 || (!gpt2 && numbers == 0)) throw py::value_error("no such number of numbers");
  py::gil_scoped_release release;
  return std::make_unique<lmc::Merges>(vocabulary, merges, lmc::PieceRules{gpt2, contractions, numbers}, whole);
}

std::vector<Ids> encode(const lmc::Merges& merges, const std::vector<py::bytes>& texts) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  std::vector<int32_t> ids;
  std::vector<uint32_t> counts;
  {
    py::gil_scoped_release release;
    merges.encode(views, ids, counts);
  }
  std::vector<Ids> out;
  const int32_t* at = ids.data();
  for (const uint32_t count : counts) {
    out.emplace_back(static_cast<py::ssize_t>(count), at);
    at += count;
  }
  return out;
}

}  // namespace

void bind_merges(py::module_& m) {
  py::class_<lmc::Merges>(m, "Merges", "Byte pair encoding: a text's tokens.")
      .def(py::init(&make), py::arg("vocabulary"), py::arg("merges"), py::arg("gpt2"), py::arg("contractions"), py::arg("numbers"),
           py::arg("whole"), py::keep_alive<1, 2>(),
           "merges: lines \"left right\" in GPT-2's alphabet, first come, first served. How text is cut into pieces before:\n"
           "see PieceRules. whole: a piece that is a token becomes that one. Raises ValueError for a line that is none.")
      .def("encode", &encode, py::arg("texts"), "The tokens of texts in UTF-8; other threads go on.");
}
