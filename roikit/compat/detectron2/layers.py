"""detectron2.layers, and pairwise_iou of detectron2.structures."""

import torch

import roikit.ops
from roikit.compat._arguments import class_indices, tensor_of

__all__ = ["ROIAlign", "ROIAlignRotated", "batched_nms", "batched_nms_rotated", "ciou_loss", "diou_loss", "nms",
           "nms_rotated", "pairwise_iou", "pairwise_iou_rotated", "paste_masks_in_image", "roi_align",
           "roi_align_rotated"]


def nms(boxes, scores, iou_threshold):
    """detectron2.layers.nms, which is torchvision's.

    Args, returns, errors: as roikit.ops.nms; boxes (N, 4) or an object with ``.tensor``.
    """
    return roikit.ops.nms(tensor_of(boxes), scores, iou_threshold)


def batched_nms(boxes, scores, idxs, iou_threshold):
    """detectron2.layers.batched_nms: `nms` within each class, without its offsets between classes.

    Args, returns, errors: as roikit.ops.batched_nms; idxs may also be floats.
    """
    return roikit.ops.batched_nms(tensor_of(boxes), scores, class_indices(idxs), iou_threshold)


def nms_rotated(boxes, scores, iou_threshold):
    """detectron2.layers.nms_rotated; degrees counter-clockwise.

    Args, returns, errors: as roikit.ops.nms_rotated. A box goes where the IoU is above the threshold, as detectron2's
    CUDA kernel and its text have it; its CPU kernel also removes at equality.
    """
    return roikit.ops.nms_rotated(tensor_of(boxes), scores, iou_threshold)


def batched_nms_rotated(boxes, scores, idxs, iou_threshold):
    """detectron2.layers.batched_nms_rotated: `nms_rotated` within each class, without offsets.

    Args, returns, errors: as roikit.ops.batched_nms_rotated; idxs may also be floats.
    """
    return roikit.ops.batched_nms_rotated(tensor_of(boxes), scores, class_indices(idxs), iou_threshold)


def pairwise_iou_rotated(boxes1, boxes2):
    """detectron2.layers.rotated_boxes.pairwise_iou_rotated.

    Args, returns, errors: as roikit.ops.box_iou_rotated.
    """
    return roikit.ops.box_iou_rotated(tensor_of(boxes1), tensor_of(boxes2))


def pairwise_iou(boxes1, boxes2):
    """detectron2.structures.pairwise_iou, of upright or of rotated boxes.

    Args:
        boxes1: (N, 4), or (N, 5) rotated: a tensor or an object with ``.tensor``.
        boxes2: (M, 4) or (M, 5), likewise.

    Returns:
        (N, M) float32 or float64; 0 for a pair with an empty box.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.box_iou.
    """
    boxes1, boxes2 = tensor_of(boxes1), tensor_of(boxes2)
    rotated = tuple(getattr(boxes1, "shape", ()))[-1:] == (5,)
    return (roikit.ops.box_iou_rotated if rotated else roikit.ops.box_iou)(boxes1, boxes2)


def roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    """detectron2.layers.roi_align, which is torchvision's: ``aligned`` is False here and True in `ROIAlign`.

    Args, returns, errors: as roikit.ops.roi_align.
    """
    return roikit.ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)


class ROIAlign(torch.nn.Module):
    """detectron2.layers.ROIAlign. Input: features (N, C, H, W), quantized ones too; rois (K, 5), batch index first.

    Args:
        output_size, spatial_scale, sampling_ratio: as in roikit.ops.roi_align; 0 or less samples adaptively.
        aligned: True here by default.
    """

    def __init__(self, output_size, spatial_scale, sampling_ratio, aligned=True):
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale
        self.sampling_ratio, self.aligned = sampling_ratio, aligned

    def forward(self, input, rois):
        if getattr(input, "is_quantized", False):
            input = input.dequantize()
        return roikit.ops.roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio,
                                    self.aligned)

    def extra_repr(self):
        return (f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
                f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}")


def roi_align_rotated(input, roi, output_size, spatial_scale, sampling_ratio):
    """detectron2.layers.roi_align_rotated: always aligned.

    Args, returns, errors: as roikit.ops.roi_align_rotated; roi (K, 6), batch index first, degrees counter-clockwise.
    """
    return roikit.ops.roi_align_rotated(input, roi, output_size, spatial_scale, sampling_ratio)


class ROIAlignRotated(roikit.ops.RoIAlignRotated):
    """detectron2.layers.ROIAlignRotated, which is roikit.ops.RoIAlignRotated under its name. Input: features
    (N, C, H, W); rois (K, 6), batch index first, degrees counter-clockwise."""


def paste_masks_in_image(masks, boxes, image_shape, threshold=0.5):
    """detectron2.layers.paste_masks_in_image.

    Args:
        masks: (N, M, M), the probability of each cell; not only floating.
        boxes: (N, 4) xyxy in pixels, or an object with ``.tensor``.
        image_shape: (H, W).
        threshold: a pixel is inside where its value is at least this; below 0: no decision.

    Returns:
        (N, H, W) bool, also for N = 0; uint8, 255 times the value and cut off, with a threshold below 0.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.paste_masks.
    """
    boxes = tensor_of(boxes)
    if threshold != threshold:
        raise ValueError("paste_masks_in_image: threshold must not be NaN")
    masks = masks.float() if isinstance(masks, torch.Tensor) and not masks.is_floating_point() else masks
    size = tuple(int(side) for side in image_shape)
    if threshold > 0:
        return roikit.ops.paste_masks(masks, boxes, size, threshold=threshold)
    soft = roikit.ops.paste_masks(masks, boxes, size, threshold=None)
    return soft >= threshold if threshold == 0 else (soft * 255).to(torch.uint8)


def diou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """detectron2.layers.diou_loss.

    Args, returns, errors: as roikit.ops.distance_box_iou_loss.
    """
    return roikit.ops.distance_box_iou_loss(boxes1, boxes2, reduction, eps)


def ciou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """detectron2.layers.ciou_loss.

    Args, returns, errors: as roikit.ops.complete_box_iou_loss.
    """
    return roikit.ops.complete_box_iou_loss(boxes1, boxes2, reduction, eps)
