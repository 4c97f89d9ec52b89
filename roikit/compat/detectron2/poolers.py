"""detectron2.modeling.poolers."""

import math

import torch

import roikit.ops
from roikit.compat._arguments import positive, shaped, sizes, tensor_of

__all__ = ["ROIPooler", "assign_boxes_to_levels", "convert_boxes_to_pooler_format"]

TYPES = ("ROIAlign", "ROIAlignV2", "ROIPool", "ROIAlignRotated")


def _sizes(boxes):
    """The square root of the area of boxes (L, 4), or (L, 5) when rotated."""
    if boxes.shape[-1] == 5:
        return (boxes[:, 2] * boxes[:, 3]).sqrt()
    return ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()


def _levels(sizes, canonical_box_size, canonical_level):
    return (canonical_level + (sizes / canonical_box_size + 1e-8).log2()).floor()


def assign_boxes_to_levels(box_lists, min_level, max_level, canonical_box_size, canonical_level):
    """detectron2.modeling.poolers.assign_boxes_to_levels, by its expression.

    Args:
        box_lists: a tensor (L, 4), (L, 5) when rotated, or an object with such a ``.tensor``, for each image.
        min_level, max_level: -log2 of the finest and the coarsest map's scale.
        canonical_box_size, canonical_level: a box of canonical_box_size ** 2 pixels is on canonical_level.

    Returns:
        (M,) int64, level - min_level of each box of all images; min_level for a box that is not finite.
    """
    sizes = torch.cat([_sizes(tensor_of(boxes)) for boxes in box_lists])
    levels = _levels(sizes, canonical_box_size, canonical_level).clamp(min_level, max_level)
    return levels.nan_to_num(min_level).to(torch.int64) - min_level


def convert_boxes_to_pooler_format(box_lists):
    """detectron2.modeling.poolers.convert_boxes_to_pooler_format.

    Args:
        box_lists: a tensor (L, 4), (L, 5) when rotated, or an object with such a ``.tensor``, for each image.

    Returns:
        (M, 5) or (M, 6), the index of the image first; float32 where the boxes are half.
    """
    boxes = [tensor_of(part) for part in box_lists]
    boxes = [part.float() if part.dtype in (torch.float16, torch.bfloat16) else part for part in boxes]
    return torch.cat([torch.nn.functional.pad(part, (1, 0), value=float(i)) for i, part in enumerate(boxes)])


def _threshold(level, canonical_box_size, canonical_level):
    """The least float32 size that detectron2's expression puts on ``level`` or above."""
    below, reached = 0, 0x7F800000  # the bits of 0 and of infinity: of positive floats, larger bits are larger numbers
    while reached - below > 1:
        middle = (below + reached) // 2
        size = torch.tensor([middle], dtype=torch.int32, device="cpu").view(torch.float32)
        if _levels(size, canonical_box_size, canonical_level).item() >= level:
            reached = middle
        else:
            below = middle
    return torch.tensor([reached], dtype=torch.int32, device="cpu").view(torch.float32).item()


