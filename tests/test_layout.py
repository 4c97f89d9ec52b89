"""The house rules that a machine can hold: who may import whom, files of a readable size. Those of ops: test_matrix."""

import ast
import re
from pathlib import Path

import pytest

from roikit.testing.table import FORMATS, OPS

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 400

STANDARD = {"__future__", "bisect", "collections", "contextlib", "dataclasses", "functools", "importlib", "itertools",
            "math", "numbers", "os", "platform", "sys", "typing", "warnings"}
COMPILED = {"roikit._core", "roikit._rle", "roikit._polygon"}
PRIVATE = {"roikit._check", "roikit._config"}
# folder: (roots that its files may import, besides the standard library and the folder itself)
MAY_IMPORT = {
    "reference": {"numpy"},
    "kernels": {"numpy", "roikit.errors"} | COMPILED | PRIVATE,
    "ops": {"numpy", "torch", "ctypes", "roikit.errors", "roikit._cuda"} | COMPILED | PRIVATE,
    "masks": {"numpy", "roikit._rle", "roikit._polygon", "roikit.errors"},
    "models": {"torch", "roikit.ops", "roikit.masks", "roikit.errors", "roikit._home"},
    "data": {"numpy", "torch", "PIL", "yaml", "tifffile", "orjson", "fsspec", "roikit.kernels", "roikit.masks",
             "roikit.errors", "roikit._home"},
    "export": {"numpy", "torch", "onnx", "onnxscript", "onnxruntime", "roikit.ops", "roikit.models", "roikit.errors"},
}
MAY_NOT_IMPORT = {  # folders with a free hand but for these
    "compat": {"roikit._", "roikit.reference"},
    "testing": {"roikit._"},
    "trainer": {"roikit._", "roikit.reference"},
    "commands": {"roikit._", "roikit.reference"},
    "bench": {"roikit._", "roikit.reference"},
}


