"""Calls of every operator: by hand of those with a derivative, of the others what the examples of the table make."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from roikit import ops
from roikit.testing import catalogue

ROIKIT = torch.ops.roikit


def random(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


MAPS, BINS, WIDE = random(2, 3, 6, 5), random(3, 3, 2, 2, seed=1), random(2, 8, 6, 5, seed=2)
LEVELS = [random(2, 3, 8, 10, seed=3), random(2, 3, 4, 5, seed=4)]
ROIS = torch.tensor([[0, 0.3, 0.4, 3.1, 4.2], [1, 1.2, 0.1, 4.3, 3.7], [1, 0.2, 2.1, 2.6, 5.3]], dtype=torch.float64)
TURNED_ROIS = torch.tensor([[0, 2.1, 2.2, 3.1, 2.2, 20], [1, 2.4, 3.1, 2.3, 3.7, -50], [1, 2, 2, 1, 1, 0]],
                           dtype=torch.float64)
BOXES = torch.tensor([[0.1, 0.2, 4.3, 3.4], [1.2, 0.7, 5.1, 4.6], [2.3, 1.4, 3.2, 5.5]], dtype=torch.float64)
ANCHORS, TURNED = BOXES + random(3, 4, seed=5) * 0.3, torch.cat([BOXES, 30 * random(3, 1, seed=6)], dim=1)
TURNED_ANCHORS = TURNED + 0.2 * random(3, 5, seed=7)
FILTERS = (random(1, 4, 4, 4, seed=8), 3 * random(1, 8, 3, 3, seed=9) - 1, random(2, 4, 2, 2, seed=10))
MASK, BIAS, STEPS = random(1, 4, 3, 3, seed=11), random(2, seed=12), ([1, 1], [0, 0], [1, 1])
MAXIMA = ROIKIT.roi_pool(MAPS, ROIS, 1.0, 2, 2)[1]
WINNERS = ROIKIT.roi_warp(MAPS, ROIS, 1.0, 2, 2, False)[1]
LARGEST = ROIKIT.roi_align_max(MAPS, ROIS, 1.0, 2, 2, 2, False, True)[1]
LARGEST_OF_LEVELS = ROIKIT.multiscale_roi_align_max(LEVELS, ROIS, [1.0, 0.5], [3.0], 2, 2, 2, False, True)[1]
NONE = MAPS.new_empty(0, 3, 2, 2, dtype=torch.int8)

# Each operator that has a derivative: arguments, and which of them may have a tangent.
CASES = {
    "box_iou": [((BOXES, ANCHORS[:2]), ())],
    "complete_box_iou": [((BOXES, ANCHORS[:2], 1e-7), ())],
    "decode_boxes": [((random(3, 8), ANCHORS, [1.0, 2.0, 3.0, 4.0], 4.0), ())],
    "decode_boxes_rotated": [((random(3, 10), TURNED_ANCHORS, [1.0, 2.0, 3.0, 4.0, 5.0], 4.0), ())],
    "deform_conv2d": [((*FILTERS, BIAS, *STEPS, MASK), ("input", "weight", "bias", "mask")),
                      ((*FILTERS, None, *STEPS, None), ("input", "weight"))],
    "deform_conv2d_backward": [((random(1, 2, 3, 3), *FILTERS, MASK, *STEPS, [True] * 5), ("grad",)),
                               ((random(1, 2, 3, 3), *FILTERS, None, *STEPS, [True, False] * 2 + [False]), ("grad",))],
    "distance_box_iou": [((BOXES, ANCHORS[:2], 1e-7), ())],
    "encode_boxes": [((BOXES, ANCHORS, [1.0, 2.0, 3.0, 4.0]), ())],
    "encode_boxes_rotated": [((TURNED, TURNED_ANCHORS, [1.0, 2.0, 3.0, 4.0, 5.0]), ())],
    "generalized_box_iou": [((BOXES, ANCHORS[:2]), ())],
    "multiscale_roi_align": [((LEVELS, ROIS, [1.0, 0.5], [3.0], 2, 2, 2, False), ("features",)),
                             ((LEVELS[:1], ROIS, [1.0], [], 2, 2, 0, True), ("features",))],
    "multiscale_roi_align_backward": [((BINS, ROIS, 2, [8, 4], [10, 5], False, [1.0, 0.5], [3.0], 2, False), ("grad",)),
                                      ((BINS, ROIS, 2, [8], [10], True, [1.0], [], 2, False), ("grad",))],
    "multiscale_roi_align_max": [((LEVELS, ROIS, [1.0, 0.5], [3.0], 2, 2, 2, False, wanted), ("features",))
                                 for wanted in (True, False)],
    "multiscale_roi_align_max_at": [((LEVELS, LARGEST_OF_LEVELS, ROIS, [1.0, 0.5], [3.0], 2, False), ("features",))],
    "multiscale_roi_align_max_backward": [((BINS, LARGEST_OF_LEVELS, ROIS, 2, [8, 4], [10, 5], False, [1.0, 0.5], [3.0],
                                            2, False), ("grad",))],
    "multiscale_roi_align_rotated": [((LEVELS, TURNED_ROIS, [1.0, 0.5], [2.5], 2, 2, 2), ("features",))],
    "multiscale_roi_align_rotated_backward": [((BINS, TURNED_ROIS, 2, [8, 4], [10, 5], False, [1.0, 0.5], [2.5], 2),
                                               ("grad",))],
    "ps_roi_align": [((WIDE, ROIS, 1.0, 2, 2, 2), ("input",))],
    "ps_roi_align_backward": [((BINS, ROIS, 2, 6, 5, 1.0, 2), ("grad",))],
    "ps_roi_pool": [((WIDE, ROIS, 1.0, 2, 2), ("input",))],
    "ps_roi_pool_backward": [((BINS, ROIS, 2, 6, 5, 1.0), ("grad",))],
    "roi_align": [((MAPS, ROIS, 1.0, 2, 2, 2, False), ("input",))],
    "roi_align_backward": [((BINS, ROIS, 2, 6, 5, False, 1.0, 2, False), ("grad",))],
    "roi_align_boxes_backward": [((BINS, MAPS, ROIS, 1.0, False), ("grad", "input"))],
    "roi_align_integral": [((MAPS, ROIS, 1.0, 2, 2, False), ("input",))],
    "roi_align_integral_backward": [((BINS, ROIS, 2, 6, 5, False, 1.0, False), ("grad",))],
    "roi_align_max": [((MAPS, ROIS, 1.0, 2, 2, 2, False, wanted), ("input",)) for wanted in (True, False)],
    "roi_align_max_at": [((MAPS, LARGEST, ROIS, 1.0, 2, False), ("input",))],
    "roi_align_max_backward": [((BINS, LARGEST, ROIS, 2, 6, 5, False, 1.0, 2, False), ("grad",))],
    "roi_align_rotated": [((MAPS, TURNED_ROIS, 1.0, 2, 2, 2), ("input",))],
    "roi_align_rotated_backward": [((BINS, TURNED_ROIS, 2, 6, 5, False, 1.0, 2), ("grad",))],
    "roi_pool": [((MAPS, ROIS, 1.0, 2, 2), ("input",)), ((MAPS, ROIS, 1.0, 2, 2, False), ("input",))],
    "roi_pool_backward": [((BINS, MAXIMA, ROIS, 2, 6, 5, False), ("grad",))],
    "roi_warp": [((MAPS, ROIS, 1.0, 2, 2, mean), ("input",)) for mean in (False, True)],
    "roi_warp_at": [((MAPS, WINNERS, ROIS, 1.0), ("input",))],
    "roi_warp_backward": [((BINS, argmax, ROIS, 2, 6, 5, 1.0), ("grad",)) for argmax in (WINNERS, NONE)],
}


class _Recorder(TorchDispatchMode):
    """Notes the arguments of roikit's operators."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "roikit":
            held = tree_map(lambda x: x.detach().clone() if isinstance(x, torch.Tensor) else x, args)
            self.calls.append((func._schema.name.removeprefix("roikit::"), held))
        return func(*args, **(kwargs or {}))


