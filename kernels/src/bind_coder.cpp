#include "module.hpp"

void bind_coder(pybind11::module_&) {}
