"""detectron2's layers and box heads on roikit's kernels, under its names; detectron2 itself is not needed.

    from roikit.compat.detectron2 import ROIAlign, ROIPooler, batched_nms, paste_masks_in_image

Names, argument orders and defaults are detectron2's. Where the answers differ, docs/detectron2.md says how and why.
`install` lets detectron2's own Python run on roikit where it was not compiled.
"""

from roikit.compat.detectron2.anchors import DefaultAnchorGenerator, RotatedAnchorGenerator
from roikit.compat.detectron2.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    Box2BoxTransformRotated,
)
from roikit.compat.detectron2.deform_conv import (
    DeformConv,
    ModulatedDeformConv,
    deform_conv,
    modulated_deform_conv,
)
from roikit.compat.detectron2.extension import install
from roikit.compat.detectron2.layers import (
    ROIAlign,
    ROIAlignRotated,
    batched_nms,
    batched_nms_rotated,
    ciou_loss,
    diou_loss,
    nms,
    nms_rotated,
    pairwise_iou,
    pairwise_iou_rotated,
    paste_masks_in_image,
    roi_align,
    roi_align_rotated,
)
from roikit.compat.detectron2.matching import Matcher, subsample_labels
from roikit.compat.detectron2.poolers import ROIPooler, assign_boxes_to_levels, convert_boxes_to_pooler_format

__all__ = [
    "Box2BoxTransform",
    "Box2BoxTransformLinear",
    "Box2BoxTransformRotated",
    "DefaultAnchorGenerator",
    "DeformConv",
    "Matcher",
    "ModulatedDeformConv",
    "ROIAlign",
    "ROIAlignRotated",
    "ROIPooler",
    "RotatedAnchorGenerator",
    "assign_boxes_to_levels",
    "batched_nms",
    "batched_nms_rotated",
    "ciou_loss",
    "convert_boxes_to_pooler_format",
    "deform_conv",
    "diou_loss",
    "install",
    "modulated_deform_conv",
    "nms",
    "nms_rotated",
    "pairwise_iou",
    "pairwise_iou_rotated",
    "paste_masks_in_image",
    "roi_align",
    "roi_align_rotated",
    "subsample_labels",
]
