"""What a detector asks of its boxes, of upright and of rotated ones alike.

A detector holds one of the two objects, and its parts ask that: how many numbers a box has, what deltas mean, how much
two boxes overlap, what of a box lies in the image, how a mask lies in it.

Sources: Ren et al. 2015, arXiv:1506.01497 (upright); Ma et al. 2017, arXiv:1703.01086 (rotated anchors and codec).
Where the second leaves it open detectron2 is followed: what is clipped, and how a box is scaled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from roikit.models.configs import DetectorConfig, RpnConfig
from roikit.ops import (
    batched_nms,
    batched_nms_rotated,
    box_iou_rotated,
    cell_anchors,
    cell_anchors_rotated,
    clip_boxes_to_image,
    decode_boxes,
    decode_boxes_rotated,
    encode_boxes,
    encode_boxes_rotated,
    mask_targets,
    mask_targets_rotated,
    match_boxes,
    paste_masks,
    paste_masks_rle,
    paste_masks_rotated,
    paste_masks_rotated_rle,
    remove_small_boxes,
)

__all__ = ["ROTATED", "UPRIGHT", "RotatedBoxes", "UprightBoxes", "geometry_of"]

Size = tuple[int, int]

# Growth of a side in one step; the ops hold it from above.
_CLIP = math.log(1000 / 16)
# Overlaps that are looked at together: 16 MiB.
_OVERLAPS = 4 << 20
# Degrees from which on a box is no longer clipped as an upright one, detectron2's.
_CLIPPED_ANGLE = 1.0


@dataclass(frozen=True)
class UprightBoxes:
    """Boxes x1, y1, x2, y2 in pixels."""

    numbers = 4

    def valid(self, boxes: Tensor) -> Tensor:
        """(N,) whether each of (N, 4) boxes is finite and has an area; NaN is no area."""
        return (boxes[:, 2:] > boxes[:, :2]).all(1) & boxes.isfinite().all(1)

    def cell(self, sizes: Sequence[float], config: RpnConfig, dtype: torch.dtype, device: torch.device) -> Tensor:
        """(A, 4) anchors of a cell of the level with these sizes, around the origin."""
        return cell_anchors(sizes, config.aspect_ratios, dtype=dtype, device=device, rounded=config.rounded_anchors,
                            order=config.anchor_order)

    def encode(self, boxes: Tensor, anchors: Tensor, weights: Sequence[float] = (1.0,) * 4) -> Tensor:
        """(N, 4) deltas from `anchors` to `boxes`; see `roikit.ops.encode_boxes`."""
        return encode_boxes(boxes, anchors, weights)

    def decode(self, deltas: Tensor, boxes: Tensor, weights: Sequence[float] = (1.0,) * 4, clip_below: bool = False
               ) -> Tensor:
        """(N, 4) `boxes` moved by (N, 4) `deltas`; see `roikit.ops.decode_boxes`.

        Args:
            clip_below: widths and heights shrink to 16 / 1000 of a box's at most, as they grow to 1000 / 16 at most.
        """
        return decode_boxes(_shrinking_less(deltas, weights) if clip_below else deltas, boxes, weights)

    def match(self, boxes: Tensor, objects: Tensor, high: float, low: float, allow_low_quality: bool
              ) -> tuple[Tensor, Tensor]:
        """Row of the object and label of each box; see `roikit.ops.match_boxes`."""
        index, label, _ = match_boxes(boxes, objects, high, low, allow_low_quality=allow_low_quality)
        return index, label

    def clip(self, boxes: Tensor, size: Size) -> Tensor:
        """(N, 4) what of the boxes lies in an image of `size` (H, W)."""
        return clip_boxes_to_image(boxes, size)

    def large(self, boxes: Tensor, side: float) -> Tensor:
        """Rows of the boxes without a side shorter than this, ascending."""
        return remove_small_boxes(boxes, side)

    def suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
        """Rows of the boxes that NMS keeps of each label, best first."""
        return batched_nms(boxes, scores, labels, threshold)

    def rescale(self, boxes: Tensor, size: Size, new_size: Size) -> Tensor:
        """(N, 4) boxes of an image of `size` (H, W) as boxes of the same image at `new_size`."""
        if size == new_size:
            return boxes
        return boxes * boxes.new_tensor([new_size[1] / size[1], new_size[0] / size[0]]).repeat(2)

    def mask_targets(self, masks: Tensor | list[Any], boxes: Tensor, matched: Tensor, cells: int, rule: str,
                     image_size: Size | None) -> Tensor:
        """(R, cells, cells) of the objects' masks within the boxes; see `roikit.ops.mask_targets`."""
        return mask_targets(masks, boxes, matched, cells, rule=rule, image_size=image_size)

    def paste(self, masks: Tensor, boxes: Tensor, size: Size, threshold: float | None, rule: str) -> Tensor:
        """(D, H, W) masks in the image; see `roikit.ops.paste_masks`."""
        return paste_masks(masks, boxes, size, threshold=threshold, rule=rule)

    def paste_rle(self, masks: Tensor, boxes: Tensor, size: Size, threshold: float, rule: str) -> list[dict[str, Any]]:
        """The same as D COCO RLE dicts; see `roikit.ops.paste_masks_rle`."""
        return paste_masks_rle(masks, boxes, size, threshold=threshold, rule=rule)


