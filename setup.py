"""Builds roikit's compiled modules: _core (C++), _cuda (CUDA, where nvcc is), _rle and _polygon (Cython).

Everything else about the package stands in pyproject.toml. Environment variables:

    ROIKIT_CUDA=auto|on|off    auto: build _cuda if nvcc is found; on: fail if it is not; off: do not look
    ROIKIT_CUDA_ARCHS=80;90    compute capabilities; the last one is added as PTX too
    ROIKIT_BOUNDS=1            bounds checks in the Cython modules (the test build)
    ROIKIT_JOBS=N              compile N files at a time (default: the processors)
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from pybind11 import get_include
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# `python -m build` and pip run this file from the root; paths given to setuptools must be relative.
SRC = Path("src")
CXX_FLAGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fvisibility=hidden",
    "-ffp-contract=off",  # every SIMD level must give the reference's bits
    "-fno-math-errno",  # lets sqrt and floor be vectorised; changes no value
    "-fno-trapping-math",
    "-Wall",
    "-Wno-psabi",
]
NVCC_FLAGS = ["-std=c++17", "-O3", "-fmad=false", "-cudart=static", "--expt-relaxed-constexpr"]


def find_nvcc():
    """The path of nvcc, or the reason why CUDA is not built."""
    wish = os.environ.get("ROIKIT_CUDA", "auto")
    if wish not in ("auto", "on", "off"):
        sys.exit(f"setup.py: ROIKIT_CUDA must be auto, on or off, got {wish!r}")
    if wish == "off":
        return None, "ROIKIT_CUDA=off"
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [Path(home) / "bin" / "nvcc"] if home else []
    candidates += [Path(p) for p in [shutil.which("nvcc")] if p]
    candidates += [Path("/usr/local/cuda/bin/nvcc")]
    for nvcc in candidates:
        if nvcc.exists():
            return nvcc, f"nvcc {nvcc_release(nvcc)}"
    if wish == "on":
        sys.exit("setup.py: ROIKIT_CUDA=on, but no nvcc in CUDA_HOME or on PATH")
    return None, "no nvcc was found at build time"


def nvcc_release(nvcc):
    text = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True).stdout
    return next((w.lstrip("V") for w in text.split() if w.startswith("V")), "unknown").rstrip(",")


def cuda_root(nvcc):
    """The toolkit's folder; nvcc on PATH may be a wrapper, so nvcc itself is asked."""
    text = subprocess.run([str(nvcc), "--dryrun", "-x", "cu", "/dev/null"], capture_output=True,
                          text=True).stderr
    for line in text.splitlines():
        if "TOP=" in line:
            return Path(line.split("TOP=", 1)[1].strip()).resolve()
    return Path(nvcc).resolve().parent.parent


def gencode():
    archs = os.environ.get("ROIKIT_CUDA_ARCHS", "80;90").replace(",", ";").split(";")
    archs = [a.strip().replace(".", "") for a in archs if a.strip()]
    flags = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs]
    return flags + [f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]


NVCC, CUDA_REASON = find_nvcc()


def sources(*folders_and_endings):
    return [str(p) for folder, ending in folders_and_endings
            for p in sorted((SRC / folder).glob(f"*{ending}"))]


def binding_sources(module):
    return [s for s in sources(("bind", ".cpp")) if not s.endswith("_module.cpp")] + [
        str(SRC / "bind" / f"{module}_module.cpp")]


def macros(device):
    """What the sources of a module are told: the device, and the ops, by the names of their binding files."""
    ops = [Path(s).stem for s in sources(("bind", ".cpp")) if not s.endswith("_module.cpp")]
    return [("ROIKIT_DEVICE", device), ("ROIKIT_OPS", " ".join(f"ROIKIT_OP({op})" for op in ops))]


