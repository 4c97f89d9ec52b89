"""Which names of roikit.compat torch.jit.script compiles: those that the pages say, and no others."""

import importlib
import re
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch has torch.export now

DOCS = Path(__file__).resolve().parents[2] / "docs"
ANCHORS = {"sizes": [[32]], "aspect_ratios": [[1.0]], "strides": [16]}
MODULES = {
    "torchvision": {
        "DeformConv2d": (4, 4, 3), "FrozenBatchNorm2d": (4,), "MultiScaleRoIAlign": (["0"], 2, 2),
        "PSRoIAlign": (2, 1.0, 2), "PSRoIPool": (2, 1.0), "RoIAlign": (2, 1.0, 2), "RoIPool": (2, 1.0)},
    "detectron2": {
        "DefaultAnchorGenerator": ANCHORS, "RotatedAnchorGenerator": {**ANCHORS, "angles": [[0]]},
        "DeformConv": (4, 4, 3), "ModulatedDeformConv": (4, 4, 3), "ROIAlign": (2, 1.0, 2),
        "ROIAlignRotated": (2, 1.0, 2), "ROIPooler": (2, [1.0, 0.5], 2, "ROIAlignV2")},
    "mmcv": {
        "DeformConv2d": (4, 4, 3), "DeformConv2dPack": (4, 4, 3), "ModulatedDeformConv2d": (4, 4, 3),
        "ModulatedDeformConv2dPack": (4, 4, 3), "PrRoIPool": (2, 1.0), "RoIAlign": (2,), "RoIAlignRotated": (2, 1.0),
        "RoIPool": (2,), "SigmoidFocalLoss": (2.0, 0.25), "SoftmaxFocalLoss": (2.0, 0.25)},
}


def scripted(peer, name):
    """The name in TorchScript, a module made first; None where it cannot be compiled."""
    thing = getattr(importlib.import_module(f"roikit.compat.{peer}"), name)
    if isinstance(thing, type) and issubclass(thing, torch.nn.Module):
        arguments = MODULES[peer][name]
        thing = thing(**arguments) if isinstance(arguments, dict) else thing(*arguments)
    try:
        return torch.jit.script(thing)
    except (RuntimeError, AttributeError, torch.jit.frontend.FrontendError):  # the second, of torch's own parser
        return None


@pytest.mark.parametrize("peer", MODULES)
def test_the_page_says_which_names_can_be_scripted(peer):
    (sentence,) = re.findall(r"`torch\.jit\.script` compiles ([^.]*)\.", (DOCS / f"{peer}.md").read_text())
    names = importlib.import_module(f"roikit.compat.{peer}").__all__
    assert {name for name in names if scripted(peer, name)} == set(re.findall(r"`(\w+)`", sentence))


def test_what_compiles_of_torchvisions_runs():
    norm, x = importlib.import_module("roikit.compat.torchvision").FrozenBatchNorm2d(4, eps=0.5), torch.rand(1, 4, 3, 3)
    assert torch.equal(torch.jit.script(norm)(x), norm(x))


def test_what_compiles_of_detectron2s_refuses_a_list():
    boxes = [torch.tensor([[0.0, 0, 4, 4]])]
    for name, more in (("convert_boxes_to_pooler_format", ()), ("assign_boxes_to_levels", (2, 5, 224, 4))):
        with pytest.raises(RuntimeError, match="Tensor"):
            scripted("detectron2", name)(boxes, *more)
