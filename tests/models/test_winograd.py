"""Winograd's algorithm in training: the gradients of the direct way, the same names, and choices that can be kept."""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402

from roikit.models.parts import winograd  # noqa: E402
from roikit.models.parts.ways import has_winograd  # noqa: E402
from roikit.models.parts.winograd import WinogradConv2d, take_ways, ways_of, with_winograd  # noqa: E402

if not has_winograd():
    pytest.skip("this torch has no NNPACK, or NNPACK not this processor", allow_module_level=True)


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(winograd, "_faster", lambda x, weight, bias, padding: "winograd")


@pytest.mark.parametrize("maps", [1, 2, 11])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_law_gradients_are_those_of_the_direct_way(always, maps, padding, bias, form):
    torch.manual_seed(0)
    direct = nn.Conv2d(20, 36, 3, padding=padding, bias=bias)
    model = nn.Sequential(copy.deepcopy(direct))
    assert with_winograd(model) == 1 and type(model[0]) is WinogradConv2d
    exact = copy.deepcopy(direct).double()
    x = torch.randn(maps, 20, 19, 26).to(memory_format=form)
    grad, grads = None, []
    for layer, dtype in ((exact, torch.float64), (model, torch.float32)):
        own = x.to(dtype).requires_grad_()
        out = layer(own)
        grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        grads.append((out, *torch.autograd.grad(out, [own, *layer.parameters()], grad)))
    for truth, found in zip(*grads, strict=True):
        assert found.dtype == torch.float32
        assert (found.double() - truth).abs().max() < 3e-5 * truth.abs().max()
    assert model[0].ways == [([maps, 20, 19, 26], "winograd")]


def test_law_names_evaluation_and_what_does_not_suit_stay(always):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ModuleDict({"a": nn.Conv2d(16, 16, 3, 2, 1)}),
                          nn.Conv2d(16, 16, 1), nn.Conv2d(16, 8, 3), nn.Conv2d(16, 16, 3, groups=2),
                          nn.Conv2d(16, 16, 3, padding=2, dilation=2))
    before, state, weight = copy.deepcopy(model), model.state_dict(), model[0].weight
    assert with_winograd(model) == 1 and with_winograd(model) == 0
    assert list(model.state_dict()) == list(state) and model[0].weight is weight
    x = torch.randn(1, 16, 30, 30)
    assert torch.equal(model[0].eval()(x), before[0](x)) and not model[0].ways
    with torch.no_grad():
        assert torch.equal(model[0].train()(x), before[0](x)) and not model[0].ways
    with torch.autocast("cpu", torch.bfloat16):
        assert model[0](x).dtype == torch.bfloat16 and not model[0].ways
    assert model[0](x[:0]).shape == (0, 16, 30, 30) and not model[0].ways
    assert not torch.equal(model[0](x), before[0](x))  # in training, by the other way
    torch.testing.assert_close(model[0](x), before[0](x), atol=1e-4, rtol=1e-4)


def test_law_frozen_weights_get_no_gradient(always):
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1))
    with_winograd(model)
    model.requires_grad_(False)
    x = torch.randn(1, 16, 30, 30, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None and model[0].weight.grad is None


def test_law_choices_are_kept_and_copied(always):
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1))
    with_winograd(model)
    model(torch.randn(1, 16, 30, 30))
    told = ways_of(model)
    assert told == {"0": [[[1, 16, 30, 30], "winograd"]]}
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert ways_of(other) == told
    fresh = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1))
    with_winograd(fresh)
    take_ways(fresh, {**told, "elsewhere": []})
    assert ways_of(fresh) == told


def test_law_the_faster_one_is_taken(monkeypatch):
    x, weight = torch.randn(1, 32, 60, 60), torch.randn(32, 32, 3, 3, requires_grad=True)
    clock = iter([])
    monkeypatch.setattr(winograd.time, "perf_counter", lambda: next(clock))

    def taken(direct, fast):
        nonlocal clock
        now, ticks = 0.0, []
        for _ in range(4):
            for spent in (direct, fast):
                ticks += [now, now + spent]
                now += spent
        clock = iter(ticks)
        return winograd._faster(x, weight, None, 1)

    assert taken(1.0, 0.5) == "winograd" and taken(1.0, 0.97) == "direct" and taken(0.5, 1.0) == "direct"
    assert winograd._faster(x[..., :4, :4], weight, None, 1) == "direct"


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_law_gradients_can_be_differentiated_again(always, form):
    torch.manual_seed(0)
    direct = nn.Conv2d(16, 20, 3, padding=1)
    model = nn.Sequential(copy.deepcopy(direct))
    with_winograd(model)
    x = torch.randn(2, 16, 9, 8).to(memory_format=form)

    def penalty(layer):
        own = x.clone(memory_format=torch.preserve_format).requires_grad_()
        slope, = torch.autograd.grad(layer(own).square().sum(), own, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [own, *layer.parameters()])
    for found, expected in zip(penalty(model), penalty(direct), strict=True):
        assert (found - expected).abs().max() < 3e-5 * expected.abs().max()


def test_law_transforms_take_the_direct_way(always):
    torch.manual_seed(0)
    direct = nn.Conv2d(16, 20, 3, padding=1)
    model = nn.Sequential(copy.deepcopy(direct))
    with_winograd(model)
    x, v = torch.randn(3, 2, 16, 9, 8), torch.randn(3, 2, 16, 9, 8)
    assert torch.equal(torch.func.vmap(model)(x), torch.func.vmap(direct)(x))
    for call in (lambda layer: torch.func.grad(lambda y: layer(y).square().sum())(x[0]),
                 lambda layer: torch.func.jvp(layer, (x[0],), (v[0],))[1]):
        torch.testing.assert_close(call(model), call(direct))
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(model(forward_ad.make_dual(x[0], v[0]))).tangent is not None