def extensions():
    include = [str(SRC), get_include()]
    quote = CUDA_REASON.replace('"', "'")
    core = Extension(
        "roikit._core", binding_sources("core") + sources(("cpu", ".cpp")), include_dirs=include,
        define_macros=[*macros("cpu"), ("ROIKIT_CUDA_BUILD", f'"{quote}"')], extra_compile_args=CXX_FLAGS,
        extra_link_args=["-pthread"], language="c++")
    built = [core]
    if NVCC:
        root = cuda_root(NVCC)
        lib = next((d for d in (root / "lib64", root / "targets/x86_64-linux/lib") if d.exists()),
                   root / "lib64")
        built.append(Extension(
            "roikit._cuda", binding_sources("cuda") + sources(("cuda", ".cu")),
            include_dirs=[*include, str(root / "include")], define_macros=macros("cuda"), library_dirs=[str(lib)],
            libraries=["cudart_static", "dl", "rt", "pthread"], extra_compile_args=CXX_FLAGS,
            language="c++"))
    checked = os.environ.get("ROIKIT_BOUNDS") == "1"
    directives = {"language_level": 3, "boundscheck": checked, "wraparound": False,
                  "cdivision": True, "initializedcheck": checked, "embedsignature": True}
    cython = [Extension(f"roikit._{p.stem}", [str(p)], extra_compile_args=["-O3"])
              for p in sorted((SRC / "cython").glob("*.pyx"))]
    return built + cythonize(cython, compiler_directives=directives)


class BuildExt(build_ext):
    """Hands .cu files to nvcc, compiles in parallel, and recompiles when a header changed."""

    def build_extension(self, ext):
        # bind/<op>.cpp belongs to two modules: each gets an object folder of its own.
        root, self.build_temp = self.build_temp, os.path.join(self.build_temp, ext.name)
        ext.depends = shared_inputs()  # else a change of headers alone would not get as far as the comparison below
        compiler = self.compiler
        compiler.src_extensions = list(dict.fromkeys([*compiler.src_extensions, ".cu"]))
        one_file, many_files = compiler._compile, compiler.compile
        jobs = int(os.environ.get("ROIKIT_JOBS") or os.cpu_count() or 1)

        def compile_one(obj, src, ext_name, cc_args, extra, pp_opts):
            if newer_than_all(obj, src):
                return
            if src.endswith(".cu"):
                keep = [a for a in pp_opts if a.startswith(("-I", "-D"))]
                host = "-fPIC,-fvisibility=hidden,-ffp-contract=off,-Wno-psabi"
                subprocess.check_call([str(NVCC), "-c", src, "-o", obj, *NVCC_FLAGS, *gencode(),
                                       *keep, "-Xcompiler", host])
            else:
                one_file(obj, src, ext_name, cc_args, extra, pp_opts)

        def compile_all(srcs, output_dir=None, macros=None, include_dirs=None, debug=0,
                        extra_preargs=None, extra_postargs=None, depends=None):
            macros, objects, extra, pp_opts, build = compiler._setup_compile(
                output_dir, macros, include_dirs, srcs, depends, extra_postargs)
            cc_args = compiler._get_cc_args(pp_opts, debug, extra_preargs)
            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(lambda o: compile_one(o, *build[o], cc_args, extra, pp_opts),
                              [o for o in objects if o in build]))
            return objects

        compiler.compile = compile_all
        compiler.force = True  # the comparison with the headers is ours, in compile_one
        try:
            super().build_extension(ext)
        finally:
            compiler.compile, self.build_temp = many_files, root


def shared_inputs():
    """What every object depends on besides its source: this file and every header."""
    return ["setup.py", *map(str, SRC.rglob("*.h")), *map(str, SRC.rglob("*.cuh"))]


def newer_than_all(obj, src):
    """True when the object is newer than its source, this file and every header."""
    if not os.path.exists(obj):
        return False
    return os.path.getmtime(obj) > max(os.path.getmtime(p) for p in [src, *shared_inputs()])


if __name__ == "__main__":
    print(f"roikit: CUDA module: {CUDA_REASON}")
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
