"""Our detectors against torchvision's Python, the oracle: the same weights, the same results.

The oracle shares no kernel with roikit's compiled code: its `nms` is the NumPy reference, its
`roi_align` torchvision's own Python formula.
"""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import roikit.reference
from roikit import models

# Fewer proposals and samples than usual, because the oracle's kernels are slow. 216 is no multiple
# of 32, so that zeros follow every image: torchvision's formula lacks the rule of its compiled
# kernel that a sample beyond the far edge of the map counts 0, which thin boxes there would reach.
FAST = {"min_size": 216, "max_size": 400, "rpn_pre_nms_top_n_test": 250,
        "rpn_post_nms_top_n_test": 100, "rpn_pre_nms_top_n_train": 250,
        "rpn_post_nms_top_n_train": 100, "box_batch_size_per_image": 48,
        "box_detections_per_img": 40}


@pytest.fixture
def oracle(torchvision, monkeypatch):
    """torchvision.models.detection with its kernels replaced by specifications."""
    import torchvision.models.detection as detection
    formula = sys.modules["torchvision.ops.roi_align"]._roi_align
    formula = getattr(formula, "__wrapped__", formula)  # without torch.compile around it

    def nms(boxes, scores, iou_threshold):
        keep = roikit.reference.nms(boxes.detach().numpy(), scores.detach().numpy(), iou_threshold)
        return torch.from_numpy(np.asarray(keep, dtype=np.int64))

    def roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
        height, width = output_size
        if sampling_ratio <= 0:
            # Of mask targets; the formula would sample as densely as the largest image is high.
            return torch.from_numpy(roikit.reference.roi_align(
                input.numpy(), boxes.numpy(), output_size, spatial_scale, -1, aligned))
        parts = [formula(input, some, spatial_scale, height, width, sampling_ratio, aligned)
                 for some in boxes.split(64)]  # its temporaries are large
        return torch.cat(parts)

    monkeypatch.setattr(sys.modules["torchvision.ops.boxes"], "nms", nms)
    monkeypatch.setattr(sys.modules["torchvision.ops.poolers"], "roi_align", roi_align)
    monkeypatch.setattr(sys.modules["torchvision.models.detection.roi_heads"], "roi_align",
                        roi_align)
    return detection


def photographs(seed, sizes=((200, 300), (224, 260))):
    """Smooth random images: noise at several scales."""
    generator = torch.Generator().manual_seed(seed)
    images = []
    for size in sizes:
        image = torch.zeros(1, 3, *size)
        for cells in (4, 16, 64):
            noise = torch.rand(1, 3, cells, cells, generator=generator)
            image += nn.functional.interpolate(noise, size=size, mode="bilinear") / 3
        images.append(image[0])
    return images


