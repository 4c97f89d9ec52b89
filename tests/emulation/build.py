"""Compiles the CUDA kernels for the host, against the shim beside this file: a module for each op, with what
roikit._cuda has of it.

    python tests/emulation/build.py [OP ...]    compiles what is out of date, of all ops unless some are named

Tests need not call it: `load()` gives an object that stands for roikit._cuda and compiles an op when one of its
functions is first asked for.

ROIKIT_EMULATION=checked compiles other modules, which notice every access beyond a tensor or a shared array, and every
vector access at an address that is not a multiple of its size. They load where libasan was loaded first, and libstdc++,
whose exceptions libasan watches:

    LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
        ASAN_OPTIONS=detect_leaks=0 ROIKIT_EMULATION=checked python -m pytest tests/ops -k emulated
"""

import functools
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHECKED = os.environ.get("ROIKIT_EMULATION") == "checked"
FOLDER = Path("build") / ("emulation-checked" if CHECKED else "emulation")
# Fortified longjmp refuses to change stacks.
FLAGS = ["-std=c++17", "-O1", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-U_FORTIFY_SOURCE",
         "-Wall", "-Wno-psabi", "-Wno-unknown-pragmas", "-Wno-unused-function"]
# The fibers' stacks are not what the sanitizer thinks a stack is, so it keeps off them.
CHECKS = ["-fsanitize=address,alignment", "--param=asan-stack=0", "-fno-sanitize-recover=all", "-g1"]


def module_at(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiling = module_at(ROOT / "src/compiling.py", "roikit_emulation.compiling")
run = compiling.run


def compiler():
    """The C++ compiler's name, or None where there is none."""
    return next((name for name in (os.environ.get("CXX"), "g++") if name and shutil.which(name)), None)


def objects(op):
    """For each object of the op's module a function that makes it where it is out of date and returns its path.

    The module's file and the binding of the op, its only one, are compiled as one.
    """
    import pybind11

    flags = [compiler(), *FLAGS, *(CHECKS if CHECKED else []), "-DROIKIT_DEVICE=cuda", "-x", "c++",
             *compiling.folders("tests/emulation/shim", "src")]
    python = compiling.folders(pybind11.get_include(), sysconfig.get_paths()["include"])
    versions = [f"Python {sys.version.split()[0]}", f"pybind11 {pybind11.__version__}"]
    binding = [*flags, "-include", f"src/bind/{op}.cpp", compiling.ops_macro([op]), *python]
    folder = FOLDER / op
    return [functools.partial(compiling.compiled, folder / "module.o", "src/bind/cuda_module.cpp", binding, versions),
            *(functools.partial(compiling.compiled, folder / f"{Path(source).stem}.o", source, flags)
              for source in compiling.cuda_sources(op))]


def build(op, workers=None):
    """Compiles what is out of date of an op; returns the path of its module.

    Raises:
        RuntimeError: the compiler refused a file; with its words.
    """
    module = FOLDER / op / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    with compiling.locked(FOLDER / op):
        made = [str(path) for path in compiling.together(objects(op), workers)]
        command = [compiler(), "-shared", *(CHECKS if CHECKED else []), *made, "-o", str(module), "-pthread"]
        compiling.make(module, command, lambda: run(command), made)
    return ROOT / module


class Emulated:
    """Stands for roikit._cuda: has its functions; those of an op are compiled when one of them is first asked for."""

    def __init__(self):
        self._modules = {}

    def __getattr__(self, name):
        op = entries().get(name)
        if op is None:
            raise AttributeError(f"no binding in src/bind defines {name}")
        if op not in self._modules:
            self._modules[op] = module_at(build(op), f"roikit_emulation.{op}._cuda")
        return getattr(self._modules[op], name)


@functools.cache
def entries():
    """The op of each entry point, those of the CPU alone among them."""
    return {name: op for op in compiling.ops()
            for name in re.findall(r'def\(module, "(\w+)"', (ROOT / f"src/bind/{op}.cpp").read_text())}


def load():
    """The emulated CUDA kernels; nothing is compiled yet."""
    return Emulated()


if __name__ == "__main__":
    chosen = sys.argv[1:] or compiling.ops()
    if unknown := sorted(set(chosen) - set(compiling.ops())):
        sys.exit(f"build.py: no op {', '.join(unknown)}; there are {', '.join(compiling.ops())}")
    # The longest first, so that no processor waits for it at the end.
    chosen = sorted(chosen, key=lambda op: -len(compiling.cuda_sources(op)))
    print(*compiling.together([functools.partial(build, op, 1) for op in chosen]), sep="\n")
