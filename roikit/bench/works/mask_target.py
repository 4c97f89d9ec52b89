"""Works of mask targets: bitmaps and polygons."""

from functools import partial

import numpy as np

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, only, plain, size_of
from .mask_paste import CELLS, SIZE

__all__ = ["works"]


def works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    if tv:
        from torchvision.models.detection.roi_heads import project_masks_on_boxes
    if d2:
        from detectron2.structures import BitMasks, PolygonMasks

    def sampled(given, out):
        return Cost(4 * out.numel(), size_of(out), 8 * out.numel())

    def targets(masks, boxes, which):
        return ops.mask_targets(masks, boxes, which, CELLS, image_size=SIZE)

    for count, rois in ((20, 128), (200, 1280)):
        objects = inputs.boxes(count, 48, 500, 11, height=SIZE[0], width=SIZE[1])
        boxes, which = inputs.jittered(objects, rois, *SIZE)

        def make(device, objects=objects, boxes=boxes, which=which):
            return tuple(t.to(device) for t in (inputs.ellipses(objects, *SIZE), boxes, which))

        yield Work("mask_target", f"mask_targets {rois} rois of {count} bitmaps", make, plain(targets),
                   only(torchvision=tv and plain(lambda m, b, i: project_masks_on_boxes(m, b, i, CELLS)),
                        detectron2=d2 and (lambda m, b, i: partial(
                            lambda m, b, i: m[i].crop_and_resize(b, CELLS), BitMasks(m), b, i))),
                   sampled, "four bytes of bitmap read and 8 operations a value of the output, which is written",
                   {"cpu": ("ratio", 20)}, ("cpu", "cuda") if rois == 128 else ("cuda",), rois == 128)
    objects = inputs.boxes(20, 48, 500, 11, height=SIZE[0], width=SIZE[1])
    boxes, which = inputs.jittered(objects, 128, *SIZE)
    rng = np.random.default_rng(0)
    polygons = [[inputs.star(box, rng)] for box in objects.tolist()]
    arrays = [[np.array(p) for p in one] for one in polygons]
    yield Work("mask_target", "mask_targets 128 rois of 20 polygons", made(polygons, boxes, which), plain(targets),
               only(detectron2=d2 and (lambda m, b, i: partial(
                   lambda m, b, i: m[i].crop_and_resize(b, CELLS), PolygonMasks(arrays), b, i))),
               None, "none: the work depends on the polygons' edges", devices=("cpu",))
