"""The normalisation of the models' maps: the kernel against the specification, its gradients, and where torch has it"""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from roikit.models.bodies.resnet import RESNETS, BasicBlock, Bottleneck
from roikit.models.necks.fpn import FeaturePyramidNetwork
from roikit.models.parts.norm import ConvBlock, GroupNorm, conv_norm, norm_layer
from roikit.ops._group_norm import _by_torch, group_norm
from roikit.reference import group_norm as reference
from roikit.testing import simd, simd_levels

FORMATS = (torch.contiguous_format, torch.channels_last)
UNIT = {torch.float32: 2.0**-24, torch.float64: 2.0**-53, torch.bfloat16: 2.0**-24}
STORED = {torch.float32: 2.0**-24, torch.float64: 2.0**-53, torch.bfloat16: 2.0**-8}


def drawn(shape, dtype=torch.float32, form=torch.contiguous_format, seed=0, mean=1.0):
    """x, weight, bias, onto, grad."""
    make = torch.Generator().manual_seed(seed)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x, onto, grad = (torch.randn(shape, generator=make, dtype=torch.float64) for _ in range(3))
    weight, bias = (torch.randn(shape[1], generator=make, dtype=torch.float64).to(wide) for _ in range(2))
    x, onto, grad = (part.to(dtype).contiguous(memory_format=form) for part in (2 * x + mean, onto, grad))
    return x, weight, bias, onto, grad


def exact(tensor):
    """As the specification takes it: what bfloat16 holds float32 holds exactly."""
    return tensor.detach().to(torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype).numpy()


def everywhere(run):
    """What run() gives, the same bits at every vector level and with one thread and several."""
    before, found = torch.get_num_threads(), None
    try:
        for level in simd_levels():
            for threads in (1, 3):
                torch.set_num_threads(threads)
                with simd(level):
                    results = run()
                found = results if found is None else found
                for mine, first in zip(results, found, strict=True):
                    assert torch.equal(mine, first), (level, threads)
    finally:
        torch.set_num_threads(before)
    return found


def near(found, expected, bound, dtype, wide=None):
    """Within `bound` units of what is added up in, and rounding to the dtype."""
    error = np.abs(exact(found).astype(np.float64) - expected)
    assert (error <= UNIT[dtype] * bound + STORED[wide or dtype] * np.abs(expected)).all(), error.max()


def check(shape, groups, dtype=torch.float32, form=torch.contiguous_format, added=False, relu=False, **how):
    x, weight, bias, onto, grad = drawn(shape, dtype, form, **how)
    held = [exact(t) for t in (x, weight, bias)]
    spec = {"eps": 1e-5, "onto": exact(onto) if added else None}
    wide = [a.astype(np.float64) for a in held]
    bound = reference.bounds(held[0], groups, *held[1:], **spec)
    expected = reference.group_norm(wide[0], groups, *wide[1:], relu=relu, **spec)
    if relu:  # where the sign is decided by rounding, the gradient is not asked for
        plain = reference.group_norm(wide[0], groups, *wide[1:], **spec)
        grad = torch.where(torch.from_numpy(np.abs(plain) > 2 * UNIT[dtype] * bound + STORED[dtype] * np.abs(plain)),
                           grad, 0).contiguous(memory_format=form)

    def run():
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias, onto)][:4 if added else 3]
        out = group_norm(leaves[0], groups, *leaves[1:3], 1e-5, leaves[3] if added else None, relu)
        return [out.detach(), *torch.autograd.grad(out, leaves, grad)]

    out, *gradients = everywhere(run)
    assert out.dtype == dtype and out.stride() == x.stride()
    near(out, expected, bound, dtype)
    slopes = reference.group_norm_backward(exact(grad).astype(np.float64), wide[0], groups, *wide[1:], relu=relu,
                                           **spec)
    room = reference.bounds_backward(slopes[3], held[0], groups, held[1])
    near(gradients[0], slopes[0], room[0], dtype)
    for place in (1, 2):
        near(gradients[place], slopes[place], room[place], dtype, torch.float32 if dtype != torch.float64 else dtype)
    if added:
        np.testing.assert_array_equal(exact(gradients[3]), slopes[3])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("added, relu", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("shape, groups", [
    ((2, 64, 33, 31), 32),  # blocks of a group and rests
    ((3, 6, 5, 7), 2),
    ((1, 5, 90, 101), 1),   # many blocks of one group, and few channels
    ((2, 256, 20, 19), 32),  # more than one chunk
    ((9, 32, 3, 3), 32),
    ((2, 17000, 1, 2), 8),  # more channels than a block has values
])
def test_agrees_with_the_specification(shape, groups, added, relu, form):
    check(shape, groups, form=form, added=added, relu=relu)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype, form):
    check((2, 48, 13, 11), 16, dtype, form, added=True, relu=True)
    check((2, 48, 13, 11), 16, dtype, form)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 40), st.integers(1, 9),
       st.sampled_from(FORMATS), st.booleans(), st.booleans(), st.integers(0, 99))
