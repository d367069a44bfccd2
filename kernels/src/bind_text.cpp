// Python face of the text codec's loops (textframe.hpp) and of byte frames.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "module.hpp"
#include "textframe.hpp"

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

constexpr uint32_t kMaxSize = 1u << 30;     // of a frame (FORMAT.md, section 3)
constexpr size_t kReportBytes = 1u << 12;   // how often progress is told at least

struct Encoder {
  lmc::RangeEncoder coder;
  int operator()(int bit, uint32_t p) {
    coder.encode(bit, p);
    return bit;
  }
};

struct Decoder {
  lmc::RangeDecoder coder;
  int operator()(int, uint32_t p) {
    const int bit = coder.decode(p);
    if (coder.damaged()) throw lmc::Damaged("the coded bits lead nowhere");
    return bit;
  }
};

// Tells Python how far the work is and lets it stop the work: by an exception
// of the callback, or by a signal (Ctrl-C).
class Reporter {
 public:
  explicit Reporter(const py::object& callback) : callback_(callback) {}
  void operator()(size_t done) {
    if (done - last_ < kReportBytes) return;
    last_ = done;
    py::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!callback_.is_none()) callback_(done);
  }

 private:
  const py::object& callback_;
  size_t last_ = 0;
};

py::bytes to_bytes(const std::vector<uint8_t>& out) {
  return py::bytes(reinterpret_cast<const char*>(out.data()), out.size());
}

std::string_view view_of(const py::buffer_info& info) {
  if (info.itemsize != 1 || info.ndim != 1 || info.strides[0] != 1) {
    throw py::value_error("a contiguous run of bytes is needed");
  }
  if (info.size > static_cast<py::ssize_t>(kMaxSize)) throw py::value_error("too long for a frame");
  return {static_cast<const char*>(info.ptr), static_cast<size_t>(info.size)};
}

void check_profile(int number) {
  if (number < 1 || number > 3) throw py::value_error("no such profile of byte models");
}

using lmc::mixer::Profile;

template <class Bits>
void code_bytes(int profile, const uint8_t* data, uint8_t* out, size_t size, Bits& bits,
                Reporter& report) {
  py::gil_scoped_release unlock;
  lmc::mixer::code_bytes(static_cast<Profile>(profile), data, out, static_cast<uint32_t>(size), bits,
                         std::ref(report));
}

py::bytes encode_bytes(int profile, const py::buffer& data, const py::object& progress) {
  const py::buffer_info info = data.request();
  const std::string_view view = view_of(info);
  check_profile(profile);
  if (view.empty()) return {};
  Encoder bits;
  Reporter report(progress);
  code_bytes(profile, reinterpret_cast<const uint8_t*>(view.data()), nullptr, view.size(), bits,
             report);
  return to_bytes(std::move(bits.coder).bytes());
}

py::bytes decode_bytes(int profile, const py::bytes& payload, uint32_t size,
                       const py::object& progress) {
  if (size == 0 || size > kMaxSize) throw py::value_error("no such size of a frame");
  check_profile(profile);
  const std::string_view view = payload;
  // A decision costs at least 1.3 millionths of a bit, so a size that the payload cannot hold is
  // refused before memory is taken for it.
  if (size > (view.size() + 8) << 20) throw lmc::Damaged("the frame cannot hold so many bytes");
  Decoder bits{{reinterpret_cast<const uint8_t*>(view.data()), view.size()}};
  Reporter report(progress);
  // Not a bytes object yet: it would be filled with the lock released.
  const std::unique_ptr<uint8_t[]> out(new uint8_t[size]);
  code_bytes(profile, nullptr, out.get(), size, bits, report);
  return {reinterpret_cast<const char*>(out.get()), size};
}

// Bytes that the byte models of a profile take at most for a frame of `size` bytes.
uint64_t mixer_bytes(int profile, uint64_t size) {
  const uint64_t most = profile == 1 ? uint64_t{100} << 20 : uint64_t{600} << 20;
  return std::min(most, (uint64_t{32} << 20) + 400 * size) + size;
}

void check_layout(const lmc::Layout& layout, uint32_t size) {
  if (size == 0 || size > kMaxSize) throw py::value_error("no such size of a frame");
  if (layout.lanes == 0 || layout.lanes > 256 || layout.lanes > size) {
    throw py::value_error("no such number of lanes");
  }
  if (layout.window == 0 || layout.window + layout.anchor > 4096) {
    throw py::value_error("no such window");
  }
}

