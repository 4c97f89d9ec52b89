"""Detectors on one map (C4, plain and dilated C5, VGG-16) and on deformable bodies keep every promise of the family."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from roikit.models import BackboneConfig, BoxConfig, MaskConfig, RpnConfig, build_detector, prepare_for_inference

RPN = RpnConfig(anchor_sizes=((8.0, 16.0, 32.0),), keep_after_nms_train=40, keep_after_nms_test=24,
                samples_per_image=32)
BOX = BoxConfig(representation=32, samples_per_image=16, score_threshold=0.05)
MASK = MaskConfig(layers=(16,), deconv_channels=16)
RES5 = {"box": replace(BOX, head="res5", pool_size=14), "mask": MaskConfig(layers=(), deconv_channels=16)}
ONE = BackboneConfig("resnet18", norm="group", neck="none", levels=("c4",))
SYSTEMS = {
    "c4": {"backbone": replace(ONE, norm="frozen"), **RES5},
    "c4 of bottlenecks": {"backbone": replace(ONE, name="resnet50", stride_in_1x1=True), **RES5},
    "c5": {"backbone": replace(ONE, levels=("c5",))},
    "dc5": {"backbone": replace(ONE, name="resnet50", levels=("c5",), dilated_c5=True)},
    "vgg": {"backbone": replace(ONE, name="vgg16", norm="none"), "mask": None,
            "box": replace(BOX, pool_kind="roi_pool", pool_reduce="max")},
    "deformable": {"backbone": BackboneConfig("resnet50", norm="group", fpn_channels=16, fpn_norm="group",
                                              deform_stages=("c3", "c4", "c5"), deform_version=2),
                   "rpn": replace(RPN, anchor_sizes=((8.0,), (16.0,), (32.0,), (64.0,), (128.0,)))},
    "agnostic": {"backbone": BackboneConfig("resnet18", norm="group", fpn_channels=16, levels=("c3", "c4")),
                 "rpn": replace(RPN, anchor_sizes=((8.0,), (16.0,), (32.0,))),
                 "box": replace(BOX, class_agnostic=True, conv_layers=(16,), fc_layers=1, norm="group"),
                 "mask": replace(MASK, class_agnostic=True, norm="group")},
}


@pytest.fixture(params=SYSTEMS)
def system(request, small_config):
    torch.manual_seed(0)
    changes = {"rpn": RPN, "box": BOX, "mask": MASK} | SYSTEMS[request.param]
    return build_detector(replace(small_config, **changes))


def spread(model):
    """Scores so far apart that rounding exchanges no two detections."""
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.5)
    predictor = model.roi_heads.box_predictor.cls_score
    nn.init.normal_(predictor.weight, std=3 / predictor.in_features**0.5)
    return model.eval()


def test_law_gradients_reach_every_parameter(system, scene):
    """In a step on an image with objects, one of them of one pixel, and one without any."""
    images, targets = zip(scene(boxes=((4, 6, 40, 30), (30, 20, 31, 21))), scene((50, 64), (), (), seed=1), strict=True)
    losses = system(list(images), list(targets))
    expected = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert set(losses) == expected | ({"loss_mask"} if system.roi_heads.mask else set())
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    without = [name for name, p in system.named_parameters()
               if p.requires_grad and (p.grad is None or not torch.isfinite(p.grad).all())]
    assert not without
    still = [name for name, p in system.named_parameters() if p.grad is not None and not p.grad.any()]
    assert not still


def test_contract_images_without_objects_and_boxes_of_a_pixel(system, scene):
    for boxes, labels in (((), ()), (((10, 10, 11, 11),), (1,))):
        image, target = scene(boxes=boxes, labels=labels)
        losses = system([image], [target])
        total = sum(losses.values())
        assert torch.isfinite(total)
        system.zero_grad()
        total.backward()
        assert all(p.grad is not None for p in system.parameters() if p.requires_grad)


@torch.no_grad()
def test_agreement_batch_equals_single(system, scene):
    model = spread(system)
    images = [scene()[0], scene(seed=3)[0]]
    together = model(images)
    for image, found in zip(images, together, strict=True):
        alone, = model([image])
        assert len(found["boxes"]) >= 3 and found.keys() == alone.keys()
        assert torch.equal(found["labels"], alone["labels"])
        for key, tolerance in (("boxes", 0.01), ("scores", 1e-5), ("masks", 1e-4)):
            if key in found:
                torch.testing.assert_close(found[key], alone[key], atol=tolerance, rtol=0)


@torch.no_grad()
def test_contract_one_pixel_images_and_mask_formats(system, scene):
    model = spread(system)
    found, = model([torch.rand(3, 1, 1)])
    assert found["boxes"].shape[1] == 4
    if model.roi_heads.mask is None:
        return
    found, = model([scene()[0]])
    assert found["masks"].shape == (len(found["boxes"]), 1, 64, 64)
    model.mask_format = "rle"
    assert len(model([scene()[0]])[0]["masks"]) == len(found["boxes"])


@torch.no_grad()
def test_contract_a_copy_detects_the_same(system, scene):
    model = spread(system)
    image = scene()[0]
    expected, = model([image])
    found, = copy.deepcopy(model)([image])
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    other = build_detector(model.config).eval()
    other.load_state_dict(model.state_dict())
    found, = other([image])
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@torch.no_grad()
def test_agreement_of_a_prepared_detector(system, scene):
    """Offsets and all; the model that it was made from is left as it is."""
    for name, p in system.named_parameters():
        if "conv2_offset" in name:
            nn.init.normal_(p, std=0.01)
    prepared = prepare_for_inference(spread(system).train())
    assert all(module.training for module in system.modules())
    image = scene()[0]
    found, = prepared([image])
    expected, = system.eval()([image])
    assert len(found["boxes"]) >= 3 and torch.equal(found["labels"], expected["labels"])
    torch.testing.assert_close(found["boxes"], expected["boxes"], atol=0.01, rtol=0)
    torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-5, rtol=0)


def test_contract_masks_on_res5_are_twice_its_maps(small_config, scene):
    model = build_detector(replace(small_config, rpn=RPN, **SYSTEMS["c4"])).eval()
    pooled = torch.randn(3, 256, 14, 14)
    logits = model.roi_heads.mask_predictor(model.roi_heads.mask_head(model.roi_heads.shared(pooled)))
    assert logits.shape == (3, 3, 14, 14)
    assert len(model.roi_heads.mask_head) == 0
    assert model.roi_heads.box_head(model.roi_heads.shared(pooled)).shape == (3, 512)
