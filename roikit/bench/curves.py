"""The works whose cost is followed as they grow: `roikit bench --scaling` and asv's scaling classes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

import roikit.ops as ops

from . import inputs
from .work import forward, only, plain
from .works._pooling import P2
from .works.boxes import iou_peers
from .works.mask_paste import CELLS, SIZE, paste_peers
from .works.matching import matching_peers
from .works.nms import nms_peers

__all__ = ["Curve", "curves"]

LARGE = (8000, 8000)  # an aerial picture, or a slide
OBJECTS = 1000  # columns of the matrices


@dataclass(frozen=True)
class Curve:
    """
    Attributes:
        op: the op's name, as its page has it.
        name: of the curve.
        of: what its sizes count.
        sizes: ascending.
        make: size -> the inputs, a tuple.
        ours: inputs -> the call to be timed.
        peers: name -> the same for each peer that is here.
    """

    op: str
    name: str
    of: str
    sizes: tuple
    make: Callable
    ours: Callable
    peers: dict = field(default_factory=dict)

    def rival(self, name):
        return self.ours if name == "roikit" else self.peers.get(name)


def steps(first, last):
    """1, 3, 10, 30, ... times ``first``, up to ``last``."""
    sizes = [first]
    while sizes[-1] < last:
        sizes += [3 * sizes[-1], 10 * sizes[-1]]
    return tuple(sizes)


def curves(peers):
    """All curves; ``peers``: name -> module, as `import_peers` gives them."""
    return [*box_curves(peers), *roi_curves(peers), *paste_curves(peers)]


def box_curves(peers):
    def nms(name, centres):
        return Curve("nms", name, "boxes", steps(1000, 1_000_000), lambda n: inputs.clusters(n, centres(n)),
                     plain(lambda b, s: ops.nms(b, s, 0.7)), nms_peers(peers, 0.7))

    def pairs(n):
        anchors = inputs.anchors()
        # Spread evenly, in their order, so that all sizes are alike; the larger repeat anchors.
        return anchors[torch.arange(n) * len(anchors) // n], inputs.boxes(OBJECTS, 32, 400, seed=2)

    yield nms("nms, 100 objects", lambda n: 100)
    yield nms("nms, n / 100 objects", lambda n: n // 100)
    yield Curve("boxes", f"box_iou, n x {OBJECTS}", "boxes", steps(1000, 1_000_000), pairs, plain(ops.box_iou),
                iou_peers(peers))
    yield Curve("matching", f"match_boxes, n x {OBJECTS}", "anchors", steps(1000, 1_000_000), pairs,
                plain(lambda a, t: ops.match_boxes(a, t, 0.7, 0.3)), matching_peers(peers))


def roi_curves(peers):
    tv = peers.get("torchvision")

    def align(library):
        return forward(lambda x, rois: library.roi_align(x, rois, 7, 1 / 4, 2, True))

    yield Curve("roi_align", f"roi_align, 7x7 of {'x'.join(map(str, P2))}", "rois", steps(100, 100_000),
                lambda n: (inputs.feature_map(*P2), inputs.rois(n, 16, 224)), align(ops),
                only(torchvision=tv and align(tv.ops)))


def paste_curves(peers):
    for height, width in (SIZE, LARGE):
        def given(n, size=(height, width)):
            part = size[0] / SIZE[0]  # objects grow with the image
            boxes = inputs.boxes(n, 24 * part, 500 * part, 6, height=size[0], width=size[1])
            return inputs.mask_probabilities(n, CELLS), boxes

        def ours(op, size=(height, width)):
            return plain(lambda m, b: op(m, b, size))

        _, hard, runs, _ = paste_peers(peers, (height, width))
        sizes = steps(1, 10_000)
        yield Curve("mask_paste", f"paste_masks_rle, {height}x{width}", "masks", sizes, given,
                    ours(ops.paste_masks_rle), runs)
        yield Curve("mask_paste", f"paste_masks, {height}x{width}", "masks", sizes, given, ours(ops.paste_masks), hard)
