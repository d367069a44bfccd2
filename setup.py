"""The C++ and CUDA parts of the build; everything else is in pyproject.toml."""

import os
import shutil
import subprocess
from glob import glob
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

# No -march, no -ffast-math: the flags are part of correctness, and the instruction sets are chosen
# at run time (kernels/src/dispatch.hpp). Python's own -fwrapv costs the kernels a sixth of their
# speed; none of them lets a signed number overflow (their tests run clean under UBSan).
FLAGS = ["-O3", "-fno-wrapv", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-pthread"]

native = Pybind11Extension(
    "lmc.kernels._native",
    sorted(glob("kernels/src/*.cpp")),
    depends=sorted(glob("kernels/src/*.hpp")),
    cxx_std=17,
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
)


class Build(build_ext):
    """Builds the library for GPUs, too, where there is a compiler for them and LMC_CUDA is not 0.

    It is no Python module: _native opens it when a GPU is asked for, so that an lmc that was built
    with it runs where there is none.
    """

    SOURCES = ("kernels/cuda/engine.cu", "kernels/src/tables.cpp", "kernels/src/threads.cpp")
    DEPENDS = ("kernels/cuda/*.cuh", "kernels/src/engine*.hpp", "kernels/src/threads.hpp")
    TARGETS = ("arch=compute_80,code=[sm_80,compute_80]", "arch=compute_90,code=sm_90")

    def run(self):
        super().run()
        compiler = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
        if os.environ.get("LMC_CUDA") == "0" or compiler is None:
            return
        folder = Path(self.get_ext_fullpath("lmc.kernels._native")).parent
        library = folder / "_cuda.so"
        sources = [*self.SOURCES, *(path for pattern in self.DEPENDS for path in glob(pattern))]
        newest = max(Path(path).stat().st_mtime for path in sources)
        if library.exists() and library.stat().st_mtime > newest and not self.force:
            return
        targets = [word for target in self.TARGETS for word in ("-gencode", target)]
        command = [compiler, "-std=c++17", "-O3", *targets, "-Xcompiler", "-fPIC,-pthread"]
        command += ["-shared", "-cudart", "static", "-o", str(library), *self.SOURCES]
        print(" ".join(command))
        if subprocess.run(command).returncode != 0:  # lmc is whole without it
            library.unlink(missing_ok=True)
            print(f"{compiler} failed: lmc is built without its library for GPUs")


ParallelCompile("LMC_BUILD_JOBS", default=0).install()
setup(ext_modules=[native], cmdclass={"build_ext": Build})