py::bytes encode_network(lmc::Network& network, const lmc::Vocabulary& vocabulary, uint32_t lanes,
                         uint32_t window, uint32_t anchor, uint32_t size,
                         const Array<int32_t>& tokens, const Array<uint32_t>& counts,
                         const py::object& progress) {
  const lmc::Layout layout{lanes, window, anchor};
  check_layout(layout, size);
  if (counts.size() != static_cast<py::ssize_t>(lanes)) throw py::value_error("one count a lane");
  const int32_t* token = tokens.data();
  const int32_t* last = token + tokens.size();
  for (uint32_t l = 0, start = 0; l < lanes; ++l) {
    const uint32_t end = lmc::lane_end(size, lanes, l);
    uint64_t spelt = 0;
    for (uint32_t i = 0; i < counts.data()[l]; ++i) {
      if (token == last) throw py::value_error("fewer tokens than counted");
      const int32_t id = *token++;
      if (id < 0 || static_cast<uint32_t>(id) >= vocabulary.size()) {
        throw py::value_error("no such token");
      }
      spelt += vocabulary.length(static_cast<uint32_t>(id));
    }
    if (spelt != end - start) throw py::value_error("the tokens do not spell their lane");
    start = end;
  }
  Encoder bits;
  Reporter report(progress);
  {
    py::gil_scoped_release unlock;
    lmc::NetworkFrame<Encoder> frame(network, vocabulary, layout, size, bits);
    frame.run(tokens.data(), counts.data(), std::ref(report));
  }
  return to_bytes(std::move(bits.coder).bytes());
}

py::bytes decode_network(lmc::Network& network, const lmc::Vocabulary& vocabulary, uint32_t lanes,
                         uint32_t window, uint32_t anchor, uint32_t size, const py::bytes& payload,
                         const py::object& progress) {
  const lmc::Layout layout{lanes, window, anchor};
  check_layout(layout, size);
  const std::string_view view = payload;
  Decoder bits{{reinterpret_cast<const uint8_t*>(view.data()), view.size()}};
  Reporter report(progress);
  std::unique_ptr<lmc::NetworkFrame<Decoder>> frame;
  {
    py::gil_scoped_release unlock;
    frame = std::make_unique<lmc::NetworkFrame<Decoder>>(network, vocabulary, layout, size, bits);
    frame->run(nullptr, nullptr, std::ref(report));
  }
  return {reinterpret_cast<const char*>(frame->bytes()), size};
}

std::unique_ptr<lmc::Vocabulary> make_vocabulary(const Array<uint8_t>& bytes,
                                                 const Array<uint32_t>& offsets) {
  return std::make_unique<lmc::Vocabulary>(
      std::vector<uint8_t>(bytes.data(), bytes.data() + bytes.size()),
      std::vector<uint32_t>(offsets.data(), offsets.data() + offsets.size()));
}

// For the tests: one distribution, and a bias that learns from logits.
Array<uint32_t> token_weights(const Array<int32_t>& logits, const std::optional<Array<int32_t>>& bias) {
  if (bias && bias->size() != logits.size()) throw py::value_error("logits and bias differ in length");
  lmc::Distribution distribution(static_cast<uint32_t>(logits.size()));
  distribution.assign(logits.data(), bias ? bias->data() : nullptr);
  Array<uint32_t> out(logits.size());
  std::copy_n(distribution.weights(), logits.size(), out.mutable_data());
  return out;
}

void learn(lmc::Bias& bias, const Array<int32_t>& logits, uint32_t token) {
  const uint32_t n = bias.size();
  if (logits.size() != static_cast<py::ssize_t>(n) || token >= n) throw py::value_error("bad token");
  lmc::Distribution seen(n);
  seen.assign(logits.data(), bias.values());
  bias.learn(seen, token, 0, n);
}

Array<int32_t> values(const lmc::Bias& bias) {
  return Array<int32_t>(static_cast<py::ssize_t>(bias.size()), bias.values());
}

}  // namespace

void bind_text(py::module_& m) {
  m.def("token_weights", &token_weights, py::arg("logits"), py::arg("bias") = py::none(),
        "The weights of all tokens (ARITHMETIC.md, \"The distribution over tokens\").");
  py::class_<lmc::Bias>(m, "Bias", "The online bias of all tokens.")
      .def(py::init<uint32_t>(), py::arg("vocabulary"))
      .def("learn", &learn, py::arg("logits"), py::arg("token"))
      .def_property_readonly("values", &values);
  py::register_exception<lmc::Damaged>(m, "Damaged", PyExc_ValueError);
  py::class_<lmc::Vocabulary>(m, "Vocabulary", "The sorted token table, walked as a trie.")
      .def(py::init(&make_vocabulary), py::arg("bytes"), py::arg("offsets"))
      .def("__len__", &lmc::Vocabulary::size);
  m.def("mixer_bytes", &mixer_bytes, py::arg("profile"), py::arg("size"),
        "Bytes that the byte models of a profile take at most for so many bytes of content.");
  m.def("encode_bytes", &encode_bytes, py::arg("profile"), py::arg("data"),
        py::arg("progress") = py::none(), "Code bytes by the byte models alone.");
  m.def("decode_bytes", &decode_bytes, py::arg("profile"), py::arg("payload"), py::arg("size"),
        py::arg("progress") = py::none(), "The bytes that encode_bytes coded.");
  m.def("encode_network", &encode_network, py::arg("network"), py::arg("vocabulary"),
        py::arg("lanes"), py::arg("window"), py::arg("anchor"), py::arg("size"), py::arg("tokens"),
        py::arg("counts"), py::arg("progress") = py::none(),
        "Code tokens, counts[l] of them spelling lane l, by network and byte models mixed.");
  m.def("decode_network", &decode_network, py::arg("network"), py::arg("vocabulary"),
        py::arg("lanes"), py::arg("window"), py::arg("anchor"), py::arg("size"),
        py::arg("payload"), py::arg("progress") = py::none(),
        "The bytes that encode_network coded.");
}