def floating(x):
    """The floating tensors among an argument or a result, at any depth."""
    if isinstance(x, (list, tuple)):
        return [part for other in x for part in floating(other)]
    return [x] if isinstance(x, torch.Tensor) and x.is_floating_point() else []


def _differentiate(result, leaves, times=2):
    """Gradients, and gradients of gradients where there are any, so that their operators are called."""
    total = sum(x.square().sum() for x in floating(result) if x.requires_grad)
    if times and isinstance(total, torch.Tensor):
        try:
            _differentiate(torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True), leaves, times - 1)
        except NotImplementedError:  # once only
            torch.autograd.grad(total, leaves, allow_unused=True)


def recorded(functions):
    """operator -> its arguments in each call that the examples of the functions make of it, in float64."""
    with _Recorder() as recorder:
        for function in functions:
            given = tree_map(lambda x: x.double().requires_grad_() if floating(x) else x,
                             catalogue.as_tensors(function.arguments()))
            _differentiate(getattr(ops, function.name)(**given), floating(list(given.values())))
    found = {}
    for name, args in recorder.calls:
        found.setdefault(name, []).append(args)
    return {name: calls[:1] for name, calls in found.items()}


def _is_decided(name, args):
    """Whether no result of the call requires grad."""
    given = tree_map(lambda x: x.clone().requires_grad_() if floating(x) else x, args)
    return not any(x.requires_grad for x in floating(getattr(ROIKIT, name)(*given)))


OTHERS = {name: calls for name, calls in recorded(catalogue.functions().values()).items() if name not in CASES}
# Those whose results are decisions, and do not require grad.
WITHOUT = {name: calls for name, calls in OTHERS.items() if _is_decided(name, calls[0])}
# The function takes torch's operations for a gradient by the targets, which the example asks for, too.
WITHOUT["sigmoid_focal_loss"] = [(4 * BINS - 2, random(3, 3, 2, 2, seed=17), 0.25, 2.0, summed, False)
                                 for summed in (False, True)]
WITHOUT["paste_masks"].append((random(3, 4, 4, seed=16), BOXES, 6, 6, None, "continuous"))
# Operators with a derivative of which nothing is said by hand: a tangent is right, or an error.
CASES |= {name: [(args, None) for args in calls] for name, calls in OTHERS.items() if name not in WITHOUT}
