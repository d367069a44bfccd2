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

#include "bind_coding.hpp"
#include "module.hpp"
#include "textframe.hpp"

namespace py = pybind11;

namespace {

using lmc::Decoder;
using lmc::Encoder;
using lmc::Reporter;
using lmc::to_bytes;
using lmc::mixer::Profile;
using lmc::mixer::Start;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

constexpr uint32_t kMaxSize = 1u << 30;     // of a frame (FORMAT.md, section 3)
constexpr size_t kReportBytes = 1u << 12;   // how often progress is told at least

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

// The start of a mixer as Python has it: little-endian uint32 in bytes, none if empty.
class StartBytes {
 public:
  explicit StartBytes(const py::buffer& buffer) : info_(buffer.request()) {
    if (info_.itemsize * info_.size % 4 != 0 || (info_.ndim == 1 && info_.strides[0] != info_.itemsize)) {
      throw py::value_error("a start is a run of 32-bit numbers");
    }
    const auto* bytes = static_cast<const uint8_t*>(info_.ptr);
    values_.resize(static_cast<size_t>(info_.itemsize * info_.size) / 4);
    for (size_t i = 0; i < values_.size(); ++i, bytes += 4) {
      values_[i] = bytes[0] | uint32_t{bytes[1]} << 8 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
    }
  }
  Start start() const { return {values_.data(), values_.size()}; }

 private:
  py::buffer_info info_;
  std::vector<uint32_t> values_;
};

py::bytes from_start(const std::vector<uint32_t>& values) {
  std::vector<uint8_t> out;
  for (uint32_t v : values) {
    for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<uint8_t>(v >> shift));
  }
  return to_bytes(out);
}

template <class Bits>
std::vector<uint32_t> code_bytes(int profile, Start start, const uint8_t* data, uint8_t* out, size_t size, Bits& bits,
                                 Reporter& report, bool learn = false) {
  py::gil_scoped_release unlock;
  return lmc::mixer::code_bytes(static_cast<Profile>(profile), start, data, out, static_cast<uint32_t>(size), bits,
                                std::ref(report), learn);
}

template <class F>
auto of_plan(int profile, F&& f) {
  if (profile < 1 || profile > 5) throw py::value_error("no such profile of byte models");
  return lmc::mixer::with_mixer(static_cast<Profile>(profile), {0}, {}, false, [&](auto mixer) { return f(*mixer); });
}
size_t start_size(int profile) {
  return of_plan(profile, [](const auto& mixer) { return mixer.learned_size(); });
}
size_t start_weights(int profile) {
  return of_plan(profile, [](const auto& mixer) { return mixer.learned_weights(); });
}
py::bytes unlearned(int profile) {
  return from_start(of_plan(profile, [](const auto& mixer) { return mixer.learned(); }));
}

// What a mixer has learned from `data`, going on from a start.
py::bytes learn_bytes(int profile, const py::buffer& data, const py::buffer& start) {
  const py::buffer_info info = data.request();
  const std::string_view view = view_of(info);
  check_profile(profile);
  Encoder bits;
  const py::none nobody;
  Reporter report(nobody, kReportBytes);
  return from_start(code_bytes(profile, StartBytes(start).start(), reinterpret_cast<const uint8_t*>(view.data()),
                               nullptr, view.size(), bits, report, true));
}

py::bytes encode_bytes(int profile, const py::buffer& data, const py::object& progress, const py::buffer& start) {
  const py::buffer_info info = data.request();
  const std::string_view view = view_of(info);
  check_profile(profile);
  if (view.empty()) return {};
  Encoder bits;
  Reporter report(progress, kReportBytes);
  code_bytes(profile, StartBytes(start).start(), reinterpret_cast<const uint8_t*>(view.data()), nullptr, view.size(),
             bits, report);
  return to_bytes(std::move(bits.coder).bytes());
}

py::bytes decode_bytes(int profile, const py::bytes& payload, uint32_t size,
                       const py::object& progress, const py::buffer& start) {
  if (size == 0 || size > kMaxSize) throw py::value_error("no such size of a frame");
  check_profile(profile);
  const std::string_view view = payload;
  // A decision costs at least 1.3 millionths of a bit, so a size that the payload cannot hold is
  // refused before memory is taken for it.
  if (size > (view.size() + 8) << 20) throw lmc::Damaged("the frame cannot hold so many bytes");
  Decoder bits(view);
  Reporter report(progress, kReportBytes);
  // Not a bytes object yet: it would be filled with the lock released.
  const std::unique_ptr<uint8_t[]> out(new uint8_t[size]);
  code_bytes(profile, StartBytes(start).start(), nullptr, out.get(), size, bits, report);
  return {reinterpret_cast<const char*>(out.get()), size};
}

