"""torchvision's detectors with drawn weights: what they detect, and one step of training.

A process for each set of kernels makes torchvision importable, then calls `main`.
"""

import torch
from torch import nn


def photographs(name, seed=0):
    """Smooth random images, noise at several scales: two, or one for the detector that takes longest."""
    g = torch.Generator().manual_seed(seed)
    images = []
    for size in ((128, 160), (150, 130))[: 1 if name == "ssd" else 2]:
        noise = [torch.rand(1, 3, cells, cells, generator=g) for cells in (4, 12, 40)]
        images.append(sum(nn.functional.interpolate(n, size=size, mode="bilinear") for n in noise)[0] / 3)
    return images


def targets(images, keypoints):
    """Two images' objects, from a twelfth of its size to all of it, so that every level of a detector has one."""
    found = []
    for image in images:
        height, width = image.shape[1:]
        parts = [(0.02, 0.03, 0.17, 0.2), (0.5, 0.1, 0.8, 0.35), (0.1, 0.4, 0.7, 0.95), (0.0, 0.0, 1.0, 1.0),
                 (0.4, 0.6, 0.48, 0.68), (0.0, 0.0, 0.66, 0.66)]
        boxes = torch.tensor(parts) * torch.tensor([width, height, width, height])
        masks = torch.zeros(len(parts), height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
            mask[y1:y2, x1:x2] = torch.ones(y2 - y1, x2 - x1).triu(-(y2 - y1) // 2)
        places = torch.linspace(0.1, 0.9, keypoints)[:, None] * (boxes[:, None, 2:] - boxes[:, None, :2])
        points = torch.cat([boxes[:, None, :2] + places, torch.ones(len(boxes), keypoints, 1)], dim=2)
        found.append({"boxes": boxes, "labels": torch.tensor([1, 2, 1, 2, 1, 2]), "masks": masks, "keypoints": points})
    return found


def pyramid(levels=(1, 2, 3, 4), extra=None):
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    return resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5,
                               returned_layers=list(levels), extra_blocks=extra)


SIZE = {"min_size": 128, "max_size": 192}
TWO_STAGE = {**SIZE, "rpn_pre_nms_top_n_train": 200, "rpn_post_nms_top_n_train": 60, "rpn_pre_nms_top_n_test": 200,
             "rpn_post_nms_top_n_test": 60, "box_batch_size_per_image": 16, "box_detections_per_img": 12}


def two_stage(kind, classes, **more):
    """A detector of torchvision's parts, with narrower heads than its builders give it."""
    from torchvision.models import detection
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    return getattr(detection, kind)(pyramid(), box_head=TwoMLPHead(256 * 49, 128),
                                    box_predictor=FastRCNNPredictor(128, classes), **TWO_STAGE, **more)


def mask_rcnn():
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
    return two_stage("MaskRCNN", 5, mask_head=MaskRCNNHeads(256, (64, 64), 1),
                     mask_predictor=MaskRCNNPredictor(64, 64, 5))


def keypoint_rcnn():
    from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
    return two_stage("KeypointRCNN", 3, keypoint_head=KeypointRCNNHeads(256, (64, 64)),
                     keypoint_predictor=KeypointRCNNPredictor(64, 5))


def one_stage(kind, **more):
    from torchvision.models import detection
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
    backbone = pyramid((2, 3, 4), LastLevelP6P7(256, 256))
    return getattr(detection, kind)(backbone, 5, **SIZE, detections_per_img=50, **more)


def single_shot(kind, layers):
    from torchvision.models import detection
    return getattr(detection, kind)(weights=None, weights_backbone=None, num_classes=5, detections_per_img=50,
                                    trainable_backbone_layers=layers)


def levels(suffix=""):
    """The last layers of a single-shot detector's six levels."""
    return {f"head.{part}_head.module_list.{level}{suffix}": spread for level in range(6)
            for part, spread in (("classification", 2.0), ("regression", 1.0))}


RPN = {"rpn.head.cls_logits": 1.0, "rpn.head.bbox_pred": 0.3}
BOX = {**RPN, "roi_heads.box_predictor.cls_score": 2.0, "roi_heads.box_predictor.bbox_pred": 1.0}
DENSE = {"head.classification_head.cls_logits": 1.0, "head.regression_head.bbox_reg": 0.3}
# name: (builder, the layers whose weights are drawn so that scores and moves differ, with the outputs' deviations)
DETECTORS = {
    "faster": (lambda: two_stage("FasterRCNN", 5), BOX),
    "mask": (mask_rcnn, {**BOX, "roi_heads.mask_predictor.mask_fcn_logits": 2.0}),
    "keypoint": (keypoint_rcnn, {**BOX, "roi_heads.keypoint_predictor.kps_score_lowres": 2.0}),
    "retinanet": (lambda: one_stage("RetinaNet"), DENSE),
    "fcos": (lambda: one_stage("FCOS"), {**DENSE, "head.regression_head.bbox_reg": 1.0,
                                         "head.regression_head.bbox_ctrness": 1.0}),
    "ssd": (lambda: single_shot("ssd300_vgg16", 5), levels()),
    "ssdlite": (lambda: single_shot("ssdlite320_mobilenet_v3_large", 6), levels(".1")),
}


def draw_weights(model, layers, images):
    """One pass, in which each batch norm takes the statistics and each named layer weights for the given deviation."""
    handles = {}
    norms = [m for m in model.eval().modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    for name, spread in layers.items():
        def draw(layer, inputs, spread=spread):
            handles.pop(layer).remove()
            fan = layer.weight.numel() // len(layer.bias)
            layer.weight.normal_(std=spread / float(inputs[0].square().mean() * fan) ** 0.5)
            layer.bias.zero_()

        layer = model.get_submodule(name)
        handles[layer] = layer.register_forward_pre_hook(draw)
    model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum


def inference(name):
    torch.manual_seed(0)
    build, layers = DETECTORS[name]
    images = photographs(name)
    model = build()
    with torch.no_grad():
        draw_weights(model, layers, images)
        return model, model.eval()(images)


def training(name, model):
    """One step: losses, the gradient's norm and the step's change of each trainable parameter."""
    images = photographs(name, seed=1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    torch.manual_seed(1)
    losses = model.train()(images, targets(images, 5))
    sum(losses.values()).backward()
    gradients = {name: None if p.grad is None else p.grad.norm() for name, p in model.named_parameters()
                 if name in before}
    optimizer.step()
    after = dict(model.named_parameters())
    return {"losses": {name: loss.detach() for name, loss in losses.items()}, "gradients": gradients,
            "changed": {name: not torch.equal(before[name], after[name]) for name in before}}


def main(out):
    """Write a dict from the name of a detector to what it gave."""
    found = {}
    for name in DETECTORS:
        model, detections = inference(name)
        found[name] = {"detections": detections, "training": training(name, model)}
    torch.save(found, out)
