"""The detectors as wholes: awkward input, both modes, formats of masks in and out."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from roikit import masks as mask_formats
from roikit.errors import BackendError
from roikit.models import MaskRCNN, build_detector, maskrcnn_resnet18_fpn

LOSSES = {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}


@pytest.fixture
def model(small_config):
    torch.manual_seed(1)
    return build_detector(small_config)


@pytest.fixture
def eager_model(model, made_eager):
    torch.manual_seed(2)
    return made_eager(model)


def losses_of(model, images, targets, seed=3):
    torch.manual_seed(seed)
    return model.train()(images, targets)


def empty_target(size=(64, 64)):
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64),
            "masks": torch.zeros(0, *size, dtype=torch.uint8)}


def as_rle(bitmaps):
    return [mask_formats.encode(np.asfortranarray(mask.numpy())) for mask in bitmaps]


def assert_trains(model, losses):
    """Finite, and every parameter that can train has a gradient (a finite one)."""
    assert set(losses) == LOSSES
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values()), losses
    model.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("case", ["two objects", "no objects", "one pixel", "whole image",
                                  "mixed batch"])
def test_contract_losses_are_finite_and_connected(model, scene, case):
    full = scene()
    samples = {
        "two objects": [full],
        "no objects": [(full[0], empty_target())],
        "one pixel": [scene(boxes=((10, 10, 11, 11),), labels=(1,))],
        "whole image": [scene(boxes=((0, 0, 64, 64),), labels=(2,))],
        "mixed batch": [full, (scene(seed=1)[0], empty_target()),
                        scene((48, 80), ((1, 1, 2, 2),), (1,), seed=2)],
    }[case]
    images, targets = zip(*samples, strict=True)
    assert_trains(model, losses_of(model, images, targets))


def test_contract_an_image_without_objects_has_no_box_or_mask_loss(model, scene):
    losses = losses_of(model, [scene()[0]], [empty_target()])
    assert losses["loss_mask"] == losses["loss_box_reg"] == losses["loss_rpn_box_reg"] == 0
    assert losses["loss_classifier"] > 0 and losses["loss_objectness"] > 0


def test_contract_no_proposal_and_no_object_is_no_loss(model, scene):
    config = dataclasses.replace(model.rpn.config, keep_after_nms_train=0)
    model.rpn.config = config
    losses = losses_of(model, [scene()[0]], [empty_target()])
    assert losses["loss_classifier"] == losses["loss_box_reg"] == losses["loss_mask"] == 0
    assert_trains(model, losses)


def test_law_the_seed_fixes_the_losses(model, scene):
    images, targets = zip(scene(), scene(seed=5), strict=True)
    first, again, other = (losses_of(model, images, targets, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_law_training_fits_one_image(model, scene):
    image, target = scene()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    totals = []
    for _ in range(40):
        losses = model.train()([image], [target])
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert all(map(math.isfinite, totals))
    assert sum(totals[-5:]) < 0.6 * sum(totals[:5])


@pytest.mark.parametrize("kind", ["rle", "bool", "polygon", "mixed"])
@pytest.mark.parametrize("rule", ["soft", "binary"])
def test_agreement_of_mask_formats_in_targets(small_config, scene, kind, rule):
    torch.manual_seed(1)
    mask = dataclasses.replace(small_config.mask, target_rule=rule)
    model = build_detector(dataclasses.replace(small_config, mask=mask))
    image, target = scene()
    listed = dict(target)
    if kind == "rle":
        listed["masks"] = as_rle(target["masks"])
    elif kind == "bool":
        listed["masks"] = target["masks"].bool()
    else:
        polygons = [[[float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]]
                    for x1, y1, x2, y2 in target["boxes"].tolist()]
        listed["masks"] = polygons if kind == "polygon" else [
            polygons[0], mask_formats.merge(mask_formats.frPyObjects(polygons[1], 64, 64))]
        decoded = [mask_formats.decode(mask_formats.merge(mask_formats.frPyObjects(p, 64, 64)))
                   for p in polygons]
        target = target | {"masks": torch.stack([torch.from_numpy(m) for m in decoded])}
    expected = losses_of(model, [image], [target])
    assert losses_of(model, [image], [listed]) == expected


def test_contract_listed_masks_keep_their_own_frame(small_config, scene):
    """Images are resized by 2 here; the masks of a list are not, and the targets still agree."""
    torch.manual_seed(1)
    config = dataclasses.replace(
        small_config, image=dataclasses.replace(small_config.image, min_size=(128,), max_size=256))
    model = build_detector(config)
    image, target = scene()
    listed = target | {"masks": as_rle(target["masks"])}
    bitmap_losses = losses_of(model, [image], [target])
    rle_losses = losses_of(model, [image], [listed])
    for name in LOSSES - {"loss_mask"}:
        assert rle_losses[name] == bitmap_losses[name]
    # Resampled bitmaps and unresampled runs differ by the resampling, along the outlines alone.
    torch.testing.assert_close(rle_losses["loss_mask"], bitmap_losses["loss_mask"],
                               rtol=0.05, atol=0)


def test_contract_resize_in_training_can_be_left_to_the_data(small_config, scene):
    image = dataclasses.replace(small_config.image, min_size=(32,), resize_in_training=False)
    model = build_detector(dataclasses.replace(small_config, image=image))
    pixels, target = scene()
    batch, truths = model.train().transform([pixels], [target])
    assert batch.sizes == [(64, 64)] and batch.original_sizes == [(64, 64)]
    assert torch.equal(truths[0].boxes, target["boxes"])
    batch, truths = model.eval().transform([pixels])
    assert batch.sizes == [(32, 32)] and truths is None


def test_law_a_batch_gives_what_single_images_give(eager_model, scene):
    images = [scene(seed=seed)[0] for seed in range(3)]
    with torch.no_grad():
        together = eager_model(images)
        alone = [eager_model([image])[0] for image in images]
    assert any(len(found["boxes"]) for found in together)
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one["labels"], other["labels"])
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one["masks"], other["masks"], atol=1e-4, rtol=1e-4)


def test_contract_output_of_each_mask_format(eager_model, scene):
    image = scene((50, 70))[0]
    with torch.no_grad():
        soft = eager_model([image])[0]
        eager_model.mask_format = "bool"
        hard = eager_model([image])[0]
        eager_model.mask_format = "rle"
        runs = eager_model([image])[0]
    count = len(soft["boxes"])
    assert count > 0
    assert soft["boxes"].shape == (count, 4) and soft["boxes"].dtype == torch.float32
    assert soft["labels"].dtype == torch.int64 and set(soft["labels"].tolist()) <= {1, 2}
    assert (soft["scores"] > 0.05).all() and (soft["scores"].diff() <= 0).all()
    assert (soft["boxes"] >= 0).all()
    assert (soft["boxes"] <= torch.tensor([70.0, 50.0, 70.0, 50.0]) + 1e-4).all()
    assert soft["masks"].shape == (count, 1, 50, 70) and soft["masks"].dtype == torch.float32
    assert hard["masks"].shape == (count, 1, 50, 70) and hard["masks"].dtype == torch.bool
    assert torch.equal(hard["masks"], soft["masks"] >= 0.5)
    assert isinstance(runs["masks"], list) and len(runs["masks"]) == count
    for mask, run in zip(hard["masks"], runs["masks"], strict=True):
        assert torch.equal(torch.from_numpy(mask_formats.decode(run)).bool(), mask[0])
    eager_model.mask_format = "png"
    with pytest.raises(ValueError, match="mask_format must be one of soft, bool, rle, got 'png'"):
        eager_model([image])


@pytest.mark.parametrize("mask_format", ["soft", "bool", "rle"])
def test_contract_no_detections(eager_model, scene, mask_format):
    eager_model.roi_heads.box = dataclasses.replace(eager_model.roi_heads.box, score_threshold=1.0)
    eager_model.mask_format = mask_format
    with torch.no_grad():
        results = eager_model([scene()[0], scene((40, 64))[0]])
    for found, size in zip(results, ((64, 64), (40, 64)), strict=True):
        assert found["boxes"].shape == (0, 4)
        assert found["labels"].shape == found["scores"].shape == (0,)
        if mask_format == "rle":
            assert found["masks"] == []
        else:
            assert found["masks"].shape == (0, 1, *size)


def test_contract_no_images(eager_model):
    assert eager_model([]) == []
    with pytest.raises(ValueError, match="images must not be empty when training"):
        eager_model.train()([], [])


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (7, 3)])
def test_contract_images_of_any_size(eager_model, size):
    with torch.no_grad():
        found, = eager_model([torch.rand(3, *size)])
    assert found["masks"].shape[1:] == (1, *size)


def test_contract_faster_rcnn_has_no_masks(small_config, scene):
    model = build_detector(dataclasses.replace(small_config, mask=None))
    image, target = scene()
    del target["masks"]
    assert set(losses_of(model, [image], [target])) == LOSSES - {"loss_mask"}
    with torch.no_grad():
        found, = model.eval()([image])
    assert set(found) == {"boxes", "labels", "scores"}
    with pytest.raises(ValueError, match="must have a mask branch"):
        MaskRCNN(model.transform, model.backbone, model.rpn, model.roi_heads)


BAD_TARGETS = [
    ({"boxes": torch.tensor([[5.0, 5.0, 5.0, 9.0]])}, ValueError,
     r"targets\[1\]\['boxes'\]\[0\] is \[5.0, 5.0, 5.0, 9.0\]"),
    ({"boxes": torch.tensor([[5.0, 5.0, float("nan"), 9.0]])}, ValueError, r"targets\[1\]"),
    ({"boxes": torch.tensor([[5.0, 5.0, float("inf"), 9.0]])}, ValueError, r"targets\[1\]"),
    ({"boxes": torch.tensor([[5, 5, 7, 9]])}, TypeError, "must be a floating tensor, got torch.int"),
    ({"boxes": torch.rand(1, 5)}, ValueError, r"must have shape \(N, 4\), got \(1, 5\)"),
    ({"labels": torch.tensor([3])}, ValueError, r"\['labels'\] must be between 1 and 2, got \[3\]"),
    ({"labels": torch.tensor([0])}, ValueError, r"targets\[1\]\['labels'\] must be between 1 and 2"),
    ({"labels": torch.tensor([1.0])}, TypeError, "must be an int64 tensor, got torch.float32"),
    ({"labels": torch.tensor([1, 2])}, ValueError, r"must have shape \(1,\), one for each box"),
    ({"masks": torch.zeros(1, 64, 60, dtype=torch.uint8)}, ValueError, "at the size of the image"),
    ({"masks": torch.zeros(1, 64, 64)}, TypeError, "must be uint8 or bool, got torch.float32"),
    ({"masks": []}, ValueError, "must hold 1 masks, one for each box, got 0"),
    ({"masks": "rle"}, TypeError, "must be a tensor or a list of RLE dicts or polygon lists"),
    ({"masks": None}, ValueError, r"targets\[1\] must have the key 'masks' when training"),
]


@pytest.mark.parametrize("change, error, message", BAD_TARGETS)
def test_contract_a_wrong_target_is_named(model, scene, change, error, message):
    good = scene()
    image, target = scene(boxes=((3, 3, 20, 20),), labels=(1,))
    with pytest.raises(error, match=message):
        model.train()([good[0], image], [good[1], target | change])


def test_contract_wrong_calls_say_so(model, scene):
    image, target = scene()
    with pytest.raises(ValueError, match="targets must be given when training"):
        model.train()([image])
    with pytest.raises(ValueError, match="one dict for each of the 1 images, got 2"):
        model([image], [target, target])
    with pytest.raises(ValueError, match="must have the key 'labels'"):
        model([image], [{"boxes": target["boxes"]}])
    with pytest.raises(TypeError, match=r"images\[0\] must be a floating tensor .* torch.uint8"):
        model([torch.zeros(3, 8, 8, dtype=torch.uint8)], [target])
    with pytest.raises(ValueError, match=r"images\[0\] must have shape \(3, H, W\), got \(1, 8, 8\)"):
        model([torch.zeros(1, 8, 8)], [target])


def test_contract_channels_last_gives_the_same(eager_model, scene):
    image = scene()[0]
    with torch.no_grad():
        expected, = eager_model([image])
        found, = eager_model.to(memory_format=torch.channels_last)([image])
    assert len(found["boxes"]) > 0 and torch.equal(found["labels"], expected["labels"])
    torch.testing.assert_close(found["boxes"], expected["boxes"], atol=0.01, rtol=0)


def test_contract_autocast_keeps_boxes_and_losses_float32(model, scene):
    image, target = scene()
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, [image], [target])
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert_trains(model, losses)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, = model.eval()([image])
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32


def test_contract_resnet18_is_sized_for_a_cpu(scene):
    model = maskrcnn_resnet18_fpn(num_classes=2, min_size=64, fpn_channels=32, mask_layers=(32,))
    assert model.config.backbone.norm == "group"
    assert sum(p.numel() for p in model.parameters()) < 15e6
    image, target = scene(labels=(1, 1))
    assert_trains(model, losses_of(model, [image], [target]))


HALF, BF16, FLOAT, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize("weights", [HALF, BF16, FLOAT, DOUBLE])
@pytest.mark.parametrize("given", [HALF, BF16, FLOAT, DOUBLE])
@pytest.mark.parametrize("cast", [None, BF16, HALF])
def test_contract_images_have_the_dtype_of_the_weights(eager_model, scene, weights, given, cast):
    """Or, under autocast, any but float64; torch's GroupNorm takes weights of the autocast's dtype or float32."""
    model = eager_model.to(weights)
    images = [scene()[0].to(weights), scene()[0].to(given)]
    alike = weights == given or cast and DOUBLE not in (weights, given)
    with torch.no_grad(), torch.autocast("cpu", cast or BF16, enabled=cast is not None):
        if not alike:
            with pytest.raises(TypeError, match=rf"images\[1\] must be {weights}, as .* weights are, got {given}"):
                model(images)
        elif cast is None or weights in (cast, FLOAT, DOUBLE):
            assert all(found["boxes"].dtype == (DOUBLE if weights == DOUBLE else FLOAT) for found in model(images))


def test_contract_devices_are_named(model, scene):
    image = scene()[0]
    with pytest.raises(ValueError, match=r"images\[1\] must be on cpu, as the model's weights are, got meta"):
        model.eval()([image, image.to("meta")])
    with pytest.raises(BackendError, match="^MaskRCNN: the model is on meta, for which roikit has no kernels"):
        model.to("meta")([image.to("meta")])


@torch.no_grad()
def test_contract_parts_and_hooks_may_cast_images(eager_model, scene):
    class Casting(type(eager_model.transform)):
        def forward(self, images, targets=None):
            return super().forward([image.float() for image in images], targets)

    image = scene()[0].double()
    expected = eager_model([image.float()])[0]["boxes"]
    plain, eager_model.transform = eager_model.transform, Casting(eager_model.config.image)
    torch.testing.assert_close(eager_model([image])[0]["boxes"], expected)
    eager_model.transform = plain
    eager_model.backbone.register_forward_pre_hook(lambda backbone, inputs: (inputs[0].float(),))
    torch.testing.assert_close(eager_model([image])[0]["boxes"], expected)
