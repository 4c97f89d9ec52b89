"""torch.fx: the modules, and the functions by their full names, are one call in a traced graph, with the same bits."""

import copy
import io
import math

import pytest
import torch

import roikit.compat.torchvision as compat
import roikit.ops
from roikit import ops
from roikit.ops import nms
from roikit.testing import catalogue

MAPS = torch.rand(2, 3, 8, 8)
ROIS = torch.tensor([[0, 1.0, 1, 5, 5], [1, 0.4, 2, 6.5, 7]])
BOXES, SCORES = torch.tensor([[0, 0, 4, 4.0], [1, 1, 5, 5], [4, 4, 8, 7]]), torch.tensor([0.5, 0.9, 0.7])
# Modules that take something else than the function of their name does.
MODULES = {
    "RoIAlign-integral": (ops.RoIAlign(2, 1.0, 0, rule="integral"), (MAPS, ROIS)),
    "MultiScaleRoIAlign": (ops.MultiScaleRoIAlign(["a", "b"], 2, 2),
                           ({"a": MAPS, "b": MAPS[..., ::2, ::2]}, [ROIS[:1, 1:], ROIS[1:, 1:]], [(16, 16), (12, 16)])),
    "MultiScaleRoIAlignRotated": (
        ops.MultiScaleRoIAlignRotated(["a", "b"], 2, 2),
        ({"a": MAPS, "b": MAPS[..., ::2, ::2]},
         [torch.tensor([[3.0, 3, 4, 5, 30]]), torch.tensor([[5.0, 6, 7, 3, -70]])], [(16, 16), (12, 16)])),
    "DeformConv2d": (ops.DeformConv2d(3, 4, 3), (MAPS, torch.rand(2, 18, 6, 6), torch.rand(2, 9, 6, 6))),
}
for op in catalogue.ops().values():
    by_name = {function.name.replace("_", ""): function for function in op.functions}
    for module in op.functions:
        if module.is_module and module.name not in MODULES:
            function = by_name[module.name.lower()]
            tensors = catalogue.as_tensors(function.arguments())
            MODULES[module.name] = (getattr(ops, module.name)(**module.arguments()),
                                    tuple(tensors[name] for name in function.words))


@pytest.fixture(autouse=True)
def on_the_host(device):
    if device != "cpu":
        pytest.skip("tracing sees no tensors, so the host's will do")


@pytest.mark.parametrize("name", MODULES)
def test_modules_trace(name):
    module, args = MODULES[name]
    traced = torch.fx.symbolic_trace(module)
    assert torch.equal(traced(*args), module(*args))
    buffer = io.BytesIO()
    torch.save(traced, buffer)
    buffer.seek(0)
    for again in (copy.deepcopy(traced), torch.load(buffer, weights_only=False)):
        assert torch.equal(again(*args), module(*args))


def test_torchvisions_pooler_traces():
    module = compat.MultiScaleRoIAlign(["a", "b", "missing"], 2, 2)
    args = MODULES["MultiScaleRoIAlign"][1]
    assert torch.equal(torch.fx.symbolic_trace(module)(*args), module(*args))


class Detections(torch.nn.Module):
    """Whatever a head may do with boxes, by the functions' full names."""

    def forward(self, maps, boxes, scores):
        boxes = roikit.ops.clip_boxes_to_image(boxes, (8, 8))
        kept = boxes[roikit.ops.nms(boxes, scores, 0.5)]
        bins = ops.roi_align(maps, [kept, boxes], 2, aligned=True)
        return bins, ops.box_iou(kept, boxes), ops.roi_pool(maps, [boxes, kept], output_size=2)


def test_functions_trace_by_their_full_names():
    traced = torch.fx.symbolic_trace(Detections())
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert [f for f in called if getattr(f, "__module__", "").startswith("roikit")] == [
        ops.clip_boxes_to_image, ops.nms, ops.roi_align, ops.box_iou, ops.roi_pool]
    for mine, eager in zip(traced(MAPS, BOXES, SCORES), Detections()(MAPS, BOXES, SCORES), strict=True):
        assert torch.equal(mine, eager)


class Kept(torch.nn.Module):
    def forward(self, boxes, scores):
        return nms(boxes, scores, 0.5)


def test_functions_by_a_name_of_ones_own_trace_where_the_tracer_knows_the_package():
    with pytest.raises(TypeError, match=r"nms: boxes is a Proxy of torch.fx, which traces the ops as roikit.ops.nms\("):
        torch.fx.symbolic_trace(Kept())
    graph = torch.fx.Tracer(autowrap_modules=(math, ops)).trace(Kept())
    assert torch.equal(torch.fx.GraphModule({}, graph)(BOXES, SCORES), nms(BOXES, SCORES, 0.5))
