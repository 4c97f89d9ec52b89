"""Peers beside roikit, in processes of their own; and torchvision as with a binary that loads.

ROIKIT_TEST_TORCHVISION_OPS names a library that defines torchvision's operators. A stand-in needs none: it has their
schemas, and kernels that give the right shapes full of 7.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name == "{}" else find(name, *more)
"""

LOADS = """
import torch
_load_library = torch.ops.load_library
torch.ops.load_library = lambda path: load() if "_C" in str(path) else _load_library(path)
"""

STAND_IN = LOADS + """
from roikit.compat.torchvision.operators import SCHEMAS

def sevens(name):
    def nms(boxes, scores, threshold):
        return torch.full((7,), 7)
    def pool(input, rois, scale, height, width, *rest):
        channels = input.shape[1] // (height * width) if name.startswith("ps_") else input.shape[1]
        out = input.new_full((len(rois), channels, height, width), 7)
        return out if name == "roi_align" else (out, torch.zeros(out.shape, dtype=torch.int32))
    def other(*arguments):
        raise NotImplementedError(name)
    if name == "nms":
        return nms
    return pool if name in ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool") else other

def load():
    global library
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        name = schema.split("(")[0]
        library.define(schema)
        if name == "_cuda_version":
            library.impl(name, lambda: -1, "CompositeExplicitAutograd")
        else:
            library.impl(name, sevens(name), "CPU")
            library.impl(name, sevens(name), "CUDA")
"""


@pytest.fixture
def run_beside():
    """Runs a peer in a process that also finds what this one finds.

    Call with a script of this folder, the peers to install() roikit for, and a compiled module to hide.
    """
    import roikit

    home, path = str(Path(roikit.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")

    def run(script, *peers, hide=None):
        code = [HIDE.format(hide)] if hide else []
        code += [f"import roikit.compat.{peer}; roikit.compat.{peer}.install()" for peer in peers]
        code += [f"import runpy; runpy.run_path({str(Path(__file__).parent / script)!r}, run_name='__main__')"]
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", "\n".join(code)], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join([home, path])})
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture
def loads():
    """LOADS: the code after it defines `load`, which defines torchvision's operators."""
    return LOADS


@pytest.fixture
def stand_in():
    return STAND_IN


@pytest.fixture
def library():
    """LOADS with the library that ROIKIT_TEST_TORCHVISION_OPS names, or a skip."""
    path = os.environ.get("ROIKIT_TEST_TORCHVISION_OPS")
    if not path:
        pytest.skip("ROIKIT_TEST_TORCHVISION_OPS names no library of torchvision's operators")
    return LOADS + f"\ndef load():\n    _load_library({path!r})\n"


@pytest.fixture(params=["stand_in", "library"])
def binary(request):
    return request.getfixturevalue(request.param)
