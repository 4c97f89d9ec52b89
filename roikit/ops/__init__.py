"""roikit's ops on torch tensors, on the CPU and on CUDA, with autograd.

Names, argument order and defaults are torchvision's; roikit's own extra arguments are keyword-only. torch.fx traces the
modules, and ``roikit.ops.nms(...)`` and the like, as one call each.
"""

import torch

from roikit.ops.anchors import cell_anchors, grid_anchors
from roikit.ops.box_codec import decode_boxes, encode_boxes
from roikit.ops.boxes import (
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    complete_box_iou,
    distance_box_iou,
    generalized_box_iou,
    masks_to_boxes,
    remove_small_boxes,
)
from roikit.ops.deform_conv import DeformConv2d, deform_conv2d
from roikit.ops.keypoints import decode_keypoints, encode_keypoints
from roikit.ops.losses import (
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)
from roikit.ops.mask_paste import paste_masks, paste_masks_rle
from roikit.ops.mask_target import mask_targets
from roikit.ops.matching import match_boxes
from roikit.ops.nms import batched_nms, nms, nms_padded
from roikit.ops.ps_roi import PSRoIAlign, PSRoIPool, ps_roi_align, ps_roi_pool
from roikit.ops.roi_align import (
    MultiScaleRoIAlign,
    RoIAlign,
    multiscale_roi_align,
    roi_align,
)
from roikit.ops.roi_pool import RoIPool, roi_pool
from roikit.ops.roi_warp import roi_warp
from roikit.ops.rotated import batched_nms_rotated, box_iou_rotated, nms_rotated
from roikit.ops.rotated_align import RoIAlignRotated, roi_align_rotated
from roikit.ops.rotated_codec import (
    cell_anchors_rotated,
    decode_boxes_rotated,
    encode_boxes_rotated,
)
from roikit.ops.soft_nms import fast_nms, matrix_nms, soft_nms

__all__ = [
    "DeformConv2d",
    "MultiScaleRoIAlign",
    "PSRoIAlign",
    "PSRoIPool",
    "RoIAlign",
    "RoIAlignRotated",
    "RoIPool",
    "batched_nms",
    "batched_nms_rotated",
    "box_area",
    "box_convert",
    "box_iou",
    "box_iou_rotated",
    "cell_anchors",
    "cell_anchors_rotated",
    "clip_boxes_to_image",
    "complete_box_iou",
    "complete_box_iou_loss",
    "decode_boxes",
    "decode_boxes_rotated",
    "decode_keypoints",
    "deform_conv2d",
    "distance_box_iou",
    "distance_box_iou_loss",
    "encode_boxes",
    "encode_boxes_rotated",
    "encode_keypoints",
    "fast_nms",
    "generalized_box_iou",
    "generalized_box_iou_loss",
    "grid_anchors",
    "mask_targets",
    "masks_to_boxes",
    "match_boxes",
    "matrix_nms",
    "multiscale_roi_align",
    "nms",
    "nms_padded",
    "nms_rotated",
    "paste_masks",
    "paste_masks_rle",
    "ps_roi_align",
    "ps_roi_pool",
    "remove_small_boxes",
    "roi_align",
    "roi_align_rotated",
    "roi_pool",
    "roi_warp",
    "sigmoid_focal_loss",
    "soft_nms",
]

for _name in __all__:
    if _name[0].islower():
        torch.fx.wrap(_name)
