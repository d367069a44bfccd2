// The Python face of the network, and of the library that runs it on a GPU (kernels/cuda), if it is there.
#include <dlfcn.h>
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

// Tensors and an architecture as Python has them, kept alive.
struct Given {
  Given(const py::object& tensor_map, const py::object& architecture) {
    const py::dict arrays(tensor_map), c(architecture);
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
    if (!c.contains("eps")) throw py::value_error("the architecture lacks eps");
    config = {field(c, "dim"),    field(c, "layers"), field(c, "heads"), field(c, "kv_heads"), field(c, "head_dim"),
              field(c, "hidden"), field(c, "vocab"),  field(c, "extra"), c["eps"].cast<int64_t>()};
  }
  Tensors tensors;
  Config config;
  std::vector<py::array> keep;
};

std::unique_ptr<Network> make(const py::object& tensors, const py::object& architecture, int threads,
                              const std::string& variant) {
  const Given given(tensors, architecture);
  py::gil_scoped_release release;
  return std::make_unique<Network>(given.tensors, given.config, threads, variant);
}

// A function of the library for GPUs, which stays open.
template <class F>
F* of_library(const std::string& path, const char* name) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw std::runtime_error(dlerror());
  void* const found = dlsym(library, name);
  if (!found) throw std::runtime_error(dlerror());
  return reinterpret_cast<F*>(found);
}

constexpr size_t kMessage = 500;

std::vector<std::string> cuda_devices(const std::string& path) {
  char text[kMessage * 16];
  auto* const ask = of_library<int(char*, size_t)>(path, "lmc_cuda_devices");
  int count = 0;
  {
    py::gil_scoped_release release;  // CUDA starts, which takes a fifth of a second
    count = ask(text, sizeof text);
  }
  if (count < 0) throw std::runtime_error(text);
  std::vector<std::string> names;
  const char* at = text;
  for (int i = 0; i < count; ++i, at += names.back().size() + 1) names.emplace_back(at);
  return names;
}

void cuda_wake(const std::string& path, int device) {
  of_library<void(int)>(path, "lmc_cuda_wake")(device);
}

std::unique_ptr<Engine> cuda_engine(const std::string& path, const py::object& tensors, const py::object& architecture, int threads,
                                    int device) {
  const Given given(tensors, architecture);
  py::gil_scoped_release release;
  using Make = Engine*(const Tensors&, const Config&, int, int, char*, size_t, bool*);
  char error[kMessage];
  bool unusable = false;  // the model is to blame, not the GPU
  Engine* const made = of_library<Make>(path, "lmc_cuda_engine")(given.tensors, given.config, threads, device, error, sizeof error, &unusable);
  if (!made && unusable) throw std::invalid_argument(error);
  if (!made) throw std::runtime_error(error);
  return std::unique_ptr<Engine>(made);
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
  m.def("cuda_devices", &cuda_devices, py::arg("library"), "Names of the GPUs.");
  m.def("cuda_wake", &cuda_wake, py::arg("library"), py::arg("device"), py::call_guard<py::gil_scoped_release>(),
        "Start a GPU, which takes some tenths of a second.");
  m.def("cuda_engine", &cuda_engine, py::arg("library"), py::arg("tensors"), py::arg("config"), py::arg("threads"), py::arg("device"),
        "The transformer on a GPU.");
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
