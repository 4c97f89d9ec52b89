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
x, rois = torch.rand(1, 2, 8, 8, requires_grad=True), torch.tensor([[0.0, 4, 4, 5, 3, 30]])
out = d2.roi_align_rotated(x, rois, (2, 2), 1.0, 2)
assert torch.equal(torch.ops.detectron2.roi_align_rotated_forward(x, rois, 1.0, 2, 2, 2), out)
grad = torch.rand_like(out)
back = torch.ops.detectron2.roi_align_rotated_backward(grad, rois, 1.0, 2, 2, 1, 2, 8, 8, 2)
torch.testing.assert_close(back, torch.autograd.grad(out, x, grad)[0])
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


def test_deformable_functions_of_both_modules(run_python):
    """By place, as detectron2 calls them, and by name, as mmcv does."""
    run_python("""
import torch
from roikit.compat._deform import FUNCTIONS
import roikit.ops
close = torch.testing.assert_close
x, weight, offset = torch.randn(2, 4, 6, 7), torch.randn(6, 2, 3, 3), torch.randn(2, 36, 3, 7)
bias, mask, empty, out = torch.randn(6), torch.rand(2, 18, 3, 7), torch.empty(0), torch.empty(2, 6, 3, 7)
grad, place = torch.randn(2, 6, 3, 7), (3, 3, 1, 2, 1, 1, 1, 1, 2, 2)  # widths first
tensors = [t.clone().requires_grad_() for t in (x, offset, weight, bias, mask)]
plain = roikit.ops.deform_conv2d(*tensors[:3], None, (2, 1), (1, 1))
whole = roikit.ops.deform_conv2d(*tensors[:4], (2, 1), (1, 1), mask=tensors[4])
FUNCTIONS["deform_conv_forward"](x, weight, offset, out, empty, empty, *place, 64)
close(out, plain)
wanted = torch.autograd.grad(plain, tensors[:3], grad)
into = [torch.zeros_like(t) for t in tensors]
FUNCTIONS["deform_conv_backward_input"](x, offset, grad, *into[:2], weight, empty, *place, 64)
FUNCTIONS["deform_conv_backward_parameters"](x, offset, grad, into[2], empty, empty, kW=3, kH=3, dW=1, dH=2, padW=1,
    padH=1, dilationW=1, dilationH=1, group=2, deformable_group=2, scale=1, im2col_step=32)
close(into[:3], list(wanted))
rule = (3, 3, 2, 1, 1, 1, 1, 1, 2, 2)  # heights first
for with_bias in (True, False):
    FUNCTIONS["modulated_deform_conv_forward"](x, weight, bias, empty, offset, mask, out, empty, *rule, with_bias)
    close(out, whole if with_bias else whole - tensors[3][:, None, None])
wanted = torch.autograd.grad(whole, tensors, grad)
FUNCTIONS["modulated_deform_conv_backward"](x, weight, bias, empty, offset, mask, empty, into[0], into[2], into[3],
                                            into[1], into[4], grad, *rule, True)
close(into, list(wanted))
""")


MMCV = {
    "__init__.py": "",
    "ops/__init__.py": "import importlib\nimport torch\next = importlib.import_module('mmcv._ext')\n"
                       "assert all(hasattr(ext, name) for name in ('nms', 'carafe_forward'))\n",
}


