"""What the table of ops asks for: an op's own files, its names on every floor, its compiled entry points.

A test that fails says which file or which line there must be.
"""

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from roikit.testing import catalogue, table

ROOT = Path(__file__).resolve().parent.parent
BINDINGS = ROOT / "src/bind"
OPS = catalogue.ops()
# What an op has of its own.
FILES = {
    "roikit/reference/{op}.py": "the specification",
    "roikit/kernels/{op}.py": "the NumPy face",
    "roikit/ops/{op}.py": "the torch face",
    "src/core/{op}.h": "the arithmetic, for host and device",
    "src/cpu/{op}.cpp": "the walk on the CPU",
    "src/cuda/{op}.cu": "the walk on a GPU",
    "src/bind/{op}.cpp": "the bindings of both",
    "tests/reference/test_{op}.py": "the laws",
    "tests/kernels/test_{op}.py": "agreement with the specification",
    "tests/ops/test_{op}.py": "agreement, gradients, registration, contracts",
    "benchmarks/bench_{op}.py": "the works of its kernels, for the guard and asv",
    "roikit/bench/works/{op}.py": "its works for `roikit bench`",
    "docs/ops/{op}.md": "the page",
    "roikit/testing/judged/{op}.py": "what `roikit verify` knows of it",
}
FILES_OF_TORCH = ("roikit/ops/{op}.py", "tests/ops/test_{op}.py", "roikit/bench/works/{op}.py", "docs/ops/{op}.md")
# Where every file that begins with a letter is an op's.
FOLDERS = ("roikit/ops", "roikit/bench/works", "roikit/testing/judged", "tests/gpu/cases")
# Arguments that a floor has besides.
OWN_ARGUMENTS = {"reference": set(), "kernels": {"out", "threads"}, "ops": {"device"}}
# What a floor shows besides the functions of the table: their parts.
PARTS = {"reference": r"\w+_backward|\w+_with_argmax|assign_levels", "kernels": r"\w+_backward|\w+_with_argmax",
         "ops": "(?!)"}


def missing_files(root, ops):
    """A sentence for each file that an op lacks."""
    wanted = [(op.name, place.format(op=op.name), what) for op in ops.values() for place, what in FILES.items()
              if op.kind != "torch" or place in FILES_OF_TORCH]
    return [f"{name} needs {place}: {what}" for name, place, what in wanted if not (root / place).is_file()]


def unlisted_files(root, ops):
    """A sentence for each file that looks like an op's, of an op that the table does not have."""
    return [f"{folder}/{path.name} is of no op: write an entry for {path.stem!r} into OPS in roikit/testing/table.py"
            for folder in FOLDERS for path in sorted((root / folder).glob("[a-z]*.py"))
            if path.stem not in (*ops, *table.FORMATS)]


def test_every_op_has_its_own_files():
    assert not (found := [*missing_files(ROOT, OPS), *unlisted_files(ROOT, OPS)]), "\n".join(found)


def test_each_missing_file_is_named(tmp_path):
    """In a house of empty files, each taken away in turn."""
    ops = {name: op for name, op in OPS.items() if name in ("nms", "losses")}
    places = [place.format(op=name) for name, op in ops.items() for place in FILES
              if op.kind != "torch" or place in FILES_OF_TORCH]
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    assert len(places) == len(FILES) + len(FILES_OF_TORCH) and not missing_files(tmp_path, ops)
    for place in places:
        (tmp_path / place).unlink()
        said, = missing_files(tmp_path, ops)
        assert f" needs {place}: " in said
        (tmp_path / place).touch()
    assert unlisted_files(tmp_path, {"nms": ops["nms"]}) == [
        f"{folder}/losses.py is of no op: write an entry for 'losses' into OPS in roikit/testing/table.py"
        for folder in ("roikit/ops", "roikit/bench/works")]


def arguments(signature, without=frozenset()):
    """(name, kind, default) of each argument; a dtype by its name."""
    return [(p.name, p.kind, str(getattr(p.default, "__name__", p.default)).removeprefix("torch.")
             if p.name == "dtype" else p.default) for p in signature.parameters.values() if p.name not in without]


def on_a_floor(floor, wanted):
    """What is wrong with a function on a floor, or None."""
    package, name, home = importlib.import_module(f"roikit.{floor}"), wanted.name, f"roikit.{floor}.{wanted.op}"
    function = getattr(package, name, None)
    if function is None or name not in package.__all__:
        return (f"roikit.{floor} does not export it: {name} belongs into __all__ of roikit/{floor}/{wanted.op}.py, and "
                f"`from {home} import *` into roikit/{floor}/__init__.py")
    if function.__module__ != home:
        return f"it lives in {function.__module__}, not in {home}"
    if arguments(inspect.signature(function), OWN_ARGUMENTS[floor]) != arguments(wanted.signature):
        return f"it takes {inspect.signature(function)} on the floor of {floor}"
    return None


BRANCH = re.compile(r"#(if|else|endif)\b(.*)")