def test_any_shape(images, groups, width, height, across, form, added, relu, seed):
    check((images, groups * width, height, across), groups, form=form, added=added, relu=relu, seed=seed)


@pytest.mark.parametrize("form", FORMATS)
def test_a_mean_far_from_0_costs_no_digits_but_its_own(form):
    """torch's own loses half of them on channels-last maps."""
    check((2, 64, 40, 40), 32, form=form, relu=True, mean=3000.0)


@pytest.mark.parametrize("form", FORMATS)
def test_nan_and_infinity_stay_in_their_group(form):
    x, weight, bias, _, _ = drawn((2, 8, 5, 5), form=form)
    x[0, 2, 1, 1], x[1, 7, 0, 0] = float("nan"), float("inf")
    for relu in (False, True):
        out, plain = group_norm(x, 4, weight, bias, relu=relu), _by_torch(x, 4, weight, bias, 1e-5, None, relu)
        assert out[0, 2:4].isnan().all() and out[1, 6:].isnan().all() and out.isnan().sum() == 100
        assert torch.equal(out.isnan(), plain.isnan())


@pytest.mark.parametrize("form", FORMATS)
def test_written_over_it_is_the_same(form):
    x, weight, bias, onto, _ = drawn((2, 64, 30, 40), form=form)
    expected = group_norm(x, 32, weight, bias, onto=onto, relu=True)
    with torch.no_grad():
        found = group_norm(x, 32, weight, bias, onto=onto, relu=True, overwrite=True)
    assert found is x and torch.equal(found, expected)


def test_maps_of_other_formats():
    x, weight, bias, onto, grad = drawn((2, 8, 6, 10))
    wide = torch.zeros(2, 8, 6, 20)
    wide[..., ::2] = x
    expected = group_norm(x, 4, weight, bias, onto=onto)
    assert torch.equal(group_norm(wide[..., ::2], 4, weight, bias, onto=onto), expected)
    last = onto.contiguous(memory_format=torch.channels_last)
    assert torch.equal(group_norm(x, 4, weight, bias, onto=last), expected)
    leaf, last = x.requires_grad_(), grad.contiguous(memory_format=torch.channels_last)
    first, = torch.autograd.grad(group_norm(leaf, 4, weight, bias), leaf, grad)
    assert torch.equal(first, *torch.autograd.grad(group_norm(leaf, 4, weight, bias), leaf, last))
    total, = torch.autograd.grad(group_norm(leaf, 4, weight, bias).sum(), leaf)  # its gradient is one number, expanded
    assert torch.equal(total, *torch.autograd.grad(group_norm(leaf, 4, weight, bias), leaf, torch.ones_like(leaf)))


@pytest.mark.parametrize("added", [False, True])
def test_operators(added):
    x, weight, bias, onto, grad = (t.double() for t in drawn((2, 6, 4, 3)))
    onto = onto if added else None
    for form, (groups, joint) in itertools.product(FORMATS, [(3, False), (6, True)]):
        args = x.contiguous(memory_format=form), weight, bias, onto, groups, 1e-5, True, joint
        torch.library.opcheck(torch.ops.roikit.group_norm.default, args)
        out, mean, rate = torch.ops.roikit.group_norm(*args)
        torch.library.opcheck(torch.ops.roikit.group_norm_backward.default,
                              (grad, args[0], out if added else None, weight, bias, mean, rate, True))
    with pytest.raises(ValueError, match="group_norm: groups must divide the channels"):
        group_norm(x, 4, weight, bias)


