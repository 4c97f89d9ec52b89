"""Batch normalisation in training with what follows it: as torch's in float64, the same bits, torch's own cases."""

import contextlib
import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from roikit.models.bodies.resnet import RESNETS, BasicBlock  # noqa: E402
from roikit.models.parts.norm import BatchNorm2d, norm_layer  # noqa: E402
from roikit.reference import group_norm as reference  # noqa: E402
from roikit.testing import simd, simd_levels  # noqa: E402

FORMATS = [torch.contiguous_format, torch.channels_last]
SHAPES = [(2, 3, 5, 7), (1, 8, 4, 4), (3, 40, 33, 20), (4, 300, 3, 3), (2, 2, 150, 130), (9, 1, 1, 1)]


def drawn(shape, form, mean=0.0):
    """A layer that is not the identity, maps, what is added, a gradient."""
    random = torch.Generator().manual_seed(sum(shape))
    layer = BatchNorm2d(shape[1])
    with torch.no_grad():
        layer.weight.uniform_(-2, 2, generator=random)
        layer.bias.normal_(generator=random)
    x, onto, grad = (torch.randn(shape, generator=random).contiguous(memory_format=form) for _ in range(3))
    return layer, x * 2 + mean, onto, grad


def of(layer, x, onto, grad, relu, twin=None):
    """Result, gradients and statistics; by `twin`, torch's own layer and operations, where it is given."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    onto = None if onto is None else onto.clone(memory_format=torch.preserve_format).requires_grad_()
    if twin is None:
        out = layer(x, onto, relu)
    else:
        layer = twin
        out = layer(x)
        out = out if onto is None else out + onto
        out = out.relu() if relu else out
    out.backward(grad)
    return {"out": out.detach(), "x": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad,
            "mean": layer.running_mean, "variance": layer.running_var,
            **({} if onto is None else {"onto": onto.grad})}


def torchs(layer):
    twin = nn.BatchNorm2d(layer.num_features, layer.eps).double()
    twin.load_state_dict(layer.state_dict())
    return twin


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_law_values_gradients_and_statistics_are_torchs_in_float64(shape, form, added, relu, mean):
    layer, x, onto, grad = drawn(shape, form, mean)
    onto = onto if added else None
    twin = torchs(layer)
    found = of(layer, x, onto, grad, relu)
    expected = of(None, x.double(), None if onto is None else onto.double(), grad.double(), relu, twin)
    # A ReLU of what is next to 0 may pass a gradient on one side alone.
    near = expected["out"].abs() < 1e-4 * (1 + mean) if relu and not added else torch.zeros_like(x, dtype=torch.bool)
    for key, value in found.items():
        summed = x.numel() / shape[1] if key in ("weight", "bias") else 1.0  # values whose signs differ
        scale = max(expected[key].abs().max().item(), summed ** 0.5) * (1 + mean)
        off = (value.double() - expected[key]).abs()
        if key == "x" and (near & (expected["out"] > 0)).any():
            continue
        assert off.max().item() < 2e-6 * scale, key
    assert layer.num_batches_tracked == 1 and found["out"].is_contiguous(memory_format=form)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_law_it_is_the_specification_of_all_images_as_one(shape, form, mean):
    layer, x, onto, _ = drawn(shape, form, mean)

    def as_one(maps):
        return maps.numpy().transpose(1, 0, 2, 3).reshape(1, shape[1], -1, shape[3]).astype(np.float64)
    parts = as_one(x), shape[1], *(part.detach().numpy().astype(np.float64) for part in (layer.weight, layer.bias))
    expected = reference.group_norm(*parts, layer.eps, as_one(onto))
    bound = 2.0**-24 * (reference.bounds(*parts, layer.eps, as_one(onto)) + np.abs(expected))
    assert (np.abs(as_one(layer(x, onto).detach()) - expected) <= bound).all()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_law_the_bits_are_the_same_for_any_number_of_threads_and_at_every_level(shape, form):
    layer, x, onto, grad = drawn(shape, form)
    threads, all_found = torch.get_num_threads(), []
    try:
        for count, level in [(1, None), (2, None), (5, None), *((2, level) for level in simd_levels())]:
            torch.set_num_threads(count)
            with contextlib.nullcontext() if level is None else simd(level):
                all_found.append(of(copy.deepcopy(layer), x, onto, grad, True))
    finally:
        torch.set_num_threads(threads)
    for other in all_found[1:]:
        assert all(torch.equal(value, other[key]) for key, value in all_found[0].items())


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_law_gradients_can_be_differentiated_again(relu, added):
    torch.manual_seed(0)
    layer = BatchNorm2d(3).double()
    inputs = [torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(1 + added)]

    def call(x, onto=None):
        return layer(x, onto, relu)
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("change", [{"momentum": None}, {"track_running_stats": False}, {"affine": False}])
def test_case_other_averages_are_torchs_own(change):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 5)
    own, theirs = BatchNorm2d(4, **change), nn.BatchNorm2d(4, **change)
    for _ in range(2):
        assert torch.equal(own(x), theirs(x))
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in own.state_dict().items())


def test_case_in_evaluation_and_for_nothing_it_is_torchs_own():
    torch.manual_seed(0)
    x, onto = torch.randn(2, 4, 3, 5) + 1, torch.randn(2, 4, 3, 5)
    own, theirs = BatchNorm2d(4), nn.BatchNorm2d(4)
    own(x), theirs(x)
    own.eval(), theirs.eval()
    theirs.load_state_dict(own.state_dict())
    assert torch.equal(own(x, onto, True), (theirs(x) + onto).relu())
    own.train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        own(x[:1, :, :1, :1])
    with torch.no_grad():
        assert own(x).grad_fn is None and own.num_batches_tracked == 3


def test_case_bfloat16_maps_have_weights_of_float32():
    layer, x, onto, _ = drawn((2, 16, 9, 9), torch.contiguous_format)
    expected = (torchs(layer)(x.bfloat16().double()) + onto.bfloat16().double()).relu()
    found = layer(x.bfloat16(), onto.bfloat16(), True)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, atol=0.02, rtol=0.01)


def test_contract_a_residual_block_has_torchs_layers_and_results():
    torch.manual_seed(0)
    block = BasicBlock(8, 8, 1, RESNETS["resnet18"], norm_layer("batch")).double()
    assert all(isinstance(part, nn.BatchNorm2d) for part in (block.bn1, block.bn2))
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    plain = copy.deepcopy(block)
    out = F.relu(F.batch_norm(plain.conv1(x), None, None, plain.bn1.weight, plain.bn1.bias, True))
    out = F.batch_norm(plain.conv2(out), None, None, plain.bn2.weight, plain.bn2.bias, True)
    torch.testing.assert_close(block(x), F.relu(out + x))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(block)
    assert type(converted.bn1) is nn.SyncBatchNorm
    converted.eval()(x)


def test_contract_compiled_it_is_one_graph():
    torch.manual_seed(0)
    block = BasicBlock(4, 4, 1, RESNETS["resnet18"], norm_layer("batch"))
    x = torch.randn(2, 4, 6, 6)
    expected = copy.deepcopy(block)(x)
    found = torch.compile(block, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
