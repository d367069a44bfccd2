// The Python face of the network.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>

#include "module.hpp"
#include "transformer.hpp"

namespace py = pybind11;
using namespace lmc;

namespace {

int field(const py::dict& config, const char* name) {
  if (!config.contains(name)) throw py::value_error(std::string("the architecture lacks ") + name);
  return config[name].cast<int>();
}

std::unique_ptr<Network> make(const py::object& tensor_map, const py::object& architecture, int threads,
                              const std::string& variant) {
  const py::dict arrays(tensor_map), config(architecture);
  Tensors tensors;
  std::vector<py::array> keep;
  for (const auto& item : arrays) {
    py::array a = py::array::ensure(item.second, py::array::c_style);
    if (!a) throw py::value_error("a tensor is not an array");
    Tensor t;
    if (py::isinstance<py::array_t<int8_t>>(a)) t.type = Type::i8;
    if (py::isinstance<py::array_t<int32_t>>(a)) t.type = Type::i32;
    if (py::isinstance<py::array_t<uint64_t>>(a)) t.type = Type::u64;
    for (py::ssize_t i = 0; i < a.ndim(); ++i) t.shape.push_back(a.shape(i));
    t.data = a.data();
    tensors[item.first.cast<std::string>()] = t;
    keep.push_back(std::move(a));
  }
  if (!config.contains("eps")) throw py::value_error("the architecture lacks eps");
  const Config c{field(config, "dim"),      field(config, "layers"), field(config, "heads"),
                 field(config, "kv_heads"), field(config, "head_dim"), field(config, "hidden"),
                 field(config, "vocab"),    field(config, "extra"),  config["eps"].cast<int64_t>()};
  py::gil_scoped_release release;
  return std::make_unique<Network>(tensors, c, threads, variant);
}

std::unique_ptr<EngineCache> open(Engine& network, int lanes, int window, int anchor, int chunk) {
  return network.open(lanes, window, anchor, chunk);
}

using Ints = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

py::object forward(Engine& network, EngineCache& cache, const Ints& lane, const Ints& token, const py::object& out,
                   const Ints* parent) {
  if (lane.ndim() != 1 || token.ndim() != 1 || lane.size() != token.size()) {
    throw py::value_error("lane and token must be vectors of one length");
  }
  if (parent && (parent->ndim() != 1 || parent->size() != lane.size())) {
    throw py::value_error("parent must be as long as lane");
  }
  const py::ssize_t rows = lane.size(), vocab = network.vocab();
  py::object result = py::none();
  int32_t* to = nullptr;
  if (py::isinstance<py::bool_>(out)) {
    if (out.cast<bool>()) {
      py::array_t<int32_t> made({rows, vocab});
      to = made.mutable_data();
      result = made;
    }
  } else {
    auto given = py::array_t<int32_t, py::array::c_style>::ensure(out);
    if (!given || given.ptr() != out.ptr() || given.ndim() != 2 || given.shape(0) < rows || given.shape(1) != vocab) {
      PyErr_Clear();
      throw py::value_error("logits must be True, False or a contiguous int32 array of [rows, vocab]");
    }
    to = given.mutable_data();
    result = out;
  }
  const int32_t* l = lane.data();
  const int32_t* t = token.data();
  {
    py::gil_scoped_release release;
    if (parent) {
      network.forward_tree(cache, static_cast<int>(rows), l, t, parent->data(), to);
    } else {
      network.forward(cache, static_cast<int>(rows), l, t, to);
    }
  }
  return result;
}

}  // namespace

void bind_network(py::module_& m) {
  m.def("kernel_names", &kernel_names, "Names of the kernel variants that run on this processor, slowest first.");
  py::class_<Engine>(m, "Engine", "What runs the exact integer transformer (ARITHMETIC.md).")
      .def("forward", [](Engine& n, EngineCache& cache, const Ints& lane, const Ints& token, const py::object& logits) {
        return forward(n, cache, lane, token, logits, nullptr);
      }, py::arg("cache"), py::arg("lane"), py::arg("token"), py::arg("logits") = true,
           "Append token[i] to lane[i]; logits int32 [rows, vocab] in 2^-16 bit.")
      .def("forward_tree", [](Engine& n, EngineCache& cache, const Ints& lane, const Ints& token, const Ints& parent,
                              const py::object& logits) {
        return forward(n, cache, lane, token, logits, &parent);
      }, py::arg("cache"), py::arg("lane"), py::arg("token"), py::arg("parent"), py::arg("logits") = true,
           "Try a tree of tokens behind each lane; row i follows row parent[i], or with -1 the lane. See Cache.keep.")
      .def_property_readonly("variant", &Engine::variant)
      .def_property_readonly("vocab", &Engine::vocab)
      .def_property_readonly("threads", [](Engine& n) { return n.pool()->threads(); })
      .def_property_readonly("bytes", &Engine::bytes);
  py::class_<Network, Engine>(m, "Network", "The transformer on the processor.")
      .def(py::init(&make), py::arg("tensors"), py::arg("config"), py::arg("threads") = 0, py::arg("variant") = "");
  py::class_<EngineCache>(m, "Cache", "Keys and values of some lanes.")
      .def(py::init(&open), py::arg("network"), py::arg("lanes"), py::arg("window"),
           py::arg("anchor") = 0, py::arg("chunk") = 128, py::keep_alive<1, 2>())
      .def("length", [](const EngineCache& c, int lane) {
        if (lane < 0 || lane >= c.lanes()) throw py::value_error("a lane is out of range");
        return c.length(lane);
      })
      .def("keep", &EngineCache::keep, py::arg("row"), "Make the way to a row of the last tree part of its lane.")
      .def_property_readonly("lanes", &EngineCache::lanes)
      .def_property_readonly("window", &EngineCache::window)
      .def_property_readonly("anchor", &EngineCache::anchor)
      .def_property_readonly("bytes", &EngineCache::bytes);
}