@pytest.mark.parametrize("relu", [False, True])
def test_gradients_of_gradients_and_tangents_are_torchs(relu):
    x, weight, bias, onto, _ = (t.double().requires_grad_() for t in drawn((2, 6, 4, 3)))

    def run(x, weight, bias, onto):
        return group_norm(x, 3, weight, bias, 1e-3, onto, relu)

    assert torch.autograd.gradcheck(run, (x, weight, bias, onto), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(run, (x, weight, bias, onto))
    assert torch.autograd.gradcheck(run, (x, weight, bias, onto), check_forward_ad=True, check_backward_ad=False)
    per_image = torch.func.vmap(torch.func.grad(lambda image: run(image[None], weight, bias, image[None]).sum()))(x)
    assert per_image.shape == x.shape


@pytest.mark.parametrize("form", FORMATS)
def test_compiled_and_exported_it_is_torchs_operations(form):
    x, weight, bias, onto, grad = drawn((2, 64, 12, 10), form=form, mean=300.0)
    layer = GroupNorm(32, 64)
    layer.load_state_dict({"weight": weight, "bias": bias})
    exported = torch.export.export(layer, (x, onto, True))
    named = {str(node.target) for node in exported.graph.nodes}
    assert "aten.group_norm.default" in named and not any("roikit" in name for name in named)
    torch.testing.assert_close(exported.module()(x, onto, True), layer(x, onto, True), atol=1e-4, rtol=1e-4)
    compiled = torch.compile(layer, fullgraph=True)
    leaf, twin = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, plain = compiled(leaf, onto, True), layer(twin, onto, True)
    torch.testing.assert_close(out, plain, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.autograd.grad(out, leaf, grad), torch.autograd.grad(plain, twin, grad), atol=1e-3,
                               rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_dtypes_without_a_kernel_and_layers_without_an_affine_are_torchs(dtype):
    x, weight, bias, _, _ = drawn((2, 8, 5, 6), torch.float64)
    x = x.to(dtype)
    args = (x, 4, weight.to(dtype), bias.to(dtype))
    torch.testing.assert_close(group_norm(*args, relu=True), torch.group_norm(*args).relu())
    assert torch.equal(group_norm(x, 4, None, None), torch.group_norm(x, 4))
    three = torch.randn(2, 8, 5)
    assert torch.equal(group_norm(three, 4, weight.float(), bias.float()),
                       torch.group_norm(three, 4, weight.float(), bias.float()))
    assert group_norm(x[:0].float(), 4, weight.float(), bias.float()).shape == (0, 8, 5, 6)


def test_autocast_keeps_the_dtype_of_maps():
    x = drawn((2, 16, 8, 8))[0]
    conv, layer = nn.Conv2d(16, 16, 3, padding=1, bias=False), GroupNorm(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv_norm(conv, layer, x, x, nn.ReLU(inplace=True))
        plain = torch.group_norm(conv(x), 8, layer.weight, layer.bias) + x
    torch.testing.assert_close(out.float(), plain.relu().float(), atol=0.05, rtol=0.05)
    out.float().sum().backward()
    assert conv.weight.grad.dtype == layer.weight.grad.dtype == torch.float32


class Plain(nn.Module):
    """Another class than what takes an addition and a ReLU along."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return _by_torch(x, self.norm.num_groups, self.norm.weight, self.norm.bias, self.norm.eps, None, False)


def plainly(module):
    """A copy whose norms, additions and ReLUs are steps of their own."""
    twin = copy.deepcopy(module)
    for part in list(twin.modules()):
        for name, layer in list(part.named_children()):
            if type(layer) is GroupNorm:
                setattr(part, name, Plain(layer))
    return twin


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("make", [
    lambda: BasicBlock(16, 16, 1, RESNETS["resnet18"], norm_layer("group", groups=8)),
    lambda: BasicBlock(16, 64, 2, RESNETS["resnet18"], norm_layer("group", groups=8)),
    lambda: Bottleneck(16, 16, 1, RESNETS["resnet50"], norm_layer("group", groups=8)),
    lambda: ConvBlock(nn.Conv2d(16, 8, 1), GroupNorm(4, 8), nn.ReLU(inplace=True)),
])
def test_blocks_are_what_their_steps_are(make, form):
    torch.manual_seed(0)
    block = make()
    for part in block.modules():
        if type(part) is GroupNorm:
            nn.init.normal_(part.weight), nn.init.normal_(part.bias)
    twin = plainly(block)
    x = torch.randn(2, 16, 14, 12).contiguous(memory_format=form)
    out, plain = block(x), twin(x)
    torch.testing.assert_close(out, plain, atol=1e-5, rtol=1e-4)
    grads = (torch.autograd.grad(found.square().sum(), list(part.parameters()))
             for found, part in ((out, block), (plain, twin)))
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4 * float(theirs.abs().max()), rtol=1e-3)


def test_a_pyramid_adds_within_its_norms():
    torch.manual_seed(0)
    fpn = FeaturePyramidNetwork([8, 16], 16, norm_layer("group", groups=8))
    maps = {"0": torch.randn(2, 8, 13, 10), "1": torch.randn(2, 16, 7, 5)}
    before = {name: level.clone() for name, level in maps.items()}
    for name, level in plainly(fpn)(maps).items():
        torch.testing.assert_close(fpn(maps)[name], level, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(maps[name], before[name]) for name in maps)
