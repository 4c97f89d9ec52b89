"""torch.compile of a detector: eager's detections, losses and gradients, in four graphs and without a graph break.

The network's graphs are run by "aot_eager", which traces and differentiates as the default backend does and leaves out
its C++ compiler; the layers whose kernels are roikit's own choice are compiled to the end.
"""

import copy
import dataclasses

import pytest
import torch
import torch._dynamo
from torch import nn

from roikit.models import (
    BackboneConfig,
    KeypointConfig,
    MaskConfig,
    TwoMLPHead,
    build_detector,
    maskrcnn_resnet18_fpn,
    prepare_for_inference,
)

# Backbone, RPN head, layers of the boxes and of the masks; before torch 2.7, pieces of everything.
GRAPHS, BREAKS = 4, 0


@pytest.fixture(scope="module")
def detector():
    """A small `maskrcnn_resnet18_fpn` with logits so far apart that rounding exchanges no two detections."""
    torch.manual_seed(0)
    model = maskrcnn_resnet18_fpn(
        num_classes=3, min_size=64, max_size=96, fpn_channels=16, mask_layers=(16,), box_representation=32,
        rpn_pre_nms_top_n_train=60, rpn_post_nms_top_n_train=30, rpn_pre_nms_top_n_test=60, rpn_post_nms_top_n_test=30,
        box_batch_size_per_image=32, box_detections_per_img=20)
    for layer in (model.rpn.head.cls_logits, model.roi_heads.box_predictor.cls_score):
        nn.init.normal_(layer.weight, std=0.5)
    return model.eval()


