"""Keypoint R-CNN, alone and with masks: losses, results, awkward input, wrong targets."""

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional as F

import roikit.reference
from roikit.models import (
    FasterRCNN,
    KeypointConfig,
    KeypointRCNN,
    KeypointRCNNPredictor,
    MaskRCNN,
    build_detector,
    keypointrcnn_resnet50_fpn,
    load_checkpoint,
)
from roikit.models.configs import DetectorConfig
from roikit.models.parts.image import Truth
from roikit.models.roi.keypoint import KeypointBranch, keypoint_losses, keypoint_samples, keypoints_of
from roikit.models.roi.samples import Samples, positives

POINTS = 3


@pytest.fixture(params=["keypoints", "keypoints and masks", "batch norm in the heads"])
def config(request, small_config):
    """A small detector with keypoints; the last one in the form of torchvision's second generation, with masks."""
    config = dataclasses.replace(small_config, keypoint=KeypointConfig(POINTS, layers=(16, 16)))
    if request.param == "keypoints":
        return dataclasses.replace(config, mask=None)
    if request.param == "keypoints and masks":
        return config
    return dataclasses.replace(
        config, backbone=dataclasses.replace(config.backbone, norm="batch", fpn_norm="batch"),
        rpn=dataclasses.replace(config.rpn, conv_depth=2), mask=dataclasses.replace(config.mask, norm="batch"),
        box=dataclasses.replace(config.box, conv_layers=(16, 16), fc_layers=1, norm="batch"))


@pytest.fixture
def model(config, made_eager):
    torch.manual_seed(1)
    return made_eager(build_detector(config))


def with_keypoints(sample, visibility=2.0, seed=0):
    """An image and its target with keypoints anywhere in each box."""
    image, target = sample
    boxes = target["boxes"]
    share = torch.rand(len(boxes), POINTS, 2, generator=torch.Generator().manual_seed(seed))
    places = boxes[:, None, :2] + share * (boxes[:, None, 2:] - boxes[:, None, :2])
    return image, target | {"keypoints": torch.cat((places, torch.full((len(boxes), POINTS, 1), visibility)), 2)}


def empty_target():
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64),
            "masks": torch.zeros(0, 64, 64, dtype=torch.uint8), "keypoints": torch.zeros(0, POINTS, 3)}


def losses_of(model, samples, seed=3):
    images, targets = zip(*samples, strict=True)
    torch.manual_seed(seed)
    return model.train()(list(images), list(targets))


@pytest.mark.parametrize("case", ["two objects", "no objects", "one pixel", "nothing visible", "mixed batch"])
def test_contract_losses_are_finite_and_connected(model, scene, case):
    full = with_keypoints(scene())
    samples = {
        "two objects": [full],
        "no objects": [(full[0], empty_target())],
        "one pixel": [with_keypoints(scene(boxes=((10, 10, 11, 11),), labels=(1,)))],
        "nothing visible": [with_keypoints(scene(), visibility=0.0)],
        "mixed batch": [full, (scene(seed=1)[0], empty_target()),
                        with_keypoints(scene((48, 80), ((1, 1, 2, 2),), (1,), seed=2))],
    }[case]
    losses = losses_of(model, samples)
    assert ("loss_mask" in losses) == isinstance(model, MaskRCNN)
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values()), losses
    assert (losses["loss_keypoint"] == 0) == (case in ("no objects", "nothing visible"))
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    if case == "two objects":
        assert all(p.grad.abs().sum() > 0 for n, p in model.named_parameters() if "keypoint" in n)


def test_contract_no_proposal_and_no_object_is_no_loss(model, scene):
    model.rpn.config = dataclasses.replace(model.rpn.config, keep_after_nms_train=0)
    losses = losses_of(model, [(scene()[0], empty_target())])
    assert losses["loss_keypoint"] == losses["loss_classifier"] == losses["loss_box_reg"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.roi_heads.parameters())


def test_contract_a_predictor_of_another_number_of_keypoints(config, scene):
    """As users of torchvision fine-tune for objects of their own: the predictor is replaced, nothing else."""
    torch.manual_seed(1)
    model = build_detector(config)
    model.roi_heads.keypoint_predictor = KeypointRCNNPredictor(config.keypoint.layers[-1], POINTS + 2)
    image, target = with_keypoints(scene())
    with pytest.raises(ValueError, match=rf"must have shape \(2, {POINTS + 2}, 3\), .* got \(2, {POINTS}, 3\)"):
        losses_of(model, [(image, target)])
    target["keypoints"] = torch.cat((target["keypoints"], target["keypoints"][:, :2]), 1)
    loss = losses_of(model, [(image, target)])["loss_keypoint"]
    assert loss > 0 and loss.isfinite()


