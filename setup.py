"""The C++ part of the build; everything else is in pyproject.toml."""

from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

native = Pybind11Extension(
    "lmc.kernels._native",
    sorted(glob("kernels/src/*.cpp")),
    depends=sorted(glob("kernels/src/*.hpp")),
    cxx_std=17,
    # No -march, no -ffast-math: the flags are part of correctness, and the
    # instruction sets are chosen at run time (kernels/src/dispatch.hpp).
    extra_compile_args=["-O3", "-fno-wrapv", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-pthread"],
    extra_link_args=["-pthread"],
)

ParallelCompile("LMC_BUILD_JOBS", default=0).install()
setup(ext_modules=[native], cmdclass={"build_ext": build_ext})
