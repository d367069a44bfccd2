#include "module.hpp"

void bind_network(pybind11::module_&) {}