class ROIPooler(torch.nn.Module):
    """detectron2.modeling.poolers.ROIPooler: RoIs of a batch, each pooled from the map that its size asks for.

    Args:
        output_size: P, or (PH, PW).
        scales: map pixels an image pixel of each map, powers of two, each half the one before.
        sampling_ratio: as in roikit.ops.roi_align.
        pooler_type: "ROIAlign" (aligned False), "ROIAlignV2" (aligned True), "ROIPool" or "ROIAlignRotated".
        canonical_box_size, canonical_level: a box of canonical_box_size ** 2 pixels is on level canonical_level, the
            level of a map being -log2 of its scale.

    Input: a list of maps (N, C, H_i, W_i); a list with the boxes of each image, (L, 4) tensors, (L, 5) when rotated,
    or objects with such a ``.tensor``. Levels are those that detectron2's expression gives; all types but "ROIPool"
    pool all of them by one kernel.

    Returns, when called: (M, C, PH, PW), boxes of the first image first.

    Raises:
        TypeError, ValueError: another type; scales that form no pyramid; lists of another length; maps or boxes of
            another shape or dtype.
    """

    def __init__(self, output_size, scales, sampling_ratio, pooler_type, canonical_box_size=224, canonical_level=4):
        super().__init__()
        if pooler_type not in TYPES:
            raise ValueError(f"ROIPooler: pooler_type must be one of {TYPES}, got {pooler_type!r}")
        for scale in scales:
            positive("ROIPooler", "scales", scale)
        levels = [-math.log2(scale) for scale in scales]
        if (not levels or levels[0] < 0 or any(level != round(level) for level in levels)
                or any(b - a != 1 for a, b in zip(levels[:-1], levels[1:], strict=True))):
            raise ValueError("ROIPooler: scales must be powers of two of at most 1, each half the one before, "
                             f"got {list(scales)}")
        positive("ROIPooler", "canonical_box_size", canonical_box_size)
        self.output_size = sizes("ROIPooler", "output_size", output_size)
        self.scales, self.sampling_ratio, self.pooler_type = list(scales), sampling_ratio, pooler_type
        self.min_level, self.max_level = round(levels[0]), round(levels[-1])
        self.canonical_box_size, self.canonical_level = canonical_box_size, canonical_level
        self._thresholds = [_threshold(level, canonical_box_size, canonical_level)
                            for level in range(self.min_level + 1, self.max_level + 1)]

    def forward(self, x, box_lists):
        if len(x) != len(self.scales):
            raise ValueError(f"ROIPooler: x must have one map a scale ({len(self.scales)}), got {len(x)}")
        if len(box_lists) != x[0].shape[0]:
            raise ValueError(f"ROIPooler: box_lists must have one entry an image ({x[0].shape[0]}), "
                             f"got {len(box_lists)}")
        if len(box_lists) == 0:
            return x[0].new_zeros((0, x[0].shape[1], *self.output_size))
        for i, m in enumerate(x):
            shaped("ROIPooler", f"x[{i}]", m, *x[0].shape[:2], "H", "W")
            if m.dtype != x[0].dtype:
                raise ValueError(f"ROIPooler: x must have one dtype, got {x[0].dtype} and {m.dtype}")
        for i, boxes in enumerate(box_lists):
            shaped("ROIPooler", f"box_lists[{i}]", tensor_of(boxes), "L",
                   5 if self.pooler_type == "ROIAlignRotated" else 4)
            if not tensor_of(boxes).is_floating_point():
                raise TypeError(f"ROIPooler: box_lists[{i}] must be floating, got {tensor_of(boxes).dtype}")
        rois = convert_boxes_to_pooler_format(box_lists)
        if len(x) == 1:
            return self._pool(x[0], rois, self.scales[0])
        if self.pooler_type in ("ROIAlign", "ROIAlignV2"):
            return torch.ops.roikit.multiscale_roi_align(list(x), rois, self.scales, self._thresholds,
                                                         *self.output_size, self.sampling_ratio,
                                                         self.pooler_type == "ROIAlignV2")
        if self.pooler_type == "ROIAlignRotated":
            return torch.ops.roikit.multiscale_roi_align_rotated(list(x), rois, self.scales, self._thresholds,
                                                                 *self.output_size, self.sampling_ratio)
        levels = assign_boxes_to_levels([rois[:, 1:]], self.min_level, self.max_level, self.canonical_box_size,
                                        self.canonical_level)
        parts = [(levels == i).nonzero().flatten() for i in range(len(x))]
        pooled = [self._pool(m, rois[part], scale) for m, part, scale in zip(x, parts, self.scales, strict=True)]
        return torch.cat(pooled)[torch.cat(parts).argsort()]

    def _pool(self, features, rois, scale):
        if self.pooler_type == "ROIPool":
            return roikit.ops.roi_pool(features, rois, self.output_size, scale)
        if self.pooler_type == "ROIAlignRotated":
            return roikit.ops.roi_align_rotated(features, rois, self.output_size, scale, self.sampling_ratio)
        return roikit.ops.roi_align(features, rois, self.output_size, scale, self.sampling_ratio,
                                    self.pooler_type == "ROIAlignV2")

    def extra_repr(self):
        return (f"output_size={self.output_size}, scales={self.scales}, sampling_ratio={self.sampling_ratio}, "
                f"pooler_type={self.pooler_type}")
