"""Builds roikit's compiled modules: _core (C++), _cuda (CUDA, where nvcc is), _rle and _polygon (Cython).

Everything else about the package stands in pyproject.toml, what decides whether a file is compiled again in
src/compiling.py. Environment variables:

    ROIKIT_CUDA=auto|on|off    auto: build _cuda if nvcc is found; on: fail if it is not; off: do not look
    ROIKIT_CUDA_ARCHS=80;90    compute capabilities; the last one is added as PTX too
    ROIKIT_BOUNDS=1            bounds checks in the Cython modules (the test build)
    ROIKIT_JOBS=N              compile N files at a time (default: the processors)
"""

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import Cython
import pybind11
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))
import compiling

# `python -m build` and pip run this file from the root; paths given to setuptools must be relative.
SRC = Path("src")
# Not setuptools' build_temp, which is a temporary folder where pip builds: what an editable install has compiled is
# there for the next `build_ext --inplace`.
OBJECTS = Path("build/objects") / sys.implementation.cache_tag
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
NVCC_FLAGS = ["-std=c++17", "-O3", "-fmad=false", "-cudart=static", "--expt-relaxed-constexpr",
              "-Xcompiler", "-fPIC,-fvisibility=hidden,-ffp-contract=off,-Wno-psabi"]


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


def sources(module, kernels):
    """The kernels of a module (a pattern under src), the bindings of all ops, and the module's own file."""
    found = [*SRC.glob(kernels), *(SRC / "bind" / f"{op}.cpp" for op in compiling.ops()),
             SRC / "bind" / f"{module}_module.cpp"]
    return [str(path) for path in sorted(found)]


def extensions():
    core = Extension("roikit._core", sources("core", "cpu/*.cpp"), extra_link_args=["-pthread"], language="c++")
    built = [core]
    if NVCC:
        root = cuda_root(NVCC)
        lib = next((d for d in (root / "lib64", root / "targets/x86_64-linux/lib") if d.exists()), root / "lib64")
        built.append(Extension("roikit._cuda", sources("cuda", "cuda/*.cu"), include_dirs=[str(root / "include")],
                               library_dirs=[str(lib)], libraries=["cudart_static", "dl", "rt", "pthread"],
                               language="c++"))
    checked = os.environ.get("ROIKIT_BOUNDS") == "1"
    directives = {"language_level": 3, "boundscheck": checked, "wraparound": False,
                  "cdivision": True, "initializedcheck": checked, "embedsignature": True}
    cython = [Extension(f"roikit._{p.stem}", [str(p)]) for p in sorted((SRC / "cython").glob("*.pyx"))]
    # Cython compares times, not directives.
    folder = f"build/cython/{Cython.__version__}{'-checked' if checked else ''}"
    return built + cythonize(cython, compiler_directives=directives, build_dir=folder)


class BuildExt(build_ext):
    """Compiles and links what is out of date, several files at a time."""

    def build_extension(self, ext):
        with compiling.locked(OBJECTS):
            try:
                steps = [functools.partial(self.compile, ext, source) for source in ext.sources]
                objects = [str(path) for path in compiling.together(steps)]
            except compiling.Refused as error:
                sys.exit(f"setup.py: {error}")
            target = self.get_ext_fullpath(ext.name)
            record = OBJECTS / ext.name / "linked"
            says = [target, *self.compiler.linker_so, *ext.library_dirs, *ext.libraries, *ext.extra_link_args]
            if not os.path.exists(target):
                record.unlink(missing_ok=True)
            compiling.make(record, says, lambda: self.link(ext, objects, target, record), objects)

    def compile(self, ext, source):
        """Compiles a source of the extension where it is out of date; returns the object's path."""
        path = Path(source)
        target = OBJECTS / ext.name / f"{path.parent.name}_{path.stem}.o"
        device = [f"-DROIKIT_DEVICE={'cuda' if ext.name == 'roikit._cuda' else 'cpu'}", "-Isrc"]
        if path.suffix == ".cu":
            return compiling.compiled(target, source, [str(NVCC), *NVCC_FLAGS, *gencode(), *device])
        python = compiling.folders(*ext.include_dirs, *self.compiler.include_dirs)
        version = f"Python {sysconfig.get_config_var('py_version')}"
        if path.suffix == ".c":
            return compiling.compiled(target, source, [*self.compiler.compiler_so, "-O3", *python], [version])
        command = [*getattr(self.compiler, "compiler_so_cxx", self.compiler.compiler_so), *CXX_FLAGS, *device]
        if path.parent.name != "bind":
            return compiling.compiled(target, source, command)
        if path.stem.endswith("_module"):
            command.append(compiling.ops_macro(compiling.ops()))
        if path.stem == "core_module":
            quote = CUDA_REASON.replace('"', "'")
            command.append(f'-DROIKIT_CUDA_BUILD="{quote}"')
        command += [*python, *compiling.folders(pybind11.get_include())]
        return compiling.compiled(target, source, command, [version, f"pybind11 {pybind11.__version__}"])

    def link(self, ext, objects, target, record):
        self.compiler.force = True  # whether it must be linked is decided
        self.compiler.link_shared_object(
            objects, target, libraries=self.get_libraries(ext), library_dirs=ext.library_dirs,
            extra_postargs=ext.extra_link_args, export_symbols=self.get_export_symbols(ext), target_lang=ext.language)
        record.touch()


if __name__ == "__main__":
    print(f"roikit: CUDA module: {CUDA_REASON}")
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
