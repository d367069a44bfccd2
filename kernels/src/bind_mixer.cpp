#include "module.hpp"

void bind_mixer(pybind11::module_&) {}
