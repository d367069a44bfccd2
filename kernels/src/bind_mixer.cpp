// The byte models' Python face: what tests and measurements need. The codecs
// use mixer.hpp directly (bind_text.cpp).
#include <pybind11/stl.h>

#include <cmath>
#include <string_view>
#include <tuple>

#include "mixer.hpp"
#include "module.hpp"

namespace py = pybind11;

namespace {

using lmc::mixer::Profile;

Profile profile_of(int number, int most) {
  if (number < 1 || number > most) throw py::value_error("no such profile of byte models");
  return static_cast<Profile>(number);
}

// One call of a ByteMixer: (kind, a, b, c), see mixer_replay.
using Step = std::tuple<int, uint32_t, uint32_t, uint32_t>;

void check(bool holds, const char* message) {
  if (!holds) throw py::value_error(message);
}

std::vector<uint32_t> mixer_replay(int profile, const std::vector<uint32_t>& ends, const std::vector<Step>& script,
                                   bool scalar, const std::vector<uint32_t>& start, bool learn) {
  const auto mixer = lmc::mixer::make_mixer(profile_of(profile, 5), ends, {start.data(), start.size()},
                                            !scalar && lmc::use_avx2());
  auto& m = *mixer;
  std::vector<uint32_t> left;
  uint32_t begin = 0;
  for (uint32_t end : ends) {
    left.push_back(end - begin);
    begin = end;
  }
  size_t lane = 0;
  int bits = 0;  // left of the byte begun
  std::vector<uint32_t> out;
  for (const auto& [kind, a, b, c] : script) {
    const lmc::mixer::NetworkInput net{b, c};
    if (kind == 1 || kind == 2) {
      check(a < 2 && b > 0 && b < 1u << 24 && c > 0 && c < 1u << 24, "a bit, and probabilities");
    }
    switch (kind) {
      case 0:
        check(a < ends.size() && bits == 0, "a lane at a byte boundary");
        lane = a;
        bits = 8;
        m.begin_byte(a, b != 0);
        break;
      case 1:
      case 3:
        check(bits > 0 && left[lane] > 0 && a < 2, "a bit of a byte that fits");
        if (kind == 1) {
          out.push_back(m.predict_bit(net));
          m.update_bit(static_cast<int>(a));
        } else {
          m.skip_bit(static_cast<int>(a));
        }
        if (--bits == 0) --left[lane];
        break;
      case 2:
        check(bits == 8, "an end only at a byte boundary");
        out.push_back(m.predict_end(net));
        m.update_end(static_cast<int>(a));
        if (a != 0) bits = 0;
        break;
      case 4:
        check(a < ends.size() && bits == 0, "a lane at a byte boundary");
        m.token_done(a, b);
        break;
      default:
        throw py::value_error("no such kind of step");
    }
  }
  return learn ? m.learned() : out;
}

struct Length {
  double bits = 0;
  int operator()(int bit, uint32_t p) {
    const double one = p / 16777216.0;
    bits -= std::log2(bit ? one : 1 - one);
    return bit;
  }
};

double byte_code_length(const py::bytes& data, int profile) {
  const std::string_view view = data;
  check(view.size() < UINT32_MAX - 1, "too many bytes");
  const Profile p = profile_of(profile, 3);
  Length length;
  py::gil_scoped_release unlock;
  lmc::mixer::code_bytes(p, {}, reinterpret_cast<const uint8_t*>(view.data()), nullptr,
                         static_cast<uint32_t>(view.size()), length, [](uint32_t) {});
  return length.bits;
}

}  // namespace

void bind_mixer(py::module_& m) {
  m.def("mixer_replay", &mixer_replay, py::arg("profile"), py::arg("ends"), py::arg("script"),
        py::arg("scalar") = false, py::arg("start") = std::vector<uint32_t>{}, py::arg("learn") = false,
        "The probabilities (units of 2^-24) that a mixer gives for a script of steps\n"
        "(0, lane, inside, 0) begin a byte, (1, bit, p, p_bias) code a bit, (2, bit, p, p_bias) code\n"
        "`token ends here` (a one ends the byte begun), (3, bit, 0, 0) skip a bit, (4, lane, id, 0)\n"
        "token done. With `learn` what it has learned instead. ValueError for steps out of order.");
  m.def("byte_code_length", &byte_code_length, py::arg("data"), py::arg("profile"),
        "Bits that the byte models of a profile (1-3) give to data; for reporting only.");
}
