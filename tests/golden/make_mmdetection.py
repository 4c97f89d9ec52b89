"""Golden files of mmdetection: `python make_mmdetection.py NAME...`, all of MODELS by default.

Needs mmdet 3.3 with mmcv-lite 2.1 (roikit stands in for mmcv's compiled module), torchvision with its own, pycocotools.
RoIAlign and deformable convolutions are torchvision's, so that what is compared with roikit shares no kernel with it.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from compare import DETECTIONS
from making import encoded, make

import roikit.compat.mmcv

roikit.compat.mmcv.install()

import mmcv.ops  # noqa: E402
import mmdet  # noqa: E402
import torchvision  # noqa: E402
from mmdet.registry import MODELS as REGISTRY  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.structures import InstanceData, PixelData  # noqa: E402

MODELS = ("mask_rcnn/mask-rcnn_r50_fpn_1x_coco", "ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco", "htc/htc_r50_fpn_1x_coco",
          "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco", "mask_rcnn/mask-rcnn_x101-64x4d_fpn_1x_coco",
          "dcn/mask-rcnn_r50-dconv-c3-c5_fpn_1x_coco", "faster_rcnn/faster-rcnn_r101_fpn_1x_coco")
# By the end of a layer's name, the deviation of its output.
DEVIATIONS = {"backbone.conv1": 1.0, "conv2.conv_offset": 1.0, "rpn_cls": 1.5, "rpn_reg": 0.3, "fc_cls": 1.2,
              "fc_reg": 0.4, "conv_logits": 3.0, "fc_mask_iou": 0.15}


def convolve(input, offset, weight, stride, padding, dilation, groups, deform_groups, *others):
    return torchvision.ops.deform_conv2d(input, offset, weight, None, stride, padding, dilation)


def detector(name):
    config = Config.fromfile(Path(mmdet.__file__).parent / ".mim" / "configs" / f"{name}.py")
    config.model.test_cfg.rcnn.max_per_img = DETECTIONS
    model = REGISTRY.build(config.model).eval()
    for module in model.modules():
        if isinstance(module, mmcv.ops.RoIAlign):
            module.use_torchvision = True
    return model


def prepared(model, image, sample, training=False):
    """The batch of an RGB image in 0..255, which mmdetection reads as BGR, and its data sample."""
    height, width = image.shape[1:]
    sample.set_metainfo({"img_shape": (height, width), "ori_shape": (height, width), "scale_factor": (1.0, 1.0)})
    batch = {"inputs": [torch.from_numpy(image[::-1].copy())], "data_samples": [sample]}
    return model.data_preprocessor(batch, training=training)


def detections(model, image):
    """By falling score of the box. A mask-score head multiplies `scores` in place: what it multiplied is kept."""
    before = []
    head = getattr(model.roi_head, "mask_iou_head", None)
    if head is not None:
        def keep(mask_iou_preds, results_list):
            before.extend(found.scores.numpy() for found in results_list)
            return type(head).predict_by_feat(head, mask_iou_preds, results_list)

        head.predict_by_feat = keep
    found = model(**prepared(model, image, DetDataSample()), mode="predict")[0].pred_instances
    arrays = {"boxes": found.bboxes.numpy(), "scores": found.scores.numpy(), "labels": found.labels.numpy()}
    if before:
        arrays.update(scores=before[0], mask_scores=found.scores.numpy())
    if "masks" in found:
        arrays["masks"] = found.masks.numpy()
    return arrays


def truth(height, width):
    """Boxes (5, 4) float32, labels from 0, masks (5, H, W) uint8: ellipses and cut rectangles."""
    boxes = np.array([[20.25, 30.5, 120, 150], [100, 10, 290.75, 90], [150.5, 100.25, 200, 190], [4, 160, 90, 230],
                      [210, 120, 310, 230]], dtype=np.float32)
    y, x = np.mgrid[:height, :width] + 0.5
    masks = []
    for i, (x1, y1, x2, y2) in enumerate(boxes.astype(np.float64)):
        u, v = 2 * (x - x1) / (x2 - x1) - 1, 2 * (y - y1) / (y2 - y1) - 1
        masks.append(u * u + v * v < 1 if i % 2 == 0 else (abs(u) < 1) & (abs(v) < 1) & (u + v < 0.3))
    return boxes, np.array([3, 17, 3, 40, 79]), np.stack(masks).astype(np.uint8)


def candidates(boxes, height, width):
    """Proposals (60, 4): each box moved by little and by much. So few that a sampler takes them all."""
    steps = np.random.default_rng(0).uniform(-1, 1, (60, 4)) * np.linspace(0.03, 0.5, 60)[:, None]
    box = boxes[np.arange(60) % len(boxes)].astype(np.float64)
    box = box + steps * np.tile(box[:, 2:] - box[:, :2], 2)
    box = np.clip(box, 0, [width, height, width, height])
    return np.where(np.tile(box[:, 2:] - box[:, :2], 2) > 4, box, [8, 8, 60, 70]).astype(np.float32)


def with_losses(model, golden):
    """The losses of the boxes' heads and branches for given proposals, and all that they are computed from."""
    height, width = golden.size
    boxes, labels, masks = truth(height, width)
    proposals = candidates(boxes, height, width)
    y, x = np.mgrid[:height, :width]
    semantic = ((x // 40 + 9 * (y // 40)) % 183).astype(np.uint8)
    semantic[:, 100:110] = 255  # not counted
    sample = DetDataSample(gt_instances=InstanceData(
        bboxes=torch.from_numpy(boxes), labels=torch.from_numpy(labels), masks=BitmapMasks(masks, height, width)))
    sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(semantic.astype(np.int64))[None])
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    image = golden.image() * np.float32(255)
    with torch.no_grad():
        batch = prepared(model, np.round(image), sample, training=True)
        given = InstanceData(bboxes=torch.from_numpy(proposals), scores=torch.ones(60),
                             labels=torch.zeros(60, dtype=torch.int64))
        losses = model.roi_head.loss(model.extract_feat(batch["inputs"]), [given], batch["data_samples"])
        arrays = {"gt_boxes": boxes, "gt_labels": labels, "proposals": proposals}
        if getattr(model.roi_head, "semantic_head", None) is not None:
            logits, embedding = model.roi_head.semantic_head(model.extract_feat(batch["inputs"]))
            arrays.update(semantic=semantic, semantic_logits=logits[0, ::16, ::4, ::4].numpy(),
                          semantic_embedding=embedding[0, ::16, ::4, ::4].numpy())
    losses = {key: float(value) for key, value in losses.items() if "loss" in key}
    facts = {"losses": losses, "gt_masks": encoded(masks)}
    return replace(golden, arrays={**golden.arrays, **arrays}, facts=facts)


def main(names):
    register_all_modules()
    mmcv.ops.deform_conv.deform_conv2d = convolve
    for name in names or MODELS:
        model = detector(name)
        deviations = {layer: deviation for layer, _ in model.named_modules()
                      for end, deviation in DEVIATIONS.items() if layer.endswith(end)}
        if name.startswith(("htc/", "cascade_rcnn/")):  # a third of the variance is left in the mean of three logits
            deviations = {layer: 2.0 if layer.endswith("fc_cls") else x for layer, x in deviations.items()}
        make("mmdetection", name, model, deviations, lambda image, model=model: detections(model, image),
             more=with_losses if name.startswith(("htc/", "ms_rcnn/")) else None)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(sys.argv[1:])