// Bytes that the byte models of a profile take at most for a frame of `size` bytes.
uint64_t mixer_bytes(int profile, uint64_t size) {
  const uint64_t most = profile == 1 ? uint64_t{100} << 20 : uint64_t{600} << 20;
  return std::min(most, (uint64_t{32} << 20) + 400 * size) + size;
}

lmc::Layout layout_of(const std::vector<uint32_t>& ends, uint32_t window, uint32_t anchor) {
  lmc::Layout layout{ends, window, anchor};
  if (layout.ends.empty() || layout.ends.size() > 256) throw py::value_error("no such number of lanes");
  uint32_t last = 0;
  for (const uint32_t end : layout.ends) {
    if (end <= last) throw py::value_error("a lane has no bytes");
    last = end;
  }
  if (last > kMaxSize) throw py::value_error("no such size of a frame");
  if (window == 0 || window > 4096 || anchor > 4096 - window) throw py::value_error("no such window");
  return layout;
}

// Codes a frame by code(frame, pool), and calls done(frame) with what is then known.
template <class Bits, class C, class F>
auto code_network(lmc::Engine& network, const lmc::Vocabulary& vocabulary, const lmc::Layout& layout, Bits& bits,
                  Start start, C&& code, F&& done) {
  const std::shared_ptr<lmc::Pool> pool = network.pool();
  const auto with = [&](auto frame) {
    {
      py::gil_scoped_release unlock;
      code(*frame, *pool);
    }
    return done(*frame);
  };
  if (start.size == 0) {
    using Frame = lmc::NetworkFrame<Bits, Profile::network>;
    return with(std::make_unique<Frame>(network, *pool, vocabulary, layout, bits, start));
  }
  using Frame = lmc::NetworkFrame<Bits, Profile::network2>;
  return with(std::make_unique<Frame>(network, *pool, vocabulary, layout, bits, start));
}

py::object encode_network(lmc::Engine& network, const lmc::Vocabulary& vocabulary, const std::vector<uint32_t>& ends, uint32_t window,
                          uint32_t anchor, const Array<int32_t>& tokens, const Array<uint32_t>& counts,
                          const py::object& progress, const py::buffer& start, bool learn) {
  const lmc::Layout layout = layout_of(ends, window, anchor);
  if (counts.size() != static_cast<py::ssize_t>(ends.size())) throw py::value_error("one count a lane");
  const int32_t* token = tokens.data();
  const int32_t* last = token + tokens.size();
  for (uint32_t l = 0, begin = 0; l < layout.lanes(); ++l) {
    const uint32_t end = layout.ends[l];
    uint64_t spelt = 0;
    for (uint32_t i = 0; i < counts.data()[l]; ++i) {
      if (token == last) throw py::value_error("fewer tokens than counted");
      const int32_t id = *token++;
      if (id < 0 || static_cast<uint32_t>(id) >= vocabulary.size()) {
        throw py::value_error("no such token");
      }
      spelt += vocabulary.length(static_cast<uint32_t>(id));
    }
    if (spelt != end - begin) throw py::value_error("the tokens do not spell their lane");
    begin = end;
  }
  Encoder bits;
  Reporter report(progress, kReportBytes);
  const StartBytes from(start);
  const std::vector<uint32_t> learned =
      code_network(network, vocabulary, layout, bits, from.start(),
                   [&](auto& frame, lmc::Pool&) { frame.encode(tokens.data(), counts.data(), std::ref(report)); },
                   [&](const auto& frame) { return learn ? frame.learned() : std::vector<uint32_t>{}; });
  const py::bytes payload = to_bytes(std::move(bits.coder).bytes());
  if (learn) return py::make_tuple(payload, from_start(learned));
  return payload;
}

py::bytes decode_network(lmc::Engine& network, const lmc::Vocabulary& vocabulary, const std::vector<uint32_t>& ends, uint32_t window,
                         uint32_t anchor, const py::bytes& payload, const py::object& progress, const py::buffer& start,
                         lmc::draft::Statistics* speculation, const lmc::draft::Weights* draft) {
  const lmc::Layout layout = layout_of(ends, window, anchor);
  const uint32_t size = layout.ends.back();
  const std::string_view view = payload;
  Decoder bits(view);
  Reporter report(progress, kReportBytes);
  lmc::draft::Statistics statistics;  // several frames may be decoded at a time
  const auto code = [&](auto& frame, lmc::Pool& pool) {
    if (!speculation || layout.lanes() > 1) return frame.decode(std::ref(report));
    lmc::draft::Drafter drafter(size, draft, pool, statistics);
    frame.decode_guessing(drafter, std::ref(report));
  };
  return code_network(network, vocabulary, layout, bits, StartBytes(start).start(), code,
                      [&](const auto& frame) {
                        if (speculation) speculation->add(statistics);
                        return py::bytes(reinterpret_cast<const char*>(frame.bytes()), size);
                      });
}