def test_mmcv_runs_without_its_module(package, run_python):
    """Called as mmcv's Python calls it: what it allocated is filled."""
    package("mmcv", MMCV)
    run_python("""
import torch
import roikit.compat.mmcv as peer
peer.install()
peer.install()
from mmcv.ops import ext
close = torch.testing.assert_close
boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [20.0, 20.0, 30.0, 40.0]])
scores, dets = torch.tensor([0.5, 0.9, 0.1]), torch.zeros(3, 5)
assert ext.nms(boxes, scores, iou_threshold=0.4, offset=0).tolist() == [1, 2]
inds = ext.softnms(boxes, scores, dets, iou_threshold=0.4, sigma=0.5, min_score=0.2, method=1, offset=0)
assert inds.tolist() == [1, 0]
close(dets[:2, 4], torch.tensor([0.9, 0.25]))
assert ext.nms_match(torch.cat([boxes, scores[:, None]], 1), iou_threshold=0.5) == [[1, 0], [2]]
out = torch.zeros(3, 3)
ext.bbox_overlaps(boxes, boxes, out, mode=1, aligned=False, offset=0)
assert out[0].tolist() == [1, 0.5, 0]
turned, out = torch.cat([boxes, torch.zeros(3, 1)], 1), torch.zeros(3)
ext.box_iou_rotated(turned, turned, out, mode_flag=0, aligned=True)
assert out.tolist() == [1, 1, 1]
keep = ext.nms_rotated(turned, scores, scores.argsort(), turned, torch.empty(0, dtype=torch.int), 0.5, False)
assert keep.tolist() == [1, 0, 2]

x, rois = torch.rand(1, 2, 8, 8, requires_grad=True), torch.cat([torch.zeros(3, 1), boxes], 1)
grad = torch.rand(3, 2, 2, 2)
for name, more, empty in (("roi_align", dict(aligned_height=2, aligned_width=2, spatial_scale=0.5, sampling_ratio=0,
                                             pool_mode=1, aligned=True), [torch.zeros(0), torch.zeros(0)]),
                          ("prroi_pool", dict(pooled_height=2, pooled_width=2, spatial_scale=0.5), []),
                          ("roi_pool", dict(pooled_height=2, pooled_width=2, spatial_scale=0.5),
                           [torch.zeros(3, 2, 2, 2, dtype=torch.int)])):
    out, into = torch.zeros(3, 2, 2, 2), torch.zeros(1, 2, 8, 8)
    getattr(ext, name + "_forward")(x.detach(), rois, out, *empty, **more)
    expected = getattr(peer, name)(x, rois, 2, 0.5)
    close(out, expected)
    getattr(ext, name + "_backward")(grad, rois, *empty, into, **more)
    close(into, torch.autograd.grad(expected, x, grad)[0])
    if name == "prroi_pool":
        moved, into = rois.clone().requires_grad_(), torch.zeros(3, 5)
        ext.prroi_pool_coor_backward(out, grad, x.detach(), rois, into, **more)
        close(into, torch.autograd.grad(peer.prroi_pool(x, moved, 2, 0.5), moved, grad)[0])
rois, more = torch.cat([rois, torch.rand(3, 1)], 1), dict(pooled_height=2, pooled_width=2, spatial_scale=0.5,
                                                          sampling_ratio=0, aligned=False, clockwise=True)
expected = peer.roi_align_rotated(x, rois, 2, 0.5, 0, False, True)
out, into = torch.zeros(3, 2, 2, 2), torch.zeros(1, 2, 8, 8)
ext.roi_align_rotated_forward(x.detach(), rois, out, **more)
close(out, expected)
ext.roi_align_rotated_backward(grad, rois, into, **more)
close(into, torch.autograd.grad(expected, x, grad)[0])

logits, target = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 2, 1, 0])
for name, given in (("sigmoid_focal_loss", logits.detach()), ("softmax_focal_loss", logits.detach().softmax(1))):
    expected = getattr(peer, name)(logits, target, 2.0, 0.25, None, "none")
    out, into = torch.zeros_like(expected), torch.zeros(4, 3)
    getattr(ext, name + "_forward")(given, target, torch.empty(0), out, gamma=2.0, alpha=0.25)
    close(out, expected)
    buffer = [torch.zeros(4)] if name.startswith("softmax") else []
    getattr(ext, name + "_backward")(given, target, torch.empty(0), *buffer, into, gamma=2.0, alpha=0.25)
    close(into, torch.autograd.grad(expected.sum(), logits)[0])

for call, name in ((ext.carafe_forward, "mmcv._ext.carafe_forward"), (lambda: ext.roi_align_forward(
        x, rois, out, out, out, 2, 2, 0.5, 0, 0, True), "pool_mode")):
    try:
        call()
    except NotImplementedError as reason:
        assert name in str(reason), reason
    else:
        raise AssertionError("no error")
assert "roikit" in ext.get_compiler_version() and ext.get_compiling_cuda_version() == "not available"
""")


@pytest.mark.parametrize("peer", ["detectron2", "mmcv"])
def test_install_is_harmless_without_the_package(run_python, peer):
    run_python(f"""
import sys
sys.modules["{peer}"] = None
import roikit.compat.{peer}
roikit.compat.{peer}.install()
""")
