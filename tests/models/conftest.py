"""What the tests of the detectors share: a small detector, a scene for it, and the error that float32 may have."""

import copy

import pytest
import torch
from torch import nn

from roikit.models import (
    BackboneConfig,
    BoxConfig,
    DetectorConfig,
    ImageConfig,
    MaskConfig,
    RpnConfig,
)


@pytest.fixture
def small_config():
    """A Mask R-CNN of a few channels on images of 64 pixels."""
    return DetectorConfig(
        num_classes=3,
        image=ImageConfig(min_size=(64,), max_size=128),
        backbone=BackboneConfig("resnet18", norm="group", fpn_channels=16, fpn_norm="group"),
        rpn=RpnConfig(anchor_sizes=((8.0,), (16.0,), (32.0,), (64.0,), (128.0,)),
                      keep_after_nms_train=64, keep_after_nms_test=32, samples_per_image=64),
        box=BoxConfig(representation=32, samples_per_image=32, score_threshold=0.05),
        mask=MaskConfig(layers=(16, 16), deconv_channels=16, norm="group"))


@pytest.fixture
def made_eager():
    """A function: a model in evaluation mode, with predictors large enough to detect something."""
    return _made_eager


def _made_eager(model):
    with torch.no_grad():
        model.rpn.head.cls_logits.weight.normal_(std=0.5)
        model.rpn.head.bbox_pred.weight.normal_(std=0.05)
        model.roi_heads.box_predictor.cls_score.weight.normal_(std=0.5)
        model.roi_heads.box_predictor.bbox_pred.weight.normal_(std=0.2)
    return model.eval()


def scene(size=(64, 64), boxes=((4, 6, 40, 30), (30, 20, 60, 62)), labels=(1, 2), seed=0):
    """An image with a bright rectangle for each box, and its target with bitmaps."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(3, *size, generator=generator) * 0.2
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, label, (x1, y1, x2, y2) in zip(masks, labels, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
        image[label % 3, y1:y2, x1:x2] += 0.7
    return image, {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                   "labels": torch.tensor(labels, dtype=torch.int64), "masks": masks}


@pytest.fixture(name="scene")
def _scene():
    return scene


def float32_error(network, x):
    """The maps of a network in float64, and for each the root mean square error that float32 may have anywhere.

    A float32 sum of n terms of random signs, added one after another, has partial sums of k**0.5 terms' size, and each
    addition is off by at most 2**-24 of its own: in relation to the sum, a root mean square of 2**-24 * (n / 2)**0.5.
    Every other order, of vectors or of blocks, has shorter chains. A float64 copy gets that error at each convolution,
    at random, so that what the network makes of it (norms of batches magnify it) is in the result.
    """
    exact = copy.deepcopy(network).double()
    noisy = copy.deepcopy(exact)
    generator = torch.Generator().manual_seed(0)
    for conv in noisy.modules():
        if isinstance(conv, nn.Conv2d):
            conv._conv_forward = _rounded(conv._conv_forward, 2**-24 * (conv.weight[0].numel() / 2)**0.5, generator)
    truth, off = exact(x.double()), noisy(x.double())
    return truth, {level: (off[level] - truth[level]).square().mean().sqrt() for level in truth}


def _rounded(convolve, error, generator):
    def call(*arguments):
        out = convolve(*arguments)
        noise = torch.randn(out.shape, dtype=out.dtype, generator=generator)
        return out + noise * out.square().mean().sqrt() * error

    return call


@pytest.fixture(name="float32_error")
def _float32_error():
    return float32_error