def defined(text, module):
    """The functions that a binding defines in _core or in _cuda: what stands under `#if ROIKIT_ON_CUDA` is _cuda's."""
    kept, seen = [], [True]
    for line in text.splitlines():
        branch = BRANCH.match(line)
        if branch is None:
            kept += [line] if all(seen) else []
        elif branch[1] == "if":
            seen.append(branch[2].split()[0].endswith("ROIKIT_ON_CUDA")
                        and branch[2].split()[0].startswith("!") != (module == "_cuda"))
        elif branch[1] == "else":
            seen[-1] = not seen[-1]
        else:
            seen.pop()
    return set(re.findall(r'\bdef\(\s*module,\s*"(\w+)"', "\n".join(kept)))


def entry_points(module):
    """What a compiled module defines; where it was not built, what the sources of its bindings do."""
    if importlib.util.find_spec(f"roikit.{module}") is not None:
        return set(vars(importlib.import_module(f"roikit.{module}")))
    return set().union(*(defined(path.read_text(), module) for path in BINDINGS.glob("*.cpp")))


def missing_entries(wanted, module, has):
    listed = wanted.entries[module == "_cuda"]
    path = BINDINGS / f"{wanted.op}.cpp"
    own = defined(path.read_text(), module) & has if path.is_file() else set()
    # What a module does in steps has entry points whose names begin with the function's.
    if missing := [name for name in listed if name not in has and not any(o.startswith(f"{name}_") for o in own)]:
        return f"src/bind/{wanted.op}.cpp defines no {' and no '.join(missing)} in {module}"
    return None if listed else "-"


def holes(ops):
    """The matrix as text, a line for each function, and the list of its holes."""
    compiled = {module: entry_points(module) for module in ("_core", "_cuda")}
    columns = [*OWN_ARGUMENTS, *compiled]
    picture, found = [f"{'':13}{'':26}" + "".join(f"{column:11}" for column in columns)], []
    for op in ops.values():
        for wanted in op.functions:
            cells = {floor: "-" if floor not in (("ops",) if wanted.is_module else op.floors) else
                     on_a_floor(floor, wanted) for floor in OWN_ARGUMENTS}
            cells |= {module: missing_entries(wanted, module, has) for module, has in compiled.items()}
            words = {None: "x", "-": "-"}
            picture.append(f"{op.name:13}{wanted.name:26}" + "".join(f"{words.get(cells[c], 'HOLE'):11}"
                                                                     for c in columns))
            found += [f"{wanted.text}: {cell}" for cell in cells.values() if cell not in words]
    return "\n".join(["", *picture, "", *found]), found


def test_the_matrix_of_functions_and_floors_has_no_hole():
    picture, found = holes(OPS)
    assert not found, picture


@pytest.mark.parametrize("op, kind, line, told", [
    ("nms", "sorted", "nns(boxes: boxes)", [
        *(f"`from roikit.{floor}.nms import *` into roikit/{floor}/__init__.py" for floor in OWN_ARGUMENTS),
        "src/bind/nms.cpp defines no nns in _core", "src/bind/nms.cpp defines no nns in _cuda"]),
    ("nms", "sorted", "soft_nms(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method='linear')",
     [f"it lives in roikit.{floor}.soft_nms" for floor in OWN_ARGUMENTS]),
    ("roi_warp", "sampled", "roi_warp(input, boxes, output_size, spatial_scale=1.0, *, reduce='mean')",
     [f"on the floor of {floor}" for floor in OWN_ARGUMENTS]),
    ("roi_pool", "sampled", "RoIPool(output_size, spatial_scale=1.0)", ["on the floor of ops"]),
    ("losses", "torch", "no_loss(boxes: boxes)", ["roikit.ops does not export it"]),
])
def test_the_matrix_shows_its_holes(op, kind, line, told):
    picture, found = holes(catalogue.ops({op: {"kind": kind, "tolerance": "exact", "functions": [line]}}))
    assert len(found) == len(told) == picture.count("HOLE")
    assert all(words in hole for words, hole in zip(told, found, strict=True)), picture


def unlisted_functions(floor, names, ops):
    """A sentence for each public function of a floor that the table does not have."""
    known = {f.name for op in ops.values() for f in op.functions}
    return [f"roikit.{floor}.{name} is in no entry of OPS in roikit/testing/table.py" for name in names
            if name not in known and not re.fullmatch(PARTS[floor], name)]


@pytest.mark.parametrize("floor", PARTS)
def test_every_public_function_is_in_the_table(floor):
    names = importlib.import_module(f"roikit.{floor}").__all__
    assert not (found := unlisted_functions(floor, names, OPS)), "\n".join(found)
    without = {name: op for name, op in OPS.items() if name != "roi_pool"}
    assert f"roikit.{floor}.roi_pool is in no entry of OPS in roikit/testing/table.py" in unlisted_functions(
        floor, names, without)


def test_a_binding_under_a_condition_is_one_modules():
    text = """
  def(module, "both", device::both, "boxes");
#if ROIKIT_ON_CUDA  // in steps
  def(module, "there", device::there);
#else
  def(
      module, "here", device::here);
#endif
#if !ROIKIT_ON_CUDA
  def(module, "here_too", device::here_too);
#endif
"""
    assert defined(text, "_core") == {"both", "here", "here_too"}
    assert defined(text, "_cuda") == {"both", "there"}
