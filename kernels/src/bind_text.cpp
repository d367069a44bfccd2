#include "module.hpp"

void bind_text(pybind11::module_&) {}