def test_law_the_loss_is_the_mean_over_visible_keypoints():
    """Two positives and one background in one image, an image without objects; the formula written out."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0], [5.0, 5.0, 30.0, 30.0], [40.0, 40.0, 50.0, 50.0]])
    points = torch.rand(2, POINTS, 3, generator=generator) * torch.tensor([10.0, 20.0, 1.0])
    points[0, 1, 2] = 0.0    # not visible
    points[1, 0, 0] = 100.0  # not in its box
    config = KeypointConfig(POINTS, loss_weight=0.5)
    samples = [Samples(boxes, torch.tensor([1, 0, 1]), torch.tensor([0, 0, 1])),
               Samples(boxes, torch.zeros(3, dtype=torch.int64), torch.full((3,), -1))]
    own = torch.tensor([[0.0, 0.0, 10.0, 20.0], [40.0, 40.0, 50.0, 50.0]])
    points[1] += torch.tensor([40.0, 40.0, 0.0]) * (points[1] < 50)
    points[1, :, :2].clamp_(max=49.0)
    points[1, 0, 0] = 100.0
    truths = [Truth(own, torch.tensor([1, 1]), None, (64, 64), (64, 64), points),
              Truth(own[:0], torch.zeros(0, dtype=torch.int64), None, (64, 64), (64, 64), points[:0])]
    looked_at, keypoints = keypoint_samples(samples, truths, POINTS)
    assert [len(some) for some in looked_at] == [2, 0] and torch.equal(keypoints, points)
    logits = torch.randn(2, POINTS, 8, 8, generator=generator)
    loss = keypoint_losses(logits, looked_at, keypoints, config)["loss_keypoint"]
    target, valid = roikit.reference.encode_keypoints(points.numpy(), own.numpy(), 8)
    terms = [F.cross_entropy(logits[n, k].flatten()[None], torch.tensor([target[n, k]]))
             for n in range(2) for k in range(POINTS) if valid[n, k]]
    assert len(terms) == 4
    torch.testing.assert_close(loss, 0.5 * torch.stack(terms).mean())


def test_law_positives_without_a_visible_keypoint_do_not_pass_the_layers(config, scene):
    torch.manual_seed(1)
    model = build_detector(config)
    seen = []
    model.roi_heads.keypoint_head.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    losses_of(model, [with_keypoints(scene())])
    losses_of(model, [with_keypoints(scene(), visibility=0.0)])
    assert seen[0] > 0 and seen[1] == 0


class EveryPositive(KeypointBranch):
    """All positives pass the layers, as torchvision has it."""

    def losses(self, heads, features, samples, truths, batch):
        boxes, _ = positives(samples)
        own = [truth.keypoints[sample.matched[sample.positives()]]
               for sample, truth in zip(samples, truths, strict=True) if len(truth.boxes)]
        return keypoint_losses(self.logits(heads, features, boxes, batch), boxes, torch.cat(own), heads.keypoint)


def step(model, samples):
    """Losses and gradients."""
    model.zero_grad(set_to_none=True)
    losses = losses_of(model, samples)
    sum(losses.values()).backward()
    return losses, {name: p.grad.clone() for name, p in model.named_parameters()}


def test_agreement_with_every_positive_in_the_layers(config, scene):
    """In float64: losses and the gradient of every parameter."""
    torch.manual_seed(1)
    model = build_detector(config).double()
    samples = [with_keypoints(scene()), with_keypoints(scene(seed=1), visibility=0.0), (scene()[0], empty_target())]
    samples = [(image.double(), {key: value.double() if value.is_floating_point() else value
                                 for key, value in target.items()}) for image, target in samples]
    found = step(model, samples)
    heads = model.roi_heads
    heads.branches = tuple(EveryPositive() if isinstance(branch, KeypointBranch) else branch
                           for branch in heads.branches)
    expected = step(model, samples)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            largest = float(value.detach().abs().max())
            torch.testing.assert_close(one[key], value, rtol=1e-7, atol=1e-9 * largest + 1e-16,
                                       msg=lambda text, key=key: f"{key}: {text}")


def test_law_a_step_gives_the_same_bits_again(config, scene):
    torch.manual_seed(1)
    model = build_detector(config)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        twice = [step(copy.deepcopy(model), [with_keypoints(scene()), with_keypoints(scene(seed=1))]) for _ in range(2)]
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*twice, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


@torch.no_grad()
def test_contract_results(model, scene):
    image = scene((50, 70))[0]
    assert isinstance(model, MaskRCNN if model.config.mask is not None else KeypointRCNN)
    found, = model([image])
    count = len(found["boxes"])
    assert count > 0 and ("masks" in found) == (model.config.mask is not None)
    assert found["keypoints"].shape == (count, POINTS, 3) and found["keypoints"].dtype == torch.float32
    assert found["keypoints_scores"].shape == (count, POINTS) and (found["keypoints"][..., 2] == 1).all()
    boxes, places = found["boxes"], found["keypoints"][..., :2]
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1.0)
    assert (places >= boxes[:, None, :2]).all() and (places <= (boxes[:, :2] + sides)[:, None] + 1e-3).all()


@torch.no_grad()
def test_law_keypoints_are_those_of_the_boxes_in_the_resized_image(config, scene):
    """Decoded in the frame of the batch, then moved: twice the image's size, half the coordinates."""
    torch.manual_seed(1)
    model = build_detector(dataclasses.replace(
        config, image=dataclasses.replace(config.image, min_size=(128,), max_size=256))).eval()
    model.roi_heads.box = dataclasses.replace(model.roi_heads.box, score_threshold=0.2)
    kept = {}
    model.roi_heads.register_forward_hook(lambda _, given, out: kept.update(inside=out[0][0]["keypoints"]))
    found, = model([scene()[0]])
    assert len(found["keypoints"]) > 0
    torch.testing.assert_close(found["keypoints"][..., :2], kept["inside"][..., :2] / 2)