def draw_weights(model, images):
    """Random weights that detect: normalised activations, spread logits, moderate deltas."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    batch, _ = model.eval().transform(images)
    with torch.no_grad():
        model.backbone.train()(batch.tensors)  # sets the running statistics
        model.rpn.head.cls_logits.weight.normal_(std=0.1)
        model.rpn.head.bbox_pred.weight.normal_(std=0.02)
        predictor = model.roi_heads.box_predictor
        predictor.cls_score.weight.normal_(std=0.15)
        predictor.bbox_pred.weight.normal_(std=0.1)
    return model.eval()


def pair(ours, theirs, images, seed, **options):
    """Both models with one set of weights, theirs drawn, ours loaded strictly."""
    torch.manual_seed(seed)
    theirs = draw_weights(theirs(weights=None, weights_backbone=None, **(FAST | options)), images)
    ours = ours(**(FAST | options))
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs


def assert_same_boxes(found, expected):
    assert torch.equal(found["labels"], expected["labels"])
    torch.testing.assert_close(found["boxes"], expected["boxes"], atol=0.01, rtol=0)
    torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_agreement_mask_rcnn_detections(oracle, name, tmp_path):
    """The oracle's weights go through roikit and back to a new oracle in a file of torchvision's layout."""
    images = photographs(0)
    ours, theirs = pair(getattr(models, name), getattr(oracle, name), images, seed=0)
    models.save_checkpoint(ours, tmp_path / "weights.pth", "torchvision")
    theirs = getattr(oracle, name)(weights=None, weights_backbone=None, **FAST).eval()
    theirs.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True), strict=True)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    for image, one, other in zip(images, found, expected, strict=True):
        assert len(other["boxes"]) >= 30
        assert len(other["labels"].unique()) >= 3
        assert other["scores"].diff().abs().min() > 1e-5
        assert_same_boxes(one, other)
        assert one["masks"].shape == (len(one["boxes"]), 1, *image.shape[1:])
        torch.testing.assert_close(one["masks"], other["masks"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
def test_agreement_faster_rcnn_detections(oracle, name):
    images = photographs(1, ((224, 224),))
    ours, theirs = pair(getattr(models, name), getattr(oracle, name), images, seed=0, num_classes=7)
    with torch.no_grad():
        (other,), (one,) = theirs(images), ours(images)
    assert len(other["boxes"]) >= 30
    assert_same_boxes(one, other)


def test_agreement_keypoint_rcnn_detections(oracle):
    """Keypoints agree where the two best cells of a map differ by more than rounding may make of them."""
    images = photographs(0)
    ours, theirs = pair(models.keypointrcnn_resnet50_fpn, oracle.keypointrcnn_resnet50_fpn, images, seed=0,
                        box_detections_per_img=16)
    seen = {}
    theirs.roi_heads.keypoint_roi_pool.register_forward_pre_hook(lambda _, given: seen.update(boxes=given[1]))
    theirs.roi_heads.keypoint_predictor.register_forward_hook(lambda _, given, maps: seen.update(maps=maps))
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert len(torch.cat([other["boxes"] for other in expected])) >= 30
    clear = torch.tensor([[differ > 1e-5 for differ in best_two(maps, box)]
                          for maps, box in zip(seen["maps"], torch.cat(seen["boxes"]), strict=True)])
    assert clear.float().mean() > 0.9
    for one, other, sure in zip(found, expected, clear.split([len(x) for x in seen["boxes"]]), strict=True):
        assert list(one) == list(other)
        assert_same_boxes(one, other)
        assert one["keypoints"].shape == (len(sure), 17, 3) and (one["keypoints"][..., 2] == 1).all()
        torch.testing.assert_close(one["keypoints"][sure], other["keypoints"][sure], atol=0.01, rtol=0)
        torch.testing.assert_close(one["keypoints_scores"], other["keypoints_scores"], atol=1e-5, rtol=1e-5)


def best_two(maps, box):
    """By how much the two largest of each map (K, S, S), resized to its box, differ."""
    width, height = (box[2:] - box[:2]).clamp(min=1).ceil().int().tolist()
    resized = nn.functional.interpolate(maps[None], size=(height, width), mode="bicubic")[0].flatten(1)
    if resized.shape[1] == 1:
        return [float("inf")] * len(maps)
    return (-resized.topk(2).values.diff()).flatten().tolist()


NAMES = ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"]


@pytest.mark.parametrize("name", NAMES)
def test_agreement_training_losses_with_the_same_seed(oracle, name):
    """Resizing, matching, sampling (the same draws), all losses, one image without objects."""
    images = photographs(2)
    ours, theirs = pair(getattr(models, name), getattr(oracle, name), images, seed=1, num_classes=5)
    masks = torch.zeros(3, 200, 300, dtype=torch.uint8)
    boxes = torch.tensor([[20.0, 30.0, 120.0, 150.0], [100.0, 10.0, 290.0, 90.0],
                          [150.5, 100.25, 170.0, 140.0]])
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = torch.ones(y2 - y1, x2 - x1).triu(-(y2 - y1) // 2)
    generator = torch.Generator().manual_seed(3)
    places = boxes[:, None, :2] + torch.rand(3, 17, 2, generator=generator) * (boxes[:, None, 2:] - boxes[:, None, :2])
    keypoints = torch.cat((places, torch.randint(0, 3, (3, 17, 1), generator=generator)), 2)
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 4, 2]), "masks": masks, "keypoints": keypoints},
               {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64),
                "masks": torch.zeros(0, 224, 260, dtype=torch.uint8), "keypoints": torch.zeros(0, 17, 3)}]
    losses = []
    for model in (ours, theirs):
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # statistics of the batch would drown the comparison
        torch.manual_seed(5)
        with torch.no_grad():
            losses.append(model(images, targets))
    assert set(losses[0]) == set(losses[1])
    for key, expected in losses[1].items():
        assert expected > 0
        torch.testing.assert_close(losses[0][key], expected, rtol=1e-5, atol=1e-5,
                                   msg=lambda text, key=key: f"{key}: {text}")


# Parameters as torchvision publishes them; those of a frozen norm are buffers.
PARAMETERS = {"maskrcnn_resnet50_fpn": 44_401_393, "keypointrcnn_resnet50_fpn": 59_137_258,
              "fasterrcnn_resnet50_fpn": 41_755_286, "maskrcnn_resnet50_fpn_v2": 46_359_409,
              "fasterrcnn_resnet50_fpn_v2": 43_712_278}


@pytest.mark.parametrize("name", PARAMETERS)
def test_agreement_state_dicts_load_both_ways(torchvision, name):
    import torchvision.models.detection as detection
    theirs = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=4)
    ours = getattr(models, name)(num_classes=4)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    trainable = {n for n, p in theirs.named_parameters() if p.requires_grad}
    assert {n for n, p in ours.named_parameters() if p.requires_grad} == trainable


@pytest.mark.parametrize("name", PARAMETERS)
def test_agreement_parameters_as_published(name, tmp_path):
    """Of a model that is built with a file; the second generation keeps batch norm then."""
    build = getattr(models, name)
    path = tmp_path / "weights.pth"
    torch.save(build().state_dict(), path)
    built = build(weights=path)
    assert sum(parameter.numel() for parameter in built.parameters()) == PARAMETERS[name]
    assert {type(m).__name__ for m in built.modules() if "Norm" in type(m).__name__} == {
        "BatchNorm2d" if name.endswith("_v2") else "FrozenBatchNorm2d"}
    frozen = {n.split(".")[2] for n, p in built.named_parameters() if not p.requires_grad}
    assert frozen == ({"conv1", "bn1", "layer1"} if name.endswith("_v2") else {"conv1", "layer1"})


def test_agreement_keyword_arguments_and_defaults(torchvision):
    import inspect

    from torchvision.models.detection import MaskRCNN as Theirs

    from roikit.models import detector_config
    modules = {"rpn_anchor_generator", "rpn_head", "box_roi_pool", "box_head", "box_predictor",
               "mask_roi_pool", "mask_head", "mask_predictor"}
    theirs = {name: parameter.default
              for name, parameter in inspect.signature(Theirs.__init__).parameters.items()
              if name not in modules | {"self", "backbone", "kwargs"}}
    ours = {name: parameter.default
            for name, parameter in inspect.signature(detector_config).parameters.items()
            if name in theirs}
    assert list(ours) == list(theirs)
    assert theirs.pop("num_classes") is None and ours.pop("num_classes") == 91
    assert ours == theirs


def test_agreement_sizes_of_keypoint_rcnn(torchvision):
    import torchvision.models.detection as detection
    theirs = detection.keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    config = models.keypointrcnn_resnet50_fpn().config
    assert config.image.min_size == theirs.transform.min_size and config.image.max_size == theirs.transform.max_size
    assert config.num_classes == theirs.roi_heads.box_predictor.cls_score.out_features