std::unique_ptr<lmc::Vocabulary> make_vocabulary(const Array<uint8_t>& bytes,
                                                 const Array<uint32_t>& offsets) {
  return std::make_unique<lmc::Vocabulary>(
      std::vector<uint8_t>(bytes.data(), bytes.data() + bytes.size()),
      std::vector<uint32_t>(offsets.data(), offsets.data() + offsets.size()));
}

bool spells(const lmc::Vocabulary& vocabulary, const Array<int32_t>& ids, const py::buffer& data) {
  const py::buffer_info info = data.request();
  std::string_view left = view_of(info);
  const int32_t *id = ids.data(), *const end = id + ids.size();
  py::gil_scoped_release release;
  for (; id != end; ++id) {
    const auto token = static_cast<uint32_t>(*id);
    if (token >= vocabulary.size()) return false;
    const std::string_view bytes(reinterpret_cast<const char*>(vocabulary.bytes(token)), vocabulary.length(token));
    if (left.substr(0, bytes.size()) != bytes) return false;
    left.remove_prefix(bytes.size());
  }
  return left.empty();
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
      .def("__len__", &lmc::Vocabulary::size)
      .def("spells", &spells, py::arg("ids"), py::arg("data"),
           "Whether tokens, which may be out of range, stand for data; other threads go on.");
  m.def("mixer_bytes", &mixer_bytes, py::arg("profile"), py::arg("size"),
        "Bytes that the byte models of a profile take at most for so many bytes of content.");
  m.def("encode_bytes", &encode_bytes, py::arg("profile"), py::arg("data"),
        py::arg("progress") = py::none(), py::arg("start") = py::bytes(), "Code bytes by the byte models alone.");
  m.def("decode_bytes", &decode_bytes, py::arg("profile"), py::arg("payload"), py::arg("size"),
        py::arg("progress") = py::none(), py::arg("start") = py::bytes(), "The bytes that encode_bytes coded.");
  m.def("start_size", &start_size, py::arg("profile"), "Numbers in the start of a profile's mixer.");
  m.def("start_weights", &start_weights, py::arg("profile"), "How many of them are the mixer's own, the first ones.");
  m.def("unlearned", &unlearned, py::arg("profile"), "The start that is like none.");
  m.def("learn_bytes", &learn_bytes, py::arg("profile"), py::arg("data"), py::arg("start") = py::bytes(),
        "What the byte models have learned from data, for other content to start from.");
  m.def("encode_network", &encode_network, py::arg("network"), py::arg("vocabulary"),
        py::arg("ends"), py::arg("window"), py::arg("anchor"), py::arg("tokens"), py::arg("counts"),
        py::arg("progress") = py::none(), py::arg("start") = py::bytes(),
        py::arg("learn") = false,
        "Code tokens, counts[l] of them spelling lane l, which ends behind ends[l] bytes, by network and byte models mixed.\n"
        "With `learn` also what the byte models have learned.");
  m.def("decode_network", &decode_network, py::arg("network"), py::arg("vocabulary"),
        py::arg("ends"), py::arg("window"), py::arg("anchor"), py::arg("payload"),
        py::arg("progress") = py::none(), py::arg("start") = py::bytes(),
        py::arg("speculation") = nullptr, py::arg("draft") = nullptr,
        "The bytes that encode_network coded. With `speculation` a single lane is decoded by guesses, from its own past\n"
        "and from a draft network if there is one: the same bytes.");
  using lmc::draft::Statistics;
  py::class_<Statistics>(m, "Speculation", "What guesses did in the decoding of frames.")
      .def(py::init<>())
      .def_readonly("tokens", &Statistics::tokens)
      .def_readonly("passes", &Statistics::passes)
      .def_readonly("rows", &Statistics::rows)
      .def_readonly("offered", &Statistics::offered)
      .def_readonly("accepted", &Statistics::accepted)
      .def_readonly("guessing", &Statistics::guessing)
      .def_readonly("network", &Statistics::network)
      .def_readonly("total", &Statistics::total);
}
