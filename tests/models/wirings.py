"""The small detector of the tests with other wirings of its stages."""

import dataclasses

import torch
from torch import nn

from roikit.models import (
    CascadeConfig,
    HybridConfig,
    IntegralConfig,
    IterativeConfig,
    SemanticConfig,
    StageConfig,
    build_detector,
)

LAST = CascadeConfig()
EVERY = CascadeConfig(tuple(StageConfig(iou, (step, step, step / 2, step / 2), weight)
                            for iou, step, weight in ((0.5, 10.0, 1.0), (0.6, 20.0, 0.5), (0.7, 30.0, 0.25))),
                      score="mean_logit", resample=True, gradient_scale=1.0, mask_stages="every")
SEMANTIC = SemanticConfig(num_classes=5, layers=(8, 8))
HYBRID = HybridConfig(semantic=SEMANTIC)
# Name: fields of the detector, and whether classes share their deltas.
WIRINGS = {
    "cascade": ({"cascade": LAST}, True),
    "cascade of classes": ({"cascade": dataclasses.replace(LAST, stages=LAST.stages[:2])}, False),
    "cascade of masks": ({"cascade": EVERY}, True),
    "cascade of boxes": ({"cascade": LAST, "mask": None}, True),
    "hybrid": ({"cascade": EVERY, "hybrid": HYBRID}, True),
    "hybrid without drawing": ({"cascade": dataclasses.replace(LAST, mask_stages="every"), "hybrid": HYBRID}, False),
    "iterative": ({"iterative": IterativeConfig(3)}, False),
    "integral": ({"integral": IntegralConfig((0.5, 0.6, 0.7))}, True),
}


def wired(config, class_agnostic=True, **fields):
    """The detector with other fields, and classes that share their deltas or do not."""
    box = dataclasses.replace(config.box, class_agnostic=class_agnostic)
    return dataclasses.replace(config, box=box, **fields)


def build(config, seed=1, eager=True):
    """A detector whose predictors, where it is eager, are large enough to detect something."""
    torch.manual_seed(seed)
    model = build_detector(config)
    if eager:
        nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.5)
        nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.05)
        for name, weight in model.roi_heads.named_parameters():
            if name.endswith("weight") and "box_predictor" in name:
                nn.init.normal_(weight, std=0.5 if "cls_score" in name else 0.2)
    return model


def labelled(target):
    """The target with a class of every pixel: that of the object there, or 0."""
    semantic = torch.zeros(target["masks"].shape[1:], dtype=torch.uint8)
    for mask, label in zip(target["masks"], target["labels"], strict=True):
        semantic[mask.bool()] = int(label)
    return target | {"semantic": semantic}


def step(model, images, targets, seed=3):
    """Losses and gradients of a training step."""
    torch.manual_seed(seed)
    model.train().zero_grad(set_to_none=True)
    losses = model(images, targets)
    sum(losses.values()).backward()
    return losses, {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
