"""torchvision on roikit's kernels, in a fresh interpreter each: operators are registered once a process."""

import importlib.util

import pytest

needs_torchvision = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None,
                                       reason="torchvision is not installed")

INSTALL = """
import torch
import roikit.compat.torchvision
roikit.compat.torchvision.install()
roikit.compat.torchvision.install()
import torchvision
from torchvision.extension import _has_ops
"""


@needs_torchvision
def test_torchvision_imports_and_has_its_operators(run_python):
    run_python(INSTALL + "assert _has_ops()")


@needs_torchvision
def test_torchvisions_modules_can_be_scripted(run_python):
    run_python(INSTALL + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
maps, rois = torch.rand(1, 2, 8, 8), torch.tensor([[0.0, 1, 1, 6, 5]])
for module, arguments in (
        (torchvision.ops.RoIAlign(2, 1.0, 2), (maps, rois)),
        (torchvision.ops.DeformConv2d(2, 3, 3), (maps, torch.randn(1, 18, 6, 6))),
        (torchvision.ops.MultiScaleRoIAlign(["0"], 2, 2), ({"0": maps}, [rois[:, 1:]], [(8, 8)])),
        (torchvision.ops.nms, (rois[:, 1:], torch.ones(1), 0.5))):
    assert torch.equal(torch.jit.script(module)(*arguments), module(*arguments))
""")


@needs_torchvision
def test_operators_answer_as_roikits(run_python):
    run_python(INSTALL + """
import roikit.ops
g = torch.Generator().manual_seed(0)
corner = torch.rand(50, 2, generator=g) * 20
boxes = torch.cat([corner, corner + 1 + torch.rand(50, 2, generator=g) * 10], 1)
scores = torch.rand(50, generator=g)
assert torch.equal(torchvision.ops.nms(boxes, scores, 0.5), roikit.ops.nms(boxes, scores, 0.5))
maps = torch.rand(2, 3, 16, 16, generator=g, dtype=torch.float64, requires_grad=True)
rois = [boxes[:3].double(), boxes[3:5].double()]
for name, arguments in (("roi_align", (5, 0.5, 2, True)), ("roi_pool", (5, 0.5))):
    theirs, ours = (getattr(m.ops, name)(maps, rois, *arguments) for m in (torchvision, roikit))
    assert torch.equal(theirs, ours), name
    weights = torch.rand(ours.shape, generator=g, dtype=torch.float64)
    a, b = (torch.autograd.grad((out * weights).sum(), maps)[0] for out in (theirs, ours))
    torch.testing.assert_close(a, b)
maps = torch.rand(2, 50, 16, 16, generator=g, dtype=torch.float64, requires_grad=True)
for name, arguments in (("ps_roi_align", (5, 0.5, 2)), ("ps_roi_pool", (5, 0.5))):
    theirs, ours = (getattr(m.ops, name)(maps, rois, *arguments) for m in (torchvision, roikit))
    assert torch.equal(theirs, ours), name
    weights = torch.rand(ours.shape, generator=g, dtype=torch.float64)
    a, b = (torch.autograd.grad((out * weights).sum(), maps)[0] for out in (theirs, ours))
    torch.testing.assert_close(a, b)
tensors = [torch.randn(shape, generator=g, dtype=torch.float64, requires_grad=True) for shape in
           ((2, 6, 8, 9), (2, 36, 4, 5), (4, 3, 3, 3), (4,), (2, 18, 4, 5))]
for mask in (tensors[4], None):
    theirs, ours = (m.ops.deform_conv2d(*tensors[:4], (2, 2), (1, 1), (1, 1), mask) for m in (torchvision, roikit))
    assert torch.equal(theirs, ours)
    wanted = tensors[:4] + [mask] * (mask is not None)
    a, b = (torch.autograd.grad(out.square().sum(), wanted) for out in (theirs, ours))
    torch.testing.assert_close(a, b)
layer = torchvision.ops.DeformConv2d(6, 4, 3, stride=2, padding=1, groups=2).double()
assert torch.equal(layer(*tensors[:2]), roikit.ops.deform_conv2d(*tensors[:2], layer.weight, layer.bias, 2, 1))
flat = torch.cat([boxes.new_zeros(3, 1), boxes[:3]], 1)
mapping = torch.ops.torchvision.ps_roi_pool(torch.rand(1, 8, 4, 4), flat, 1.0, 2, 2)[1]
assert mapping.dtype == torch.int32 and mapping[2].flatten().tolist() == list(range(8))
""")


@needs_torchvision
def test_an_operator_without_a_kernel_says_its_name(run_python):
    run_python(INSTALL + """
try:
    torch.ops.torchvision.qnms(torch.rand(1, 4), torch.rand(1), 0.5)
except NotImplementedError as reason:
    assert "torchvision::qnms" in str(reason)
else:
    raise AssertionError("no error")
""")


@needs_torchvision
def test_fake_tensors_take_torchvisions_shapes(run_python):
    run_python(INSTALL + """
x, rois = torch.empty(1, 3, 8, 8, device="meta"), torch.empty(4, 5, device="meta")
assert torchvision.ops.roi_align(x, rois, 2).shape == (4, 3, 2, 2)
""")


def test_install_is_harmless_without_torchvision(run_python):
    run_python("""
import sys
sys.modules["torchvision"] = None
import roikit.compat.torchvision
roikit.compat.torchvision.install()
""")


def test_a_torchvision_that_was_imported_without_operators_is_an_error(run_python):
    run_python("""
import sys, types
fake = types.ModuleType("torchvision.extension")
fake._has_ops = lambda: False
sys.modules.update({"torchvision": types.ModuleType("torchvision"), "torchvision.extension": fake})
import roikit.compat.torchvision
try:
    roikit.compat.torchvision.install()
except RuntimeError as reason:
    assert "call install() first" in str(reason)
else:
    raise AssertionError("no error")
""")


@needs_torchvision
def test_an_import_that_failed_is_not_in_the_way(run_python):
    run_python("""
import torch
try:
    import torchvision
except RuntimeError as reason:  # where its binary does not load
    assert "torchvision::nms does not exist" in str(reason)
""" + INSTALL + """
assert _has_ops()
x, rois = torch.rand(1, 3, 8, 8, requires_grad=True), torch.tensor([[0.0, 1, 1, 6, 6]])
torchvision.ops.roi_align(x, rois, 2).sum().backward()
assert x.grad.abs().sum() > 0 and torchvision.ops.nms(rois[:, 1:], torch.ones(1), 0.5).tolist() == [0]
""")
