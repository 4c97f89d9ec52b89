"""roikit's ops on NumPy arrays: compiled, threaded, without torch.

Same names, argument order, defaults and meaning as roikit.ops and roikit.reference. Anything that `np.asarray` takes
without a copy will do, CPU tensors included. ``threads=None`` means ROIKIT_NUM_THREADS, else the processors at hand.
"""

from roikit.kernels.anchors import cell_anchors, grid_anchors
from roikit.kernels.box_codec import decode_boxes, encode_boxes
from roikit.kernels.boxes import (
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
from roikit.kernels.deform_conv import deform_conv2d, deform_conv2d_backward
from roikit.kernels.keypoints import decode_keypoints, encode_keypoints
from roikit.kernels.mask_paste import paste_masks, paste_masks_rle
from roikit.kernels.mask_target import mask_targets
from roikit.kernels.matching import match_boxes
from roikit.kernels.nms import batched_nms, nms, nms_padded
from roikit.kernels.ps_roi import (
    ps_roi_align,
    ps_roi_align_backward,
    ps_roi_pool,
    ps_roi_pool_backward,
)
from roikit.kernels.roi_align import (
    multiscale_roi_align,
    multiscale_roi_align_backward,
    multiscale_roi_align_with_argmax,
    roi_align,
    roi_align_backward,
    roi_align_boxes_backward,
    roi_align_with_argmax,
)
from roikit.kernels.roi_pool import roi_pool, roi_pool_backward, roi_pool_with_argmax
from roikit.kernels.roi_warp import roi_warp, roi_warp_backward, roi_warp_with_argmax
from roikit.kernels.rotated import batched_nms_rotated, box_iou_rotated, nms_rotated
from roikit.kernels.rotated_align import roi_align_rotated, roi_align_rotated_backward
from roikit.kernels.rotated_codec import (
    cell_anchors_rotated,
    decode_boxes_rotated,
    encode_boxes_rotated,
)
from roikit.kernels.soft_nms import fast_nms, matrix_nms, soft_nms

__all__ = [
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
    "decode_boxes",
    "decode_boxes_rotated",
    "decode_keypoints",
    "deform_conv2d",
    "deform_conv2d_backward",
    "distance_box_iou",
    "encode_boxes",
    "encode_boxes_rotated",
    "encode_keypoints",
    "fast_nms",
    "generalized_box_iou",
    "grid_anchors",
    "mask_targets",
    "masks_to_boxes",
    "match_boxes",
    "matrix_nms",
    "multiscale_roi_align",
    "multiscale_roi_align_backward",
    "multiscale_roi_align_with_argmax",
    "nms",
    "nms_padded",
    "nms_rotated",
    "paste_masks",
    "paste_masks_rle",
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "remove_small_boxes",
    "roi_align",
    "roi_align_backward",
    "roi_align_boxes_backward",
    "roi_align_rotated",
    "roi_align_rotated_backward",
    "roi_align_with_argmax",
    "roi_pool",
    "roi_pool_backward",
    "roi_pool_with_argmax",
    "roi_warp",
    "roi_warp_backward",
    "roi_warp_with_argmax",
    "soft_nms",
]
