"""The example of docs/contributing.md, a branch added to a detector, does what its page says and touches no more."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import roikit

PACKAGE = Path(roikit.__file__).resolve().parent
PAGE = Path(__file__).resolve().parents[2] / "docs" / "contributing.md"
BUILD = "roikit/models/build.py"
CHECKS = """
assert losses["loss_fine_mask"].isfinite() and losses["loss_fine_mask"] > 0
new = [name for name, _ in model.named_parameters() if "fine_mask" in name]
assert len(new) == 6 and all(model.get_parameter(name).grad.abs().sum() > 0 for name in new)
assert {name.split(".")[1] for name in new} == {"fine_mask_head", "fine_mask_predictor"}
assert found["fine_masks"].shape == (8, 1, 112, 112) and found["masks"].shape == (8, 1, 64, 64)
assert 0 <= found["fine_masks"].min() < found["fine_masks"].max() <= 1
torch.testing.assert_close(prepared["fine_masks"], found["fine_masks"], atol=1e-3, rtol=0)
nothing = model([torch.zeros(3, 1, 1)])[0]["fine_masks"]
assert nothing.shape[1:] == (1, 112, 112)

from dataclasses import replace
plain = build_detector(replace(config, fine_mask=None))
assert model.state_dict().keys() - plain.state_dict().keys() == set(new)

from roikit.trainer import load_config
assert load_config("nuclei-mini", ["model.fine_mask.pool_size=56"]).model.fine_mask.pool_size == 56
"""


def section():
    text = PAGE.read_text()
    return text[text.index("## Adding a branch to a detector"):text.index("## House rules")]


def changed(text, hunk):
    """The text with one hunk of a diff: its lines without "+" stand there once, and in its place come those without
    "-"."""
    lines = hunk.strip("\n").splitlines()
    old, new = ("".join(line[1:] + "\n" for line in lines if line[0] != sign) for sign in "+-")
    assert text.count(old) == 1, f"not once in the file:\n{old}"
    return text.replace(old, new)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A folder with a copy of the package that has the branch, and the names of the files that this has changed."""
    home = tmp_path_factory.mktemp("package")
    shutil.copytree(PACKAGE, home / "roikit", ignore=shutil.ignore_patterns("__pycache__", "nuclei_mini"))
    (name, text), = re.findall(r"<!-- (roikit/\S+) -->\n```python\n(.*?)```", section(), re.S)
    assert not (home / name).exists()
    (home / name).write_text(text)
    touched = {name}
    for block in re.findall(r"```diff\n(.*?)```", section(), re.S):
        head, *hunks = re.split(r"^@@\n", block, flags=re.M)
        name = head.removeprefix("+++ ").strip()
        text = (home / name).read_text()
        for hunk in hunks:
            text = changed(text, hunk)
        (home / name).write_text(text)
        touched.add(name)
    return home, touched


def test_it_touches_its_own_file_one_configuration_and_one_function(copy):
    home, touched = copy
    assert touched == {"roikit/models/roi/fine_mask.py", "roikit/models/configs/detector.py", BUILD}
    before, after = (ast.parse(path.read_text()).body for path in (PACKAGE.parent / BUILD, home / BUILD))
    functions = [{node.name: ast.dump(node) for node in nodes if isinstance(node, ast.FunctionDef)}
                 for nodes in (before, after)]
    assert [name for name, body in functions[1].items() if functions[0].get(name) != body] == ["build_heads"]
    assert functions[0].keys() == functions[1].keys()
    rest = [{ast.dump(node) for node in nodes if not isinstance(node, ast.FunctionDef)} for nodes in (before, after)]
    assert len(rest[1] - rest[0]) == 1 and rest[0] < rest[1]  # one import


def test_the_detector_with_the_branch_learns_and_detects(copy, tmp_path):
    pytest.importorskip("yaml")  # the trainer's
    home, _ = copy
    code, = re.findall(r"<!-- run -->\n```python\n(.*?)```", section(), re.S)
    done = subprocess.run([sys.executable, "-c", "import torch\ntorch.manual_seed(0)\n" + code + CHECKS], cwd=tmp_path,
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(home)})
    assert done.returncode == 0, done.stderr
