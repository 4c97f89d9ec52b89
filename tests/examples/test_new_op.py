"""`docs.recipes.new_op`: what it writes of each kind works on every floor as it is, and where a piece of it is missing,
a test of the house names it."""

import difflib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import roikit

PACKAGE = Path(roikit.__file__).resolve().parent
ROOT = Path(__file__).resolve().parents[2]
NAMES = {kind: f"{kind}_by_recipe" for kind in ("elementwise", "sorted", "sampled")}
PARTS = ("benchmarks", "docs", "roikit", "src", "tests")
LEFT = shutil.ignore_patterns("__pycache__", "nuclei_mini", "golden", "coco_eval", "*.png", "results", "*.so")
GENERATED = {"docs/index.md", "docs/verify.md", "docs/conventions.md"}
HOUSE = ("tests/test_matrix.py", "tests/test_layout.py", "tests/test_contracts.py", "tests/test_pages.py",
         "tests/testing/test_table.py", "tests/testing/test_verify.py", "tests/testing/test_gpu_cases.py",
         "tests/bench/test_kernel_works.py", "tests/ops/test_arguments.py", "tests/ops/test_fx.py",
         "tests/ops/test_derivatives.py")


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for part in PARTS for p in sorted((root / part).rglob("*"))
            if p.is_file() and "__pycache__" not in p.parts}


def tool(root):
    """docs/recipes/new_op.py of a tree, as a module."""
    spec = importlib.util.spec_from_file_location("new_op", root / "docs/recipes/new_op.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run_in():
    """Runs Python in a tree, which it imports roikit from; returns what it printed, or fails with all that it said."""
    def run(root, *words):
        env = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "",
               "ROIKIT_CUDA": "off", "ROIKIT_HYPOTHESIS": "few"}
        done = subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        return done.stdout

    return run


@pytest.fixture(scope="module")
def written(tmp_path_factory, run_in):
    """A copy of the tree with a new op of each kind; what it held before; what was said of each."""
    root = tmp_path_factory.mktemp("tree")
    for part in PARTS:
        shutil.copytree(ROOT / part, root / part, ignore=LEFT)
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    for module in PACKAGE.glob("_*.so"):  # what is tested may be an installed package, and the tree without any
        if not module.name.startswith("_cuda."):
            shutil.copy(module, root / "roikit")
    before = contents(root)
    said = {name: run_in(root, "-m", "docs.recipes.new_op", name, kind) for kind, name in NAMES.items()}
    return root, before, said


@pytest.fixture(scope="module")
def built(written, run_in, emulation):
    """The same with `roikit._core` built: of the objects only those of the new ops and the module's list are made."""
    for needed in ("Cython", "pybind11", "setuptools"):
        pytest.importorskip(needed)
    root, _, _ = written
    objects = Path("build/objects") / sys.implementation.cache_tag
    if not (ROOT / objects / "roikit._core").is_dir():
        pytest.skip(f"no {objects} of an earlier build; pip install -e . leaves it behind")
    emulation.build("nms")  # which sorts for others; up to date, it is not written while it is copied
    for folder in (objects, Path("build/cython"), emulation.FOLDER / "nms"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, root / folder)
    for module in (root / "roikit").glob("_core.*.so"):
        module.unlink()  # without the new ops
    run_in(root, "setup.py", "build_ext", "--inplace")
    return root


def test_each_file_that_is_written_is_said_and_so_is_what_comes_next(written):
    root, before, said = written
    for name in NAMES.values():
        own = [place for place in contents(root) if name in place]
        assert len(own) == 15 and not set(own) & set(before)
        assert all(f"{place}: written\n" in said[name] for place in own)
        assert f"1. roikit/reference/{name}.py and tests/reference/test_{name}.py" in said[name]
        assert not [place for place in own if "opname" in (root / place).read_text().lower()]


def test_an_op_takes_at_most_six_lines_in_four_shared_files(written):
    root, before, _ = written
    after = contents(root)
    changed = {place for place, text in before.items() if after[place] != text} - GENERATED
    assert changed == {"roikit/testing/table.py", *(f"roikit/{f}/__init__.py" for f in ("reference", "kernels", "ops"))}
    lines = [line for place in changed for line in difflib.ndiff(before[place].decode().splitlines(),
                                                                 after[place].decode().splitlines())]
    assert not [line for line in lines if line[0] == "-"]
    assert len([line for line in lines if line[0] == "+"]) <= 6 * len(NAMES)


def test_the_linter_has_nothing_to_say(written, run_in):
    pytest.importorskip("ruff")
    run_in(written[0], "-m", "ruff", "check", "--no-cache", ".")


def test_the_ops_work_on_every_floor_and_the_house_stands(built, run_in):
    own = [f"tests/{place}/test_{name}.py" for name in NAMES.values() for place in ("reference", "kernels", "ops")]
    chosen = "by_recipe or test_matrix or test_layout or test_contracts or test_pages or every"
    said = run_in(built, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *own, *HOUSE, "-k", chosen)
    assert " passed" in said and "emulated" not in said  # none was skipped for want of a compiler


@pytest.mark.parametrize("kind", NAMES)
def test_each_piece_that_is_taken_away_is_named(built, run_in, kind):
    name = NAMES[kind]
    said = json.loads(run_in(built, "tests/examples/taken_away.py", name, kind))
    assert set(said) >= {place for place in contents(built) if name in place} and len(said) == 15 + 4 + 2
    for place, sentences in said.items():
        asked = Path(place).name if place.startswith("docs/") and name not in place else place
        assert sentences and all(name in sentence or asked in sentence for sentence in sentences), (place, sentences)
        assert any(asked in sentence for sentence in sentences), (place, sentences)


@pytest.mark.parametrize("name, reason", [
    ("nms", "nms is an op already, in roikit/testing/table.py"),
    ("box_codec", "box_codec is an op already, in roikit/testing/table.py"),
    ("box_iou", "box_iou is a function of boxes already, in roikit/testing/table.py"),
    ("rle", "rle is an op already, in roikit/testing/table.py"),
    ("candidates", "candidates is a check of roikit._check, which an op's file there would hide"),
    ("roi_align_gather", "src/cuda/roi_align_gather.cu, tests/ops/test_roi_align_gather.py is there already"),
    ("double", "double has a meaning in src/bind/mask_assembly.cpp"),
    ("kept_fake", "kept_fake has a meaning in docs/recipes/sorted/roikit/ops/opname.py"),
    ("class", "NAME must be an identifier in small letters, got 'class'"),
    ("2_boxes", "NAME must be an identifier in small letters, got '2_boxes'"),
    ("Boxes", "NAME must be an identifier in small letters, got 'Boxes'"),
])
def test_a_name_that_is_taken_or_none_is_refused_and_nothing_written(written, capsys, name, reason):
    root, _, _ = written
    before = contents(root)
    assert tool(root).main([name, "sorted"]) == 1
    assert capsys.readouterr() == ("", f"new_op: {reason}\n")
    assert contents(root) == before


def test_a_kind_that_is_none_is_refused(written, capsys):
    with pytest.raises(SystemExit):
        tool(written[0]).main(["fresh", "torch"])
    assert "invalid choice: 'torch'" in capsys.readouterr().err
