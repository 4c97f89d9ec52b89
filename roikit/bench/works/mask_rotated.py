"""Works of masks and rotated boxes, beside roikit's own of upright boxes: no peer has them."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, plain, size_of
from .mask_paste import CELLS, SIZE

__all__ = ["works"]


def turned(boxes, seed):
    """Rotated boxes with the centres and sides of upright ones, at any angle."""
    degrees = inputs.uniform(inputs.generator(seed), len(boxes), 1, low=-180.0, high=180.0)
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], degrees], 1)


def works(peers, device):
    boxes = inputs.boxes(100, 24, 500, 6, height=SIZE[0], width=SIZE[1])
    given = made(inputs.mask_probabilities(100, CELLS), turned(boxes, 1), boxes)

    def inside(given, out):
        return Cost(size_of(given[:2]), 0, int(8 * float((given[1][:, 2] * given[1][:, 3]).sum())))

    yield Work("mask_rotated", "paste_masks_rotated_rle 100", given,
               plain(lambda m, b, upright: ops.paste_masks_rotated_rle(m, b, SIZE)),
               {"roikit upright": plain(lambda m, b, upright: ops.paste_masks_rle(m, upright, SIZE))}, inside,
               "8 operations for each pixel inside a box, no image", {"cpu": ("ratio", 1 / 3)}, host=True,
               note="against paste_masks_rle of the upright boxes")
    yield Work("mask_rotated", "paste_masks_rotated bool 100", given,
               plain(lambda m, b, upright: ops.paste_masks_rotated(m, b, SIZE)),
               {"roikit upright": plain(lambda m, b, upright: ops.paste_masks(m, upright, SIZE))},
               counts="masks read, images written", note="against paste_masks of the upright boxes")
    objects = inputs.boxes(20, 48, 500, 11, height=SIZE[0], width=SIZE[1])
    rois, which = inputs.jittered(objects, 128, *SIZE)

    def make(device):
        return tuple(t.to(device) for t in (inputs.ellipses(objects, *SIZE), turned(rois, 1), which, rois))

    def sampled(given, out):
        return Cost(4 * out.numel(), size_of(out), 8 * out.numel())

    yield Work("mask_rotated", "mask_targets_rotated 128 rois of 20 bitmaps", make,
               plain(lambda m, b, i, upright: ops.mask_targets_rotated(m, b, i, CELLS)),
               {"roikit upright": plain(lambda m, b, i, upright: ops.mask_targets(m, upright, i, CELLS))}, sampled,
               "four bytes of bitmap read and 8 operations a value of the output, which is written",
               {"cpu": ("ratio", 1 / 2)}, note="against mask_targets of the upright boxes")
