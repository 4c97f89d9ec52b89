"""mmcv.ops on roikit's kernels, under its names; mmcv itself is not needed.

    from roikit.compat.mmcv import RoIAlign, batched_nms, nms

Names, argument orders, defaults and conventions are mmcv's: offset, radians, the corners of RoIPool, background as the
last class. Where the answers differ, docs/mmcv.md says how and why. `install` lets mmcv's own Python
run on roikit where it was not compiled.
"""

from roikit.compat.mmcv.deform_conv import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2d,
    ModulatedDeformConv2dPack,
    deform_conv2d,
    modulated_deform_conv2d,
)
from roikit.compat.mmcv.extension import install
from roikit.compat.mmcv.focal_loss import (
    SigmoidFocalLoss,
    SoftmaxFocalLoss,
    sigmoid_focal_loss,
    softmax_focal_loss,
)
from roikit.compat.mmcv.nms import batched_nms, nms, nms_match, nms_rotated, soft_nms
from roikit.compat.mmcv.overlaps import bbox_overlaps, box_iou_rotated
from roikit.compat.mmcv.roi import (
    PrRoIPool,
    RoIAlign,
    RoIAlignRotated,
    RoIPool,
    prroi_pool,
    roi_align,
    roi_align_rotated,
    roi_pool,
)

__all__ = [
    "DeformConv2d",
    "DeformConv2dPack",
    "ModulatedDeformConv2d",
    "ModulatedDeformConv2dPack",
    "PrRoIPool",
    "RoIAlign",
    "RoIAlignRotated",
    "RoIPool",
    "SigmoidFocalLoss",
    "SoftmaxFocalLoss",
    "batched_nms",
    "bbox_overlaps",
    "box_iou_rotated",
    "deform_conv2d",
    "install",
    "modulated_deform_conv2d",
    "nms",
    "nms_match",
    "nms_rotated",
    "prroi_pool",
    "roi_align",
    "roi_align_rotated",
    "roi_pool",
    "sigmoid_focal_loss",
    "soft_nms",
    "softmax_focal_loss",
]
