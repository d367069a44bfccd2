// Python face of the range coder, for lmc/coder.py and its tests.
#include <pybind11/numpy.h>

#include <string_view>
#include <vector>

#include "module.hpp"
#include "rangecoder.hpp"

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

void check_probabilities(const Array<uint32_t>& p) {
  const uint32_t* data = p.data();
  for (py::ssize_t i = 0; i < p.size(); ++i) {
    if (data[i] == 0 || data[i] >> lmc::kProbBits) {
      throw py::value_error("a probability lies outside 1 .. 2^24 - 1");
    }
  }
}

lmc::RangeEncoder encode(const Array<uint8_t>& bits, const Array<uint32_t>& p) {
  if (bits.size() != p.size()) throw py::value_error("bits and probabilities differ in length");
  check_probabilities(p);
  lmc::RangeEncoder encoder;
  for (py::ssize_t i = 0; i < bits.size(); ++i) encoder.encode(bits.data()[i] != 0, p.data()[i]);
  return encoder;
}

py::bytes encode_bits(const Array<uint8_t>& bits, const Array<uint32_t>& p) {
  const std::vector<uint8_t> out = encode(bits, p).bytes();
  return py::bytes(reinterpret_cast<const char*>(out.data()), out.size());
}

Array<uint32_t> encode_words(const Array<uint8_t>& bits, const Array<uint32_t>& p) {
  const std::vector<uint32_t> out = encode(bits, p).words();
  return Array<uint32_t>(static_cast<py::ssize_t>(out.size()), out.data());
}

Array<uint8_t> decode_bits(const py::bytes& payload, const Array<uint32_t>& p) {
  check_probabilities(p);
  const std::string_view view = payload;
  lmc::RangeDecoder decoder(reinterpret_cast<const uint8_t*>(view.data()), view.size());
  Array<uint8_t> bits(p.size());
  uint8_t* out = bits.mutable_data();
  for (py::ssize_t i = 0; i < p.size(); ++i) {
    out[i] = static_cast<uint8_t>(decoder.decode(p.data()[i]));
  }
  return bits;
}

}  // namespace

void bind_coder(py::module_& m) {
  m.def("encode_bits", &encode_bits, py::arg("bits"), py::arg("p"),
        "Range-code decisions; p[i] is the probability of a 1 in units of 2^-24.");
  m.def("encode_words", &encode_words, py::arg("bits"), py::arg("p"),
        "The same stream as constriction's 32-bit words, ended as constriction ends it.");
  m.def("decode_bits", &decode_bits, py::arg("payload"), py::arg("p"),
        "The decisions that encode_bits coded with the same probabilities.");
}