@pytest.fixture(autouse=True)
def counted():
    """A function: the numbers of graphs and of graph breaks so far; no test finds what another one has compiled."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    yield lambda: (counters["stats"]["unique_graphs"], sum(counters["graph_break"].values()))
    torch._dynamo.reset()


@pytest.fixture
def with_keypoints(detector):
    """The same with keypoints besides, whose layers are one more graph."""
    torch.manual_seed(0)
    model = build_detector(dataclasses.replace(detector.config, keypoint=KeypointConfig(3, layers=(16,))))
    model.load_state_dict(detector.state_dict(), strict=False)
    return model.eval()


def assert_same(found, expected, least=5):
    for one, other in zip(found, expected, strict=True):
        assert len(other["boxes"]) >= least and one.keys() == other.keys()
        assert torch.equal(one["labels"], other["labels"])
        for key, tolerance in (("boxes", 0.01), ("scores", 1e-5), ("masks", 1e-4)):
            torch.testing.assert_close(one[key], other[key], atol=tolerance, rtol=0)


def test_agreement_in_evaluation(detector, scene, counted):
    images = [scene()[0]]
    assert_same(torch.compile(detector, backend="aot_eager")(images), detector(images))
    assert counted() == (GRAPHS, BREAKS)


@torch.no_grad()
def test_agreement_of_one_compiled_detector_for_all_images(detector, scene, counted):
    """Of any sizes, without a gradient, with masks as runs, where nothing is found."""
    compiled = torch.compile(detector, backend="eager")
    box = detector.roi_heads.box
    try:
        for index, sizes in enumerate([[(64, 64), (50, 60)], [(90, 70), (64, 80)], [(64, 64), (60, 30)]]):
            images = [scene(size, seed=seed)[0] for seed, size in enumerate(sizes)]
            assert_same(compiled(images), detector(images))
            if index == 0:
                assert counted() == (GRAPHS, BREAKS)
        detector.mask_format = "rle"
        assert compiled(images)[0]["masks"] == detector(images)[0]["masks"]
        detector.mask_format = "soft"
        detector.roi_heads.box = dataclasses.replace(box, score_threshold=1.0)
        assert_same(compiled(images), detector(images), least=0)
        assert len(compiled(images)[0]["boxes"]) == 0
    finally:
        detector.roi_heads.box, detector.mask_format = box, "soft"


def test_agreement_in_training(detector, scene, counted):
    model = copy.deepcopy(detector).train()
    compiled = torch.compile(model, backend="aot_eager")
    for index, size in enumerate(((64, 64), (70, 90))):
        images, targets = zip(scene(size), scene((50, 64), ((4, 6, 40, 30),), (2,), seed=1), strict=True)
        steps = []
        for step in (compiled, model):
            torch.manual_seed(7)
            model.zero_grad(set_to_none=True)
            losses = step(list(images), list(targets))
            sum(losses.values()).backward()
            steps.append((losses, {name: p.grad for name, p in model.named_parameters()}))
        for one, other in zip(*steps, strict=True):
            assert one.keys() == other.keys()
            for key, value in other.items():
                torch.testing.assert_close(one[key], value, rtol=1e-4, atol=1e-4 * float(value.detach().abs().max()))
        if index == 0:
            assert counted() == (GRAPHS, BREAKS)


def test_agreement_with_keypoints(with_keypoints, scene, counted):
    model = with_keypoints
    compiled = torch.compile(model, backend="eager")
    images = [scene()[0], scene((50, 60), seed=1)[0]]
    found, expected = compiled(images), model(images)
    assert_same(found, expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one["keypoints_scores"], other["keypoints_scores"], atol=1e-4, rtol=1e-4)
        assert ((one["keypoints"] - other["keypoints"]).abs().amax(-1) < 0.01).float().mean() > 0.95
    assert counted() == (GRAPHS + 1, BREAKS)
    model.train()
    for boxes in (((4, 6, 40, 30), (30, 20, 60, 62)), ((10, 10, 50, 40),), ()):
        image, target = scene(boxes=boxes, labels=(1, 2)[:len(boxes)])
        target["keypoints"] = torch.cat((target["boxes"][:, None, :2].expand(-1, 3, 2) + 5,
                                         torch.ones(len(boxes), 3, 1)), 2)
        losses = []
        for step in (compiled, model):
            torch.manual_seed(7)
            losses.append(step([image], [target]))
            sum(losses[-1].values()).backward()
        assert losses[0].keys() == losses[1].keys() and (losses[0]["loss_keypoint"] > 0) == (len(boxes) > 0)
        for key, value in losses[1].items():
            torch.testing.assert_close(losses[0][key], value, rtol=1e-4, atol=1e-5)
    assert counted()[1] == BREAKS


def test_law_graphs_are_for_any_number_of_objects(detector, scene, counted):
    """Torch compiles a function anew for other sizes eight times at most, and then leaves it as it is for good."""
    model, ran = copy.deepcopy(detector), []

    def backend(graph, example):
        return lambda *inputs: ran.append(1) or graph(*inputs)

    compiled = torch.compile(model, backend=backend)
    objects = [((4, 6, 40, 30), (30, 20, 60, 62), (1, 2, 9, 12))[:n] for n in range(4)]
    for step in range(16):
        few, many = objects[step // 4], objects[step % 4]
        pairs = [scene(boxes=boxes, labels=(1, 2, 1)[:len(boxes)], seed=step) for boxes in (few, many)]
        model.train()
        images, targets = zip(*pairs, strict=True)
        sum(compiled(list(images), list(targets)).values()).backward()
        assert len(ran) == GRAPHS
        model.eval()
        ran.clear()
        compiled(list(images)[:1 + step % 2])
        assert len(ran) == GRAPHS
        ran.clear()
    assert counted()[1] == BREAKS


def test_agreement_of_a_module_around_a_detector(detector, scene):
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.detector = detector

        def forward(self, images):
            return self.detector([image * 0.9 for image in images])

    around, images = Around(), [scene()[0]]
    assert_same(torch.compile(around, backend="aot_eager")(images), around(images))


@torch.no_grad()
def test_agreement_of_a_prepared_detector(detector, scene):
    prepared = prepare_for_inference(detector)
    image = scene()[0]
    assert_same(torch.compile(prepared, backend="aot_eager")([image]), prepared([image]))


def test_agreement_of_the_box_head_compiled_to_the_end(monkeypatch, tmp_path):
    """Its products are oneDNN's where it runs as it is, by an operator that the default backend does not take."""
    # torch's own cache mixes up what was compiled for a processor and for what the environment left of it.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.manual_seed(0)
    head, x = TwoMLPHead(8 * 9, 16), torch.randn(5, 8, 3, 3)
    results = []
    for function in (torch.compile(head, fullgraph=True), head):
        out = function(x)
        results.append((out, *torch.autograd.grad(out.square().sum(), tuple(head.parameters()))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_agreement_of_a_detector_on_c4(scene, counted, small_config):
    """Its boxes and its masks have a stage of the body in their graphs; a deformable convolution is an operator."""
    torch.manual_seed(0)
    backbone = BackboneConfig(norm="group", neck="none", levels=("c4",), deform_stages=("c3",), deform_version=2)
    model = build_detector(dataclasses.replace(
        small_config, backbone=backbone, rpn=dataclasses.replace(small_config.rpn, anchor_sizes=((8.0, 16.0, 32.0),)),
        box=dataclasses.replace(small_config.box, head="res5", pool_size=14),
        mask=MaskConfig(layers=(), deconv_channels=16)))
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.5)
    predictor = model.roi_heads.box_predictor.cls_score
    nn.init.normal_(predictor.weight, std=predictor.in_features**-0.5)
    compiled = torch.compile(model.eval(), backend="aot_eager")
    images = [scene()[0]]
    assert_same(compiled(images), model(images))
    assert counted() == (GRAPHS, BREAKS)
    image, target = scene()
    sum(compiled.train()([image], [target]).values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert counted()[1] == BREAKS
