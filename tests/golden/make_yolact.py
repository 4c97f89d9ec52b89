"""Golden files of YOLACT's authors' code: `python make_yolact.py FOLDER NAME...`, all of MODELS by default.

FOLDER is a checkout of dbolya/yolact. Needs torchvision with its own kernels, OpenCV, pycocotools and roikit (for its
run-length codec). Their code asks for a GPU when it is imported: a stand-in answers. Their deformable convolution is
torchvision's here.
"""

import sys
import types
from dataclasses import replace

import numpy as np
import torch
import torchvision
from making import encoded, make
from torch import nn
from torch.nn import functional as F
from weights import picture

# What they call their configuration, and ours for it.
MODELS = ("yolact_resnet50", "yolact_base", "yolact_darknet53", "yolact_plus_resnet50")
# By the end of a layer's name, the deviation of its output.
DEVIATIONS = {"conv_offset_mask": 1.0, "proto_net.10": 0.5, "bbox_layer": 0.4, "conf_layer": 1.5, "mask_layer": 0.5}
SIDE = 550


class DCN(nn.Module):
    def __init__(self, inputs, outputs, kernel_size, stride, padding, dilation=1, deformable_groups=1):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.layout = stride, padding, dilation
        self.conv_offset_mask = nn.Conv2d(inputs, 3 * kernel_size**2, kernel_size, stride, padding)

    def forward(self, x):
        found = self.conv_offset_mask(x)
        offsets = found.shape[1] // 3 * 2
        return torchvision.ops.deform_conv2d(x, found[:, :offsets], self.weight, self.bias, *self.layout,
                                             mask=found[:, offsets:].sigmoid())


def start(folder):
    sys.path.insert(0, folder)
    torch.cuda.current_device, torch.cuda.device_count = lambda: 0, lambda: 0
    sys.modules["dcn_v2"] = types.SimpleNamespace(DCN=DCN)


def detector(name):
    from data import cfg, set_cfg
    set_cfg(f"{name}_config")
    cfg.mask_proto_debug = False  # which their eval.py sets
    cfg.masks_to_train = 10**6  # so that none are drawn
    from yolact import Yolact
    model = Yolact()
    model.eval()
    model.detect.use_fast_nms = True
    return model


def prepared(image):
    """An RGB image in 0..255 as their network takes it."""
    from data import MEANS, STD, cfg
    x = torch.from_numpy(image[::-1].copy())[None]
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
    if cfg.backbone.transform.normalize:
        x = (x - torch.tensor(MEANS)[:, None, None]) / torch.tensor(STD)[:, None, None]
    else:
        x = x / 255
    return x[:, (2, 1, 0)].contiguous()


def detections(model, image):
    """By falling score, the best so many. Boxes are those that they truncate to whole pixels."""
    from compare import DETECTIONS
    from layers.output_utils import postprocess
    height, width = image.shape[1:]
    found = model(prepared(image))
    boxes = found[0]["detection"]["box"] * torch.tensor([width, height, width, height])
    boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height], dtype=torch.float32))
    labels, scores, _, masks = postprocess(found, width, height)
    arrays = {"boxes": boxes, "labels": labels, "masks": masks.bool()}
    arrays |= {"scores": scores[0], "mask_scores": scores[1]} if isinstance(scores, list) else {"scores": scores}
    return {key: value[:DETECTIONS].numpy() for key, value in arrays.items()}


def truth():
    """Boxes (7, 4) float32, labels from 0, masks (7, 550, 550). The prior that each overlaps most is neither inside it
    nor around it, so that no second one overlaps it alike."""
    boxes, masks = [], []
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    for i, (side, x1, y1) in enumerate(((24, 20.3, 30.1), (48, 90.7, 200.2), (34, 300.4, 40.9), (96, 400.2, 80.6),
                                        (68, 60.1, 420.3), (136, 250.8, 300.5), (192, 340.6, 320.7))):
        x2, y2 = x1 + 1.12 * side, y1 + 0.93 * side
        u, v = 2 * (x - x1) / (x2 - x1) - 1, 2 * (y - y1) / (y2 - y1) - 1
        masks.append(u * u + v * v < 1 if i % 2 == 0 else (abs(u) < 1) & (abs(v) < 1) & (u + v < 0.3))
        boxes.append([x1, y1, x2, y2])
    return np.array(boxes, np.float32), np.array([3, 17, 3, 40, 79, 0, 5]), np.stack(masks).astype(np.uint8)


def with_losses(model, golden):
    """The losses on a picture of the network's own size, with the norms' statistics."""
    from data import cfg
    from layers.modules import MultiBoxLoss
    boxes, labels, masks = truth()
    image = picture(SIDE, SIDE, golden.seed).astype(np.float32)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    criterion = MultiBoxLoss(cfg.num_classes, cfg.positive_iou_threshold, cfg.negative_iou_threshold,
                             cfg.ohem_negpos_ratio)
    target = torch.from_numpy(np.concatenate([boxes / SIDE, labels[:, None]], 1).astype(np.float32))
    with torch.no_grad():
        losses = criterion(model, model(prepared(image)), [target], [torch.from_numpy(masks).float()], [0])
    facts = {"losses": {name: float(loss) for name, loss in losses.items()}, "gt_masks": encoded(masks)}
    return replace(golden, arrays=golden.arrays | {"gt_boxes": boxes, "gt_labels": labels}, facts=facts)


def main(folder, names):
    start(folder)
    for name in names or MODELS:
        model = detector(name)
        deviations = {layer: deviation for layer, module in model.named_modules()
                      for end, deviation in DEVIATIONS.items() if layer.endswith(end) and hasattr(module, "weight")}
        make("yolact", name, model, deviations, lambda image, model=model: detections(model, image), more=with_losses)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(sys.argv[1], sys.argv[2:])
