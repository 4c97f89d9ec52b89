"""torch.compile passes over the kernels of torchvision's operators that are roikit's, as over those of roikit's own."""

import importlib.util

import pytest

WITHOUT_BINARY = """
import torchvision_extension
from roikit.compat.torchvision.loading import _define
_define(torchvision_extension)
"""

BESIDE_A_BINARY = """
import torchvision
from roikit.compat.torchvision import install
install(prefer="roikit")
"""

COMPILED = """
from pathlib import Path

import torch
import torch._dynamo
from torch._dynamo.convert_frame import input_codes

import roikit

@torch._dynamo.disable(recursive=False)
def outside_a_graph(name, arguments):
    found = getattr(torch.ops.torchvision, name)(*arguments)
    found = found if isinstance(found, torch.Tensor) else found[0]
    if found.requires_grad:
        found.sum().backward()
    return found

def call(name, arguments):
    return outside_a_graph(name, arguments)

boxes = torch.tensor([[2.0, 3, 12, 11], [3, 3, 12, 12], [14, 2, 22, 19]])
rois = torch.cat((torch.zeros(3, 1), boxes), 1)
maps = torch.rand(1, 4, 32, 32, requires_grad=True)
calls = {
    "nms": (boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5),
    "roi_align": (maps, rois, 0.5, 2, 2, 2, True),
    "roi_pool": (maps, rois, 0.5, 2, 2),
    "ps_roi_align": (maps, rois, 0.5, 2, 2, 2),
    "ps_roi_pool": (maps, rois, 0.5, 2, 2),
    "deform_conv2d": (maps, torch.ones(4, 4, 1, 1), torch.zeros(1, 2, 32, 32), torch.ones(1, 1, 32, 32),
                      torch.zeros(4), 1, 1, 0, 0, 1, 1, 1, 1, True),
}
home = Path(roikit.__file__).parent
for name, arguments in calls.items():
    torch._dynamo.reset()
    found = torch.compile(call, backend="eager")(name, arguments)
    taken_up = [code() for code in input_codes.seen]
    assert call.__code__ in taken_up
    ours = [code.co_name for code in taken_up if code and Path(code.co_filename).is_relative_to(home)]
    expected = getattr(torch.ops.torchvision, name)(*arguments)
    assert torch.equal(found, expected if isinstance(expected, torch.Tensor) else expected[0])
    print(name, (name == "nms" or maps.grad.abs().sum() > 0).__bool__(), *ours)
    maps.grad = None
"""

EXPECTED = [f"{name} True" for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")]


def test_contract_compiling_does_not_enter_what_takes_the_binarys_place(run_python, tmp_path):
    (tmp_path / "torchvision_extension.py").write_text("")
    assert run_python(WITHOUT_BINARY + COMPILED).splitlines() == EXPECTED


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_contract_compiling_does_not_enter_what_overrides_a_binary(run_python, stand_in):
    assert run_python(stand_in + BESIDE_A_BINARY + COMPILED).splitlines() == EXPECTED