@dataclass(frozen=True)
class RotatedBoxes:
    """Boxes cx, cy, w, h in pixels and degrees counter-clockwise; the methods are those of `UprightBoxes`.

    Args:
        symmetry: of 360, 180 and 90, the degrees after which a turned box is the same one, at 90 with its sides
            exchanged: of its descriptions `encode` takes the one nearest to the anchor.
    """

    symmetry: int = 360

    numbers = 5

    def valid(self, boxes: Tensor) -> Tensor:
        return (boxes[:, 2:4] > 0).all(1) & boxes.isfinite().all(1)

    def cell(self, sizes: Sequence[float], config: RpnConfig, dtype: torch.dtype, device: torch.device) -> Tensor:
        return cell_anchors_rotated(sizes, config.aspect_ratios, config.angles, dtype=dtype, device=device)

    def encode(self, boxes: Tensor, anchors: Tensor, weights: Sequence[float] = (1.0,) * 5) -> Tensor:
        if self.symmetry < 360:
            turns = ((anchors[:, 4] - boxes[:, 4]) / self.symmetry).round()
            angles = boxes[:, 4] + self.symmetry * turns
            sides = boxes[:, 2:4]
            if self.symmetry == 90:
                sides = torch.where((turns.remainder(2) == 1)[:, None], sides.flip(1), sides)
            boxes = torch.cat((boxes[:, :2], sides, angles[:, None]), 1)
        return encode_boxes_rotated(boxes, anchors, weights)

    def decode(self, deltas: Tensor, boxes: Tensor, weights: Sequence[float] = (1.0,) * 5, clip_below: bool = False
               ) -> Tensor:
        return decode_boxes_rotated(_shrinking_less(deltas, weights) if clip_below else deltas, boxes, weights)

    def match(self, boxes: Tensor, objects: Tensor, high: float, low: float, allow_low_quality: bool
              ) -> tuple[Tensor, Tensor]:
        """`roikit.ops.match_boxes` by `roikit.ops.box_iou_rotated`, some objects at a time."""
        best = boxes.new_zeros(len(boxes))
        index = torch.full_like(best, -1 if len(objects) == 0 else 0, dtype=torch.int64)
        closest = torch.zeros_like(best, dtype=torch.bool)
        at_once = max(_OVERLAPS // max(len(boxes), 1), 1)
        for start in range(0, len(objects) if len(boxes) else 0, at_once):
            overlap = box_iou_rotated(boxes, objects[start:start + at_once])
            most, place = overlap.max(1)  # the first of equal ones
            better = most > best
            index = torch.where(better, place + start, index)
            best = torch.where(better, most, best)
            if allow_low_quality:
                own = overlap.amax(0)
                closest |= ((overlap == own) & (own > 0)).any(1)
        label = torch.where(closest | (best >= high), 1, torch.where(best >= low, -1, 0))
        return index, label.to(torch.int8) if len(objects) else torch.zeros_like(index, dtype=torch.int8)

    def clip(self, boxes: Tensor, size: Size) -> Tensor:
        """Boxes within one degree of upright are clipped as upright ones; the others stay, whole or not, because none
        of the rectangles that could be left of them holds all that they show of the image."""
        half = boxes[:, 2:4] / 2
        corners = clip_boxes_to_image(torch.cat((boxes[:, :2] - half, boxes[:, :2] + half), 1), size)
        low, high = corners.split(2, 1)
        sides = torch.minimum(boxes[:, 2:4], high - low)  # rounding makes no box larger
        clipped = torch.cat(((low + high) / 2, sides, boxes[:, 4:]), 1)
        return torch.where(boxes[:, 4:].abs() <= _CLIPPED_ANGLE, clipped, boxes)

    def large(self, boxes: Tensor, side: float) -> Tensor:
        return ((boxes[:, 2:4] >= side).all(1) & boxes.isfinite().all(1)).nonzero()[:, 0]

    def suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
        return batched_nms_rotated(boxes, scores, labels, threshold)

    def rescale(self, boxes: Tensor, size: Size, new_size: Size) -> Tensor:
        """Where the two axes are scaled apart, a rectangle becomes a parallelogram: of that the lengths of both axes
        stay, and the direction of the one along the height, as in detectron2."""
        if size == new_size:
            return boxes
        x, y = new_size[1] / size[1], new_size[0] / size[0]
        if x == y:
            return torch.cat((boxes[:, :4] * x, boxes[:, 4:]), 1)
        turn = boxes[:, 4].deg2rad()
        cos, sin = turn.cos(), turn.sin()
        width, height = (x * cos).hypot(y * sin), (x * sin).hypot(y * cos)
        angle = torch.atan2(x * sin, y * cos).rad2deg()
        return torch.stack((boxes[:, 0] * x, boxes[:, 1] * y, boxes[:, 2] * width, boxes[:, 3] * height, angle), 1)

    def mask_targets(self, masks: Tensor | list[Any], boxes: Tensor, matched: Tensor, cells: int, rule: str,
                     image_size: Size | None) -> Tensor:
        return mask_targets_rotated(masks, boxes, matched, cells, rule=rule, image_size=image_size)

    def paste(self, masks: Tensor, boxes: Tensor, size: Size, threshold: float | None, rule: str) -> Tensor:
        return paste_masks_rotated(masks, boxes, size, threshold=threshold)

    def paste_rle(self, masks: Tensor, boxes: Tensor, size: Size, threshold: float, rule: str) -> list[dict[str, Any]]:
        return paste_masks_rotated_rle(masks, boxes, size, threshold=threshold)


def _shrinking_less(deltas: Tensor, weights: Sequence[float]) -> Tensor:
    least = deltas.new_tensor([-_CLIP * weights[2], -_CLIP * weights[3]])
    return torch.cat((deltas[:, :2], torch.maximum(deltas[:, 2:4], least), deltas[:, 4:]), 1)


UPRIGHT, ROTATED = UprightBoxes(), RotatedBoxes()


def geometry_of(config: DetectorConfig) -> UprightBoxes | RotatedBoxes:
    """That of the boxes of a detector with this configuration."""
    return UPRIGHT if config.boxes == "upright" else RotatedBoxes(config.symmetry)
