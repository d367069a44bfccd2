// Python face of draft networks (draft_network.hpp).
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "draft_network.hpp"
#include "module.hpp"

namespace py = pybind11;

namespace {

using namespace lmc::draft;
template <class T>
using Array = py::array_t<T, py::array::c_style>;

// Tensors by name; every shape is checked.
struct Reader {
  const py::dict& tensors;

  template <class T>
  Array<T> array(const std::string& name) const {
    if (!tensors.contains(name)) throw py::value_error("the draft lacks " + name);
    const py::object found = tensors[name.c_str()];
    if (!py::isinstance<Array<T>>(found)) throw py::value_error("wrong type of " + name);
    return py::cast<Array<T>>(found);
  }
  std::vector<float> floats(const std::string& name, int n) const {
    const auto a = array<float>(name);
    if (a.size() != n) throw py::value_error("wrong size of " + name);
    return {a.data(), a.data() + n};
  }
  Matrix matrix(const std::string& name, int outputs, int inputs) const {
    const auto w = array<int8_t>(name + ".weight");
    if (w.ndim() != 2 || w.shape(0) != outputs || w.shape(1) != inputs) throw py::value_error("wrong shape of " + name);
    return {w.data(), floats(name + ".scale", outputs).data(), outputs, inputs};
  }
};

int field(const py::dict& of, const char* name, int least, int most) {
  const int v = of[name].cast<int>();
  if (v < least || v > most) throw py::value_error(std::string("the draft's ") + name + " is out of range");
  return v;
}

// definition, and tensors by the names of models/prism.py; beside them the target's: embed and head (weight, scale),
// final_norm, and `vocabulary`, the token of each row of the head.
std::unique_ptr<Weights> make(const py::dict& definition, const py::dict& tensors) {
  auto w = std::make_unique<Weights>();
  Shape& s = w->shape;
  s.dim = field(definition, "dim", 8, 1 << 14);
  s.heads = field(definition, "heads", 1, 1024);
  s.kv_heads = field(definition, "kv_heads", 1, s.heads);
  s.head_dim = field(definition, "head_dim", 8, 1024);
  s.hidden = field(definition, "hidden", 1, 1 << 16);
  s.modules = field(definition, "modules", 1, 64);
  s.steps = definition["steps"].cast<std::vector<int>>();
  w->layers = definition["taps"].cast<std::vector<int>>();
  s.taps = static_cast<int>(w->layers.size());
  s.norms = definition["norms"].cast<bool>();
  s.rope_theta = definition["rope_theta"].cast<float>();
  s.epsilon = definition["epsilon"].cast<float>();
  s.final_epsilon = definition["final_epsilon"].cast<float>();
  if (s.heads % s.kv_heads || s.head_dim % 8 || s.steps.empty() || s.taps < 1) throw py::value_error("no such draft");
  for (const int step : s.steps)
    if (step < 0 || step >= s.modules) throw py::value_error("a step without a module");
  const Reader read{tensors};
  if (s.taps > 1) {
    w->fuse = read.matrix("fuse", s.dim, s.taps * s.dim);
    w->fuse_bias = read.floats("fuse.bias", s.dim);
  }
  const int wide = s.heads * s.head_dim, width = s.kv_heads * s.head_dim;
  for (int m = 0; m < s.modules; ++m) {
    const std::string at = "module." + std::to_string(m) + ".";
    w->modules.push_back({read.matrix(at + "fc", s.dim, 2 * s.dim), read.matrix(at + "q", wide, s.dim),
                          read.matrix(at + "k", width, s.dim), read.matrix(at + "v", width, s.dim),
                          read.matrix(at + "o", s.dim, wide), read.matrix(at + "gate", s.hidden, s.dim),
                          read.matrix(at + "up", s.hidden, s.dim), read.matrix(at + "down", s.dim, s.hidden),
                          read.floats(at + "fc.bias", s.dim), read.floats(at + "norm", s.dim)});
  }
  const auto embed = read.array<int8_t>("embed.weight");
  if (embed.ndim() != 2 || embed.shape(1) != s.dim) throw py::value_error("wrong shape of embed");
  w->embed.assign(embed.data(), embed.data() + embed.size());
  w->embed_scale = read.floats("embed.scale", static_cast<int>(embed.shape(0)));
  w->final_norm = read.floats("final_norm", s.dim);
  const auto vocabulary = read.array<int32_t>("vocabulary");
  w->vocabulary.assign(vocabulary.data(), vocabulary.data() + vocabulary.size());
  for (const int32_t id : w->vocabulary)
    if (id < 0 || id >= embed.shape(0)) throw py::value_error("a guess that is no token");
  w->head = read.matrix("head", static_cast<int>(w->vocabulary.size()), s.dim);
  return w;
}

// For the tests: states behind known tokens, then of a chain of guesses, and the last one's probabilities.
py::tuple chain(const Weights& w, const Array<int32_t>& tokens, const Array<float>& taps, const Array<int32_t>& guesses) {
  lmc::Pool pool(2);
  State state(w, pool);
  state.extend({tokens.data(), tokens.data() + tokens.size()}, {taps.data(), taps.data() + taps.size()});
  std::vector<float> states(state.last(), state.last() + w.shape.dim), next, p;
  std::vector<std::vector<int>> ways{{}};
  for (int i = 0; i < static_cast<int>(guesses.size()); ++i) {
    state.step(i + 1, {guesses.data()[i]}, ways, states, next);
    states = next;
    ways[0].push_back(i);
  }
  state.probabilities(states.data(), 1, p);
  return py::make_tuple(Array<float>(static_cast<py::ssize_t>(states.size()), states.data()),
                        Array<float>(static_cast<py::ssize_t>(p.size()), p.data()));
}

}  // namespace

void bind_draft(py::module_& m) {
  py::class_<Weights>(m, "Draft", "A draft network with what it shares with its target.")
      .def(py::init(&make), py::arg("definition"), py::arg("tensors"))
      .def("chain", &chain, py::arg("tokens"), py::arg("taps"), py::arg("guesses"),
           "Behind known tokens, with the target's streams before each, the state and the probabilities after a chain of guesses.");
}