@torch.no_grad()
def test_law_a_batch_gives_what_single_images_give(model, scene):
    images = [scene(seed=seed)[0] for seed in range(3)]
    together, alone = model(images), [model([image])[0] for image in images]
    assert all(len(found["boxes"]) for found in together)
    for one, other in zip(together, alone, strict=True):
        assert one.keys() == other.keys() and torch.equal(one["labels"], other["labels"])
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(one["keypoints_scores"], other["keypoints_scores"], atol=1e-4, rtol=1e-4)
        same = (one["keypoints"] - other["keypoints"]).abs().amax(-1) < 0.01
        assert same.float().mean() > 0.95  # a map may have two places that are nearly alike


@torch.no_grad()
def test_contract_awkward_images(model, scene):
    assert model([]) == []
    for size in ((1, 1), (1, 200), (7, 3)):
        found, = model([torch.rand(3, *size)])
        assert found["keypoints"].shape == (len(found["boxes"]), POINTS, 3)
        assert torch.isfinite(found["keypoints"]).all()
    model.roi_heads.box = dataclasses.replace(model.roi_heads.box, score_threshold=1.0)
    for found in model([scene()[0], scene((40, 64))[0]]):
        assert found["keypoints"].shape == (0, POINTS, 3) and found["keypoints_scores"].shape == (0, POINTS)


