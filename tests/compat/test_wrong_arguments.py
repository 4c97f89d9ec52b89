"""The compat packages name the function, the argument and what came where arguments are wrong, before torch does."""

import numpy as np
import pytest
import torch

from roikit.compat import detectron2, mmcv
from roikit.compat import torchvision as tv

BOX, TURNED = torch.tensor([[0.0, 0, 4, 4], [5, 5, 8, 8]]), torch.tensor([[2.0, 2, 4, 4, 30], [9, 9, 4, 4, 30]])
ROI, TURNED_ROI = torch.tensor([[0.0, 0, 0, 4, 4]]), torch.tensor([[0.0, 2, 2, 4, 4, 1]])
SCORES, CLASSES = torch.tensor([0.5, 0.25]), torch.tensor([0, 1])
MAPS, OFFSET, WEIGHT = torch.ones(1, 4, 6, 6), torch.zeros(1, 2, 6, 6), torch.ones(4, 4, 1, 1)


def pool(x, boxes, kind="ROIAlignV2", size=2, scales=(1.0, 0.5)):
    return detectron2.ROIPooler(size, scales, 2, kind)(x, boxes)


PYRAMID = [MAPS, MAPS[..., ::2, ::2]]

WRONG = [
    (lambda: mmcv.nms_match(BOX, 0.5), "nms_match: dets must have shape (N, 5), got (2, 4)"),
    (lambda: mmcv.nms_rotated(BOX, SCORES, 0.5), "nms_rotated: dets must have shape (N, 5), got (2, 4)"),
    (lambda: mmcv.nms_rotated(TURNED.numpy(), SCORES, 0.5), "nms_rotated: dets must be a tensor, got ndarray"),
    (lambda: mmcv.batched_nms(BOX, SCORES, None, {"iou_threshold": 0.5}), "batched_nms: idxs must be"),
    (lambda: mmcv.batched_nms(BOX, SCORES, CLASSES, {"type": "nms_rotated", "iou_threshold": 0.5}),
     "batched_nms: boxes must have shape (N, 5), got (2, 4)"),
    (lambda: mmcv.bbox_overlaps(TURNED, BOX, "iof"), "bbox_overlaps: bboxes1 must have shape (N, 4), got (2, 5)"),
    (lambda: mmcv.bbox_overlaps(BOX, BOX[None], aligned=True), "bbox_overlaps: bboxes2 must have shape (N, 4)"),
    (lambda: mmcv.box_iou_rotated(TURNED, BOX), "box_iou_rotated: bboxes2 must have shape (M, 5), got (2, 4)"),
    (lambda: mmcv.roi_align(MAPS, ROI, "2", pool_mode="max"), "roi_align: output_size must be a whole number"),
    (lambda: mmcv.roi_pool(MAPS, BOX, 2), "roi_pool: rois must have shape (K, 5), got (2, 4)"),
    (lambda: mmcv.roi_pool(MAPS, ROI, 0), "roi_pool: output_size must be a whole number of at least 1"),
    (lambda: mmcv.roi_pool(MAPS, ROI, 2, -1.0), "roi_pool: spatial_scale must be positive and finite, got -1.0"),
    (lambda: mmcv.roi_align_rotated(MAPS, ROI, 2, 1.0), "roi_align_rotated: rois must have shape (K, 6), got (1, 5)"),
    (lambda: mmcv.roi_align_rotated(MAPS, TURNED_ROI, 2, 0.0, aligned=False),
     "roi_align_rotated: spatial_scale must be positive and finite, got 0.0"),
    (lambda: mmcv.deform_conv2d(MAPS, None, WEIGHT), "deform_conv2d: offset must be a tensor, got NoneType"),
    (lambda: mmcv.deform_conv2d(MAPS[0], OFFSET, WEIGHT), "deform_conv2d: input must have shape (N, C, H, W), got (4,"),
    (lambda: mmcv.modulated_deform_conv2d(MAPS, OFFSET, None, WEIGHT),
     "modulated_deform_conv2d: mask must be a tensor, got NoneType"),
    (lambda: mmcv.sigmoid_focal_loss(np.zeros((2, 3)), CLASSES), "sigmoid_focal_loss: input must be a tensor"),
    (lambda: detectron2.nms(BOX.tolist(), SCORES, 0.5), "nms: boxes must be an array or a tensor, got list"),
    (lambda: detectron2.batched_nms(BOX, SCORES, [0, 1], 0.5), "batched_nms: idxs must be an array or a tensor"),
    (lambda: detectron2.pairwise_iou(torch.tensor(1.0), BOX), "box_iou: boxes1 must have shape (N, 4), got ()"),
    (lambda: detectron2.modulated_deform_conv(MAPS, OFFSET, torch.ones(3), WEIGHT),
     "modulated_deform_conv: mask must have shape (N, C, H, W), got (3,)"),
    (lambda: detectron2.ROIAlign(2, 1.0, 0)(MAPS.numpy(), ROI), "roi_align: input must be a torch tensor"),
    (lambda: detectron2.paste_masks_in_image(MAPS[0, :2], BOX, (6, 6), float("nan")),
     "paste_masks_in_image: threshold must not be NaN"),
    (lambda: detectron2.Box2BoxTransformLinear().apply_deltas(torch.ones(2, 6), BOX),
     "Box2BoxTransformLinear.apply_deltas: deltas must have shape (N, 4 k), got (2, 6)"),
    (lambda: detectron2.DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], strides=[4, 8])([MAPS]),
     "anchor generator: there must be one map a stride (2), got 1"),
    (lambda: pool(PYRAMID, [BOX], size=2.0), "ROIPooler: output_size must be a whole number of at least 1"),
    (lambda: pool(PYRAMID, [BOX], scales=(-1.0, 0.5)), "ROIPooler: scales must be positive and finite, got -1.0"),
    (lambda: pool([MAPS, MAPS.double()], [BOX]), "ROIPooler: x must have one dtype"),
    (lambda: pool([MAPS, MAPS[:, :2]], [BOX]), "ROIPooler: x[1] must have shape (1, 4, H, W), got (1, 2, 6, 6)"),
    (lambda: pool(PYRAMID, [TURNED]), "ROIPooler: box_lists[0] must have shape (L, 4), got (2, 5)"),
    (lambda: pool(PYRAMID, [BOX], "ROIAlignRotated"), "ROIPooler: box_lists[0] must have shape (L, 5), got (2, 4)"),
    (lambda: pool(PYRAMID, [BOX.long()]), "ROIPooler: box_lists[0] must be floating, got torch.int64"),
    (lambda: tv.box_area(BOX[:, :3]), "box_area: boxes must have shape (..., 4), got (2, 3)"),
    (lambda: tv.box_area(BOX.numpy()), "box_area: boxes must be a tensor, got ndarray"),
    (lambda: tv.box_convert(BOX, "cxcywhr", "xyxyxyxy"), "box_convert: boxes must have shape (..., 5), got (2, 4)"),
    (lambda: tv.box_convert(TURNED, "xyxyxyxy", "cxcywhr"), "box_convert: boxes must have shape (..., 8), got (2, 5)"),
    (lambda: tv.clip_boxes_to_image(TURNED, (5, 5)), "clip_boxes_to_image: boxes must have shape (..., 4), got (2, 5)"),
    (lambda: tv.remove_small_boxes(TURNED, 1), "remove_small_boxes: boxes must have shape (..., 4), got (2, 5)"),
    (lambda: tv.box_iou(TURNED, BOX), "box_iou: boxes1 must have shape (..., N, 4), got (2, 5)"),
    (lambda: tv.complete_box_iou_loss(BOX.numpy(), BOX), "complete_box_iou_loss: boxes1 must be a tensor, got ndarray"),
    (lambda: tv.box_iou(BOX.numpy(), BOX, "xywh"), "box_iou: boxes1 must be a tensor, got ndarray"),
    (lambda: tv.box_iou(BOX, BOX[0]), "box_iou: boxes2 must have shape (..., N, 4), got (4,)"),
    (lambda: tv.generalized_box_iou(BOX.expand(2, 2, 4), BOX.expand(3, 2, 4)),
     "generalized_box_iou: boxes1 and boxes2 must have leading axes that broadcast, got (2, 2, 4) and (3, 2, 4)"),
    (lambda: tv.distance_box_iou_loss(BOX, BOX[:1].expand(3, 4)),
     "distance_box_iou_loss: boxes1 and boxes2 must have leading axes that broadcast, got (2, 4) and (3, 4)"),
    (lambda: tv.complete_box_iou_loss(BOX, TURNED), "complete_box_iou_loss: boxes2 must have shape (..., 4)"),
    (lambda: tv.batched_nms(BOX, None, None, None), "batched_nms: scores must be"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments_are_named(number):
    call, message = WRONG[number]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value).startswith(message)
