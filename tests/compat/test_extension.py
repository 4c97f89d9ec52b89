"""install() of roikit.compat.detectron2 and .mmcv, on packages made here that import a compiled module as those do."""

import sysconfig

import pytest

DETECTRON2 = {
    "__init__.py": "",
    "layers/__init__.py": "",
    "layers/deform_conv.py": "try:\n    from detectron2 import _C\nexcept ImportError:\n    _C = None\n",
    "evaluation/__init__.py": "",
    "evaluation/fast_eval_api.py": "from detectron2 import _C\n",
}
INSTALL = """
import torch
import roikit.compat.detectron2 as d2
d2.install()
d2.install()
from detectron2.layers import deform_conv
_C = deform_conv._C
"""


@pytest.fixture
def package(tmp_path):
    """Writes files of a package into the folder where run_python runs."""

    def write(name, files):
        for path, text in files.items():
            place = tmp_path / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    return write


@pytest.mark.parametrize("broken", [False, True])
def test_detectron2_runs_without_its_module_or_with_a_broken_one(package, run_python, broken):
    package("detectron2", DETECTRON2)
    if broken:
        package("detectron2", {"_C" + sysconfig.get_config_var("EXT_SUFFIX"): "no library"})
    run_python(INSTALL + """
assert not _C.has_cuda() and "roikit" in _C.get_compiler_version() and _C.get_cuda_version() == "not available"
boxes = torch.tensor([[5.0, 5.0, 10.0, 10.0, 0.0], [5.0, 5.0, 10.0, 9.0, 0.0]])
keep = torch.ops.detectron2.nms_rotated(boxes, torch.tensor([0.1, 0.2]), 0.5)
assert keep.tolist() == [1]
assert torch.equal(torch.ops.detectron2.box_iou_rotated(boxes, boxes), d2.pairwise_iou_rotated(boxes, boxes))
assert torch.ops.detectron2.box_iou_rotated(boxes.to("meta"), boxes.to("meta")).shape == (2, 2)
try:
    _C.COCOevalAccumulate(1)
except NotImplementedError as reason:
    assert "detectron2._C.COCOevalAccumulate" in str(reason)
else:
    raise AssertionError("no error")
try:
    from detectron2.evaluation import fast_eval_api
except ImportError as reason:
    assert "fast_eval_api" in str(reason)
else:
    raise AssertionError("the fast evaluation was imported")
""")


def test_a_module_that_loads_is_left_alone(package, run_python):
    package("detectron2", {**DETECTRON2, "_C.py": "own = 1"})
    run_python(INSTALL + """
assert _C.own == 1 and not hasattr(_C, "has_cuda")
from detectron2.evaluation import fast_eval_api
""")


def test_without_install_nothing_changes_and_then_it_is_too_late(package, run_python):
    package("detectron2", DETECTRON2)
    run_python("""
import roikit.compat.detectron2 as d2
from detectron2.layers import deform_conv
assert deform_conv._C is None
try:
    d2.install()
except RuntimeError as reason:
    assert "imported before" in str(reason)
else:
    raise AssertionError("no error")
""")


def test_install_is_harmless_without_the_package(run_python):
    run_python("""
import sys
sys.modules["detectron2"] = None
import roikit.compat.detectron2
roikit.compat.detectron2.install()
""")
