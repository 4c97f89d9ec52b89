"""Compiles src/cuda and its bindings for the host, against the shim beside this file, into a module like roikit._cuda.

    python tests/emulation/build.py      compiles what is out of date and prints the module's path

ROIKIT_EMULATION=checked compiles a second module that notices every access beyond a tensor or a shared array, and every
vector access at an address that is not a multiple of its size. It loads where libasan was loaded first, and libstdc++,
whose exceptions libasan watches:

    LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
        ASAN_OPTIONS=detect_leaks=0 ROIKIT_EMULATION=checked python -m pytest tests/ops -k emulated
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHECKED = os.environ.get("ROIKIT_EMULATION") == "checked"
FOLDER = ROOT / "build" / ("emulation-checked" if CHECKED else "emulation")
MODULE = FOLDER / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
# Fortified longjmp refuses to change stacks.
FLAGS = ["-std=c++17", "-O1", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-U_FORTIFY_SOURCE",
         "-Wall", "-Wno-psabi", "-Wno-unknown-pragmas", "-Wno-unused-function"]
# The fibers' stacks are not what the sanitizer thinks a stack is, so it keeps off them.
CHECKS = ["-fsanitize=address,alignment", "--param=asan-stack=0", "-fno-sanitize-recover=all", "-g1"]


def compiler():
    """The C++ compiler's name, or None where there is none."""
    return next((name for name in (os.environ.get("CXX"), "g++") if name and shutil.which(name)), None)


def sources():
    bindings = [p for p in sorted((ROOT / "src/bind").glob("*.cpp")) if not p.stem.endswith("_module")]
    return [*sorted((ROOT / "src/cuda").glob("*.cu")), *bindings, ROOT / "src/bind/cuda_module.cpp"]


def build():
    """Compile what is older than its sources; returns the module's path.

    Raises:
        RuntimeError: the compiler refused a file; with its words.
    """
    import pybind11

    FOLDER.mkdir(parents=True, exist_ok=True)
    headers = [p for folder in (ROOT / "src", HERE) for ending in ("*.h", "*.cuh") for p in folder.rglob(ending)]
    newest = max(p.stat().st_mtime for p in [*headers, Path(__file__)])
    include = [HERE / "shim", ROOT / "src", pybind11.get_include(), sysconfig.get_paths()["include"]]
    checks = CHECKS if CHECKED else []
    ops = " ".join(f"ROIKIT_OP({p.stem})" for p in sources() if p.parent.name == "bind" and p.stem != "cuda_module")
    command = [compiler(), *FLAGS, *checks, "-DROIKIT_DEVICE=cuda", f"-DROIKIT_OPS={ops}",
               *(f"-I{path}" for path in include)]

    def compile_one(source):
        target = FOLDER / f"{source.parent.name}_{source.stem}.o"
        if not target.exists() or target.stat().st_mtime < max(newest, source.stat().st_mtime):
            run([*command, "-c", "-x", "c++", str(source), "-o", str(target)])
        return target

    with open(FOLDER / "lock", "w") as lock, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        objects = list(pool.map(compile_one, sources()))
        if not MODULE.exists() or MODULE.stat().st_mtime < max(p.stat().st_mtime for p in objects):
            run([compiler(), "-shared", *checks, *map(str, objects), "-o", str(MODULE), "-pthread"])
    return MODULE


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-8000:]}")


def load():
    """The emulated module, compiled where it is out of date."""
    spec = importlib.util.spec_from_file_location("roikit_emulation._cuda", build())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    print(build())