def python_files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path):
    """The full dotted names that a file imports, wherever in it."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1] + [base]).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def under(name, root):
    return name == root or name.startswith(root + ".")


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder):
    allowed = MAY_IMPORT[folder] | STANDARD | {f"roikit.{folder}", "roikit._version"}
    if folder not in ("reference", "kernels", "ops"):
        import sys
        allowed |= set(sys.stdlib_module_names)
    wrong = [f"{path.relative_to(ROOT)} imports {name}" for path in python_files(f"roikit/{folder}")
             for name in imports(path) if not any(under(name, root) for root in allowed)]
    assert not wrong, wrong


@pytest.mark.parametrize("folder", MAY_NOT_IMPORT)
def test_a_folder_keeps_off_what_it_must_not_import(folder):
    wrong = [f"{path.relative_to(ROOT)} imports {name}" for path in python_files(f"roikit/{folder}")
             for name in imports(path) for root in MAY_NOT_IMPORT[folder]
             if name.startswith(root) and not under(name, "roikit._version")]
    assert not wrong, wrong


def test_sibling_ops_do_not_import_each_other():
    shared = re.compile(r"roikit\.ops\._\w+")
    wrong = [f"{path.name} imports {name}" for path in python_files("roikit/ops") if path.name != "__init__.py"
             for name in imports(path) if under(name, "roikit.ops") and not shared.match(name)]
    assert not wrong, wrong


INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.M)
MAY_INCLUDE = {
    "core": r"core/|[a-z_]+$",
    "cpu": r"core/|cpu/|[a-z_]+$|immintrin\.h$|sys/mman\.h$",
    "cuda": r"core/|cuda/|cuda_|[a-z_]+$",
    "bind": r"core/|bind/|pybind11/|[a-z_]+$",
}


@pytest.mark.parametrize("folder", MAY_INCLUDE)
def test_a_source_folder_includes_only_what_it_may(folder):
    wrong = []
    for path in sorted((ROOT / "src" / folder).iterdir()):
        allowed = MAY_INCLUDE[folder]
        if path.name == "core_module.cpp":
            allowed += r"|cpu/simd\.h"
        if path.name == "cuda_module.cpp":
            allowed += r"|cuda/error\.h"
        wrong += [f"{folder}/{path.name} includes {name}" for name in INCLUDE.findall(path.read_text())
                  if not re.match(allowed, name)]
    assert not wrong, wrong


def test_kernels_own_no_memory_and_no_openmp():
    wrong = [f"{path.relative_to(ROOT)}: {word}" for path in sorted((ROOT / "src").rglob("*"))
             if path.suffix in (".h", ".cpp", ".cu", ".cuh")
             for word in re.findall(r"\b(?:malloc|calloc|cudaMalloc\w*|cudaDeviceSynchronize|cudaStreamSynchronize|"
                                    r"pragma omp)\b", path.read_text())]
    assert not wrong, wrong


@pytest.mark.parametrize("name", FORMATS)
def test_a_mask_format_has_its_name_on_every_floor(name):
    places = [f"roikit/reference/{name}.py", f"roikit/masks/{name}.py", f"src/cython/{name}.pyx",
              f"roikit/_{name}.pyi", f"tests/reference/test_{name}.py", f"tests/masks/test_{name}.py",
              f"benchmarks/bench_{name}.py", f"roikit/bench/works/{name}.py", f"docs/ops/{name}.md"]
    missing = [place for place in places if not (ROOT / place).is_file()]
    assert not missing, f"{name} is missing {missing}"


def test_a_cuda_source_is_an_op_or_a_part_of_one():
    stems = [p.stem for p in (ROOT / "src/cuda").glob("*.cu")]
    wrong = [stem for stem in stems if not any(stem == op or stem.startswith(f"{op}_") for op in OPS)]
    assert not wrong, f"{wrong} are no op, nor <op>_<part>"


def test_no_folder_has_two_sources_with_one_stem():
    for folder in ("core", "cpu", "cuda", "bind", "cython"):
        stems = [p.stem for p in (ROOT / "src" / folder).iterdir() if p.suffix in (".cpp", ".cu", ".pyx")]
        assert len(stems) == len(set(stems)), (folder, stems)


def test_source_files_can_be_read_in_one_sitting():
    files = [p for folder in ("roikit", "src", "tests", "benchmarks") for p in sorted((ROOT / folder).rglob("*"))
             if p.suffix in (".py", ".pyx", ".pyi", ".h", ".cpp", ".cu", ".cuh")] + [ROOT / "setup.py"]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > LONGEST}
    assert not long, long


def test_each_core_header_names_its_source():
    for path in sorted((ROOT / "src/core").glob("*.h")):
        comment = "".join(line for line in path.read_text().split("#pragma once")[0].splitlines(True))
        assert "Source:" in comment, f"src/core/{path.name} does not say where its mathematics comes from"


def test_parts_of_detectors_know_no_system():
    """A system is a configuration and at most one file of its own; what systems share asks for the name of none."""
    systems = re.compile(r"cascade|hybrid|htc|interleaved|iterative|integral|yolact|panoptic|"
                         r"keypoint_?rcnn(?!heads|predictor)", re.I)  # torchvision names layers after it
    rooms = ("parts", "bodies", "necks", "proposals", "roi", "dense")
    shared = [path for room in rooms
              for path in python_files(f"roikit/models/{room}")]
    assert len(shared) > 20
    for path in shared:
        found = [word for word in systems.findall(path.read_text())]
        assert not found, f"{path.relative_to(ROOT)} names {found}"
        upward = [name for name in imports(path) if under(name, "roikit.models") and name.split(".")[2] not in (
            "configs", *rooms)]
        assert not upward, f"{path.relative_to(ROOT)} imports {upward}"


def test_no_file_holds_loose_ends():
    words = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
    wrong = [str(p.relative_to(ROOT)) for folder in ("roikit", "src", "benchmarks", "docs")
             for p in sorted((ROOT / folder).rglob("*"))
             if p.suffix in (".py", ".pyx", ".h", ".cpp", ".cu", ".cuh", ".md") and words.search(p.read_text())]
    assert not wrong, wrong
