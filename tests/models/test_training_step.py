"""What a training step leaves out or takes in another order, against the plain computation."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from roikit.models import BackboneConfig, FrozenBatchNorm2d, MaskRCNNPredictor, RPNHead, TwoMLPHead, build_detector
from roikit.models.bodies.efficientnet import SameConv2d
from roikit.models.parts.linear import linear
from roikit.models.parts.norm import conv_norm


class EveryAnchor(RPNHead):
    """Of another class: the losses' gradients then pass through every map."""


class Unfolded(FrozenBatchNorm2d):
    """Of another class: a step of its own after its convolution."""


class AllClasses(nn.Module):
    """A mask predictor that cannot say one class alone."""

    def __init__(self, predictor):
        super().__init__()
        self.predictor = predictor

    def forward(self, x):
        return self.predictor(x)


def plain(model):
    """The same detector with nothing left out."""
    model = copy.deepcopy(model)
    model.rpn.head.__class__ = EveryAnchor
    model.roi_heads.mask_predictor = AllClasses(model.roi_heads.mask_predictor)
    model.backbone.body_format = model.backbone.fpn_format = torch.contiguous_format
    for module in model.modules():
        if type(module) is FrozenBatchNorm2d:
            module.__class__ = Unfolded
    return model


def detector(config, name, norm, depth=1):
    torch.manual_seed(4)
    backbone = BackboneConfig(name, norm=norm, fpn_channels=16, fpn_norm="group" if norm == "group" else "none",
                              trainable_layers=3)
    model = build_detector(dataclasses.replace(config, backbone=backbone,
                                               rpn=dataclasses.replace(config.rpn, conv_depth=depth)))
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
            module.weight.uniform_(0.3, 0.6)
            module.bias.normal_(std=0.1)
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.3)
    return model.train()


def step(model, images, targets):
    """Losses and gradients of one step."""
    torch.manual_seed(7)
    model.zero_grad(set_to_none=True)
    losses = model(images, targets)
    sum(losses.values()).backward()
    return losses, {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name, norm, depth", [("resnet18", "frozen", 1), ("resnet50", "frozen", 2),
                                               ("resnet18", "group", 3), ("efficientnet_lite0", "frozen", 1),
                                               ("resnet18", "batch", 1)])