def test_law_scores_by_either_rule():
    """"probability" as its formula says: exp of the best resized value over the sum of exp of the map as it is."""
    logits = torch.randn(4, POINTS, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    boxes = [torch.tensor([[0.0, 0.0, 30.0, 17.5], [3.0, 4.0, 3.5, 4.25]]), torch.zeros(0, 4),
             torch.tensor([[10.0, 0.0, 18.0, 8.0], [0.0, 0.0, 100.0, 200.0]])]
    xy, best = keypoints_of(logits, boxes, KeypointConfig(POINTS))
    same, share = keypoints_of(logits, boxes, KeypointConfig(POINTS, score_rule="probability"))
    assert torch.equal(xy, same)
    sums = (logits - best[..., None, None]).exp().sum((2, 3))
    torch.testing.assert_close(share, 1 / sums)
    # A box of as many pixels as its map has cells is not resized: the score is the softmax's largest value.
    torch.testing.assert_close(share[2], logits[2].flatten(1).softmax(1).amax(1))
    nothing = keypoints_of(logits[:0], [torch.zeros(0, 4)], KeypointConfig(POINTS, score_rule="probability"))
    assert nothing[0].shape == (0, POINTS, 3) and nothing[1].shape == (0, POINTS)


def test_contract_wrong_targets_say_so(model, scene):
    image, target = with_keypoints(scene())
    del target["keypoints"]
    with pytest.raises(ValueError, match=r"targets\[1\] must have the key 'keypoints' when training"):
        losses_of(model, [with_keypoints(scene()), (image, target)])
    with pytest.raises(ValueError, match=r"targets\[0\]\['keypoints'\] must have shape \(2, 3, 3\), .*got \(2, 17, 3"):
        losses_of(model, [(image, target | {"keypoints": torch.zeros(2, 17, 3)})])
    with pytest.raises(ValueError, match=r"must have shape \(2, K, 3\)"):
        losses_of(model, [(image, target | {"keypoints": torch.zeros(1, POINTS, 3)})])
    with pytest.raises(TypeError, match=r"targets\[0\]\['keypoints'\] must be a floating tensor"):
        losses_of(model, [(image, target | {"keypoints": torch.zeros(2, POINTS, 3, dtype=torch.int64)})])


def test_contract_a_keypoint_rcnn_needs_its_branch(small_config):
    model = build_detector(dataclasses.replace(small_config, mask=None))
    assert type(model) is FasterRCNN
    with pytest.raises(ValueError, match="KeypointRCNN: roi_heads must have a keypoint branch"):
        KeypointRCNN(model.transform, model.backbone, model.rpn, model.roi_heads)


@pytest.mark.parametrize("config", ["keypoints and masks"], indirect=True)
def test_law_training_fits_one_image(config, scene):
    torch.manual_seed(0)
    model = build_detector(config)
    sample = with_keypoints(scene())
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    history = []
    for _ in range(80):  # of 30 some seeds' losses are still on their way, whatever the last digits
        losses = losses_of(model, [sample])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(losses["loss_keypoint"].item())
    assert sum(history[-5:]) < 0.6 * sum(history[:5])


def test_contract_files_with_another_number_of_keypoints(tmp_path):
    config = DetectorConfig(num_classes=2, mask=None, keypoint=KeypointConfig(5, layers=(16,)))
    torch.save(build_detector(config).state_dict(), tmp_path / "five.pth")
    model = build_detector(dataclasses.replace(config, keypoint=KeypointConfig(4, layers=(16,))))
    with pytest.raises(ValueError, match="The file has 5 keypoints and the model 4; allow_new_classes=True"):
        load_checkpoint(model, tmp_path / "five.pth")
    report = load_checkpoint(model, tmp_path / "five.pth", allow_new_classes=True)
    assert report.reinitialised == tuple(f"roi_heads.keypoint_predictor.kps_score_lowres.{name}"
                                         for name in ("bias", "weight"))
    model = build_detector(dataclasses.replace(config, num_classes=3, keypoint=KeypointConfig(4, layers=(16,))))
    with pytest.raises(ValueError, match="The file has 2 classes and the model 3, and 5 keypoints and the model 4"):
        load_checkpoint(model, tmp_path / "five.pth")


def test_contract_old_torchvision_names(tmp_path):
    """Those of a file of 2019; the keypoint head had today's from the start."""
    ours = keypointrcnn_resnet50_fpn()
    old = {}
    for name, value in ours.state_dict().items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                name = name.replace(f"{block}.{level}.0.", f"{block}.{level}.")
        if not name.endswith("num_batches_tracked"):
            old[name] = value
    assert {"rpn.head.conv.weight", "backbone.fpn.inner_blocks.0.weight", "roi_heads.keypoint_head.14.bias"} <= set(old)
    torch.save(old, tmp_path / "old.pth")
    built = keypointrcnn_resnet50_fpn(weights=tmp_path / "old.pth")
    state = built.state_dict()
    assert built.config.backbone.norm == "frozen" and all(
        torch.equal(value, state[name]) for name, value in ours.state_dict().items() if name in state)


def test_contract_published_weights_of_2019_have_no_eps(tmp_path, monkeypatch):
    import hashlib

    from roikit.errors import RoikitWarning
    from roikit.models.weights import checkpoint
    path = tmp_path / "weights.pth"
    torch.save(keypointrcnn_resnet50_fpn().state_dict(), path)
    assert "fc266e95" in checkpoint._TRAINED_WITHOUT_EPS  # as torchvision, which leaves 9f466800 its eps
    monkeypatch.setattr(checkpoint, "_TRAINED_WITHOUT_EPS", (hashlib.sha256(path.read_bytes()).hexdigest()[:8],))
    assert keypointrcnn_resnet50_fpn(weights=path).backbone.body.bn1.eps == 0.0
    with pytest.warns(RoikitWarning, match="without an eps, but the model's have 1e-05"):
        load_checkpoint(keypointrcnn_resnet50_fpn(), path)


def test_contract_frozen_layers():
    model = keypointrcnn_resnet50_fpn(trainable_backbone_layers=3, num_keypoints=POINTS)
    assert {name.split(".")[2] for name, p in model.named_parameters() if not p.requires_grad} == {
        "conv1", "bn1", "layer1"}