def test_agreement_with_nothing_left_out(small_config, scene, name, norm, depth):
    """In float64, so that the order of sums hardly shows: losses, and the gradient of every parameter."""
    model = detector(small_config, name, norm, depth).double()
    scenes = [scene(), scene((50, 60), ((1, 2, 30, 40),), (1,), seed=1), scene((64, 64), (), (), seed=2)]
    images = [image.double() for image, _ in scenes]
    targets = [target | {"boxes": target["boxes"].double()} for _, target in scenes]
    other = plain(model)
    losses, gradients = step(model, images, targets)
    expected, expected_gradients = step(other, images, targets)
    for key, value in expected.items():
        assert value > 0
        torch.testing.assert_close(losses[key], value, rtol=1e-9, atol=0)
    expected_gradients = {n.replace("mask_predictor.predictor.", "mask_predictor."): g
                          for n, g in expected_gradients.items()}
    assert gradients.keys() == expected_gradients.keys()
    for key, value in expected_gradients.items():
        assert value.abs().max() > 0, key
        torch.testing.assert_close(gradients[key], value, rtol=1e-7, atol=1e-9 * float(value.abs().max()),
                                   msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name, norm", [("resnet50", "frozen"), ("resnet18", "batch"), ("resnet18", "group")])
def test_law_a_step_gives_the_same_bits_again(small_config, scene, name, norm):
    model = detector(small_config, name, norm)
    image, target = scene()
    twice = []
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(2):
            twice.append(step(copy.deepcopy(model), [image], [target]))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*twice, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("norm, expected", [("frozen", True), ("batch", True), ("group", False)])
def test_contract_maps_are_channels_last_but_for_group_norm(small_config, norm, expected):
    model = detector(small_config, "resnet18", norm)
    with torch.no_grad():
        assert all(level.is_contiguous() for level in model.backbone(torch.rand(2, 3, 64, 96)).values())
    for level in model.backbone(torch.rand(2, 3, 64, 96)).values():
        assert level.is_contiguous(memory_format=torch.channels_last) is expected
        assert level.is_contiguous() is not expected


@pytest.mark.parametrize("norm", ["frozen", "batch"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_law_maps_are_as_near_to_float64_as_float32_can_tell(small_config, float32_error, norm, seed):
    """Channels-last ones as the plain, contiguous ones."""
    model = detector(small_config, "resnet50", norm)
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(seed)) + 3
    truth, allowed = float32_error(model.backbone, x)
    for maps in (model.backbone(x), plain(model).backbone(x)):
        for level in truth:
            error = (maps[level] - truth[level]).square().mean().sqrt()
            assert 0 < error < allowed[level]


@pytest.mark.parametrize("conv", [nn.Conv2d(6, 8, 3, 2, 1, groups=2, bias=False), SameConv2d(6, 6, 5, 2, groups=6)])
def test_law_a_folded_norm_is_its_parts(conv):
    torch.manual_seed(0)
    norm = FrozenBatchNorm2d(conv.out_channels).double()
    conv = conv.double()
    for buffer in (norm.weight, norm.bias, norm.running_mean):
        buffer.normal_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 6, 13, 16, dtype=torch.float64, requires_grad=True)
    found, expected = conv_norm(conv, norm, x), norm(conv(x))
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    for one, other in zip(torch.autograd.grad(found, (x, conv.weight), upstream),
                          torch.autograd.grad(expected, (x, conv.weight), upstream), strict=True):
        torch.testing.assert_close(one, other)


def test_law_a_norm_that_trains_is_not_folded():
    conv, norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
    conv_norm(conv, norm, torch.randn(2, 3, 5, 5)).sum().backward()
    assert norm.weight.grad is not None and norm.num_batches_tracked == 1


@pytest.mark.parametrize("rows, dtype", [(7, torch.float32), (0, torch.float32), (5, torch.float64)])
def test_agreement_linear(rows, dtype):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in ((rows, 33), (9, 33), (9,)))
    results = []
    for function in (linear, F.linear):
        out = function(x, weight, bias)
        first = torch.autograd.grad(out.square().sum(), (x, weight, bias), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), (x, weight, bias))
        results.append((out, *first, *second))
    for one, other in zip(*results, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4 * float(other.detach().abs().max()) if rows else 0)


def test_agreement_linear_under_autocast():
    head = TwoMLPHead(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(torch.randn(3, 2, 2, 2))
    assert found.dtype == torch.bfloat16


def test_agreement_of_one_class_with_all_of_them_in_its_gradients():
    torch.manual_seed(0)
    predictor = MaskRCNNPredictor(8, 6, 5).double()
    x = torch.randn(7, 8, 3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 4, 2, 2, 3, 1, 4])
    upstream = torch.randn(7, 6, 8, dtype=torch.float64)
    wanted = (x, *predictor.parameters())
    found = torch.autograd.grad(predictor.logits_of(x, labels), wanted, upstream)
    expected = torch.autograd.grad(predictor(x)[torch.arange(7), labels], wanted, upstream)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_contract_every_parameter_learns_under_autocast(small_config, scene, norm):
    """autocast remembers weights that it cast without a gradient."""
    model = detector(small_config, "resnet18", norm)
    image, target = scene()
    torch.manual_seed(7)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image], [target])
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_law_transforms_of_a_linear_layer():
    x, weight, bias, tangent = (torch.randn(5, 8), torch.randn(7, 8), torch.randn(7), torch.randn(5, 8))
    rows = torch.randn(3, 5, 8)
    for one, other in ((torch.func.vmap(call, (0, None, None))(rows, weight, bias) for call in (linear, F.linear)),
                       (torch.func.grad(lambda w, call=call: call(x, w, bias).square().sum())(weight)
                        for call in (linear, F.linear)),
                       (torch.func.jvp(lambda y, call=call: call(y, weight, bias), (x,), (tangent,))[1]
                        for call in (linear, F.linear))):
        torch.testing.assert_close(one, other)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(linear(forward_ad.make_dual(x, tangent), weight, bias)).tangent
        torch.testing.assert_close(found, F.linear(tangent, weight))
