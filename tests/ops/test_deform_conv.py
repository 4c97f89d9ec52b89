"""Deformable convolution on tensors: agreement with the reference, gradients, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import ops, reference
from roikit.ops import deform_conv
from roikit.reference.deform_conv import TOLERANCE, magnitudes
from roikit.testing import strategies as some

from .agreement import within

DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}


def leaf(array, dtype):
    return None if array is None else torch.from_numpy(array).to(dtype).requires_grad_()


def leaves(case, dtype):
    """The case's arrays as tensors that need a gradient: input, offset, weight, bias, stride ... mask."""
    return [x if isinstance(x, tuple) else leaf(x, dtype) for x in case]


def gradients(arguments):
    return [x if x is None else x.grad for x in arguments if not isinstance(x, tuple)]


def check(case, dtype):
    """Forward and backward against the reference; the case's values are such as every dtype holds."""
    given = leaves(case, dtype)
    output = ops.deform_conv2d(*given)
    expected = reference.deform_conv2d(*case)
    grad = (np.random.default_rng(0).integers(-8, 9, expected.shape) / 4).astype(expected.dtype)
    scale, scales = magnitudes(grad, *case)
    within(output, expected, scale, dtype, TOLERANCE)
    output.backward(torch.from_numpy(grad).to(dtype))
    wanted = reference.deform_conv2d_backward(grad, *case)
    for result, want, most in zip(gradients(given), wanted, scales, strict=True):
        assert (result is None) == (want is None)
        if want is not None:
            within(result, want, most, dtype, TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), order=st.booleans())
def test_agrees_with_the_reference_forward_and_backward(dtype, data, order, deterministic):
    with deterministic(order):
        check(data.draw(some.deform_convolutions(DTYPES[dtype])), dtype)


def arrays(channels=20, outputs=6, groups=1, shared=1, images=3, size=(7, 41), dtype=np.float64, seed=0, mask=True):
    """Positions away from whole numbers; more than a block of places and of channels."""
    rng = np.random.default_rng(seed)
    offset = rng.integers(-2, 3, (images, 18 * shared, *size)) + rng.integers(1, 4, (images, 18 * shared, *size)) / 4
    given = (rng.standard_normal((images, channels, *size)), offset,
             rng.standard_normal((outputs, channels // groups, 3, 3)), rng.standard_normal(outputs))
    masks = rng.uniform(0.1, 2, (images, 9 * shared, *size)).astype(dtype) if mask else None
    return *(a.astype(dtype) for a in given), (1, 1), (1, 1), (1, 1), masks


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("groups, shared, mask", [(1, 1, True), (2, 1, False), (5, 2, True), (20, 4, True)])
def test_many_places_and_channels(groups, shared, mask, order, deterministic):
    with deterministic(order):
        check(arrays(outputs=20, groups=groups, shared=shared, mask=mask), torch.float64)


def test_images_in_parts_give_the_same(monkeypatch, deterministic):
    case = arrays()
    with deterministic(True):
        results = []
        for size in (1 << 28, 1, 2 * 20 * 9 * 7 * 41 * 8):  # all at once; one by one; two and one
            monkeypatch.setattr(deform_conv, "_COLUMNS", size)
            given = leaves(case, torch.float64)
            output = ops.deform_conv2d(*given)
            output.square().sum().backward()
            results.append((output, *gradients(given)))
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            torch.testing.assert_close(a, b)


def test_deterministic_gradients_have_the_same_bits_in_every_run(deterministic):
    case, bits = arrays(dtype=np.float32), set()
    with deterministic(True):
        for _ in range(3):
            given = leaves(case, torch.float32)
            ops.deform_conv2d(*given).square().sum().backward()
            bits.add(tuple(g.numpy().tobytes() for g in gradients(given)))
    assert len(bits) == 1


def test_without_offsets_it_is_torchs_convolution():
    input, _, weight, bias, *_ = leaves(arrays(groups=2), torch.float64)
    for stride, padding, dilation in ((1, 0, 1), (2, 1, 2), ((1, 2), (2, 0), (2, 1))):
        dense = torch.nn.functional.conv2d(input, weight, bias, stride, padding, dilation, groups=2)
        offset = torch.zeros(3, 18, *dense.shape[2:], dtype=torch.float64)
        mask = torch.ones(3, 9, *dense.shape[2:], dtype=torch.float64)
        for masks in (None, mask):
            output = ops.deform_conv2d(input, offset, weight, bias, stride, padding, dilation, masks)
            torch.testing.assert_close(output, dense)
            ours, theirs = (torch.autograd.grad(y.square().sum(), (input, weight, bias), retain_graph=True)
                            for y in (output, dense))
            torch.testing.assert_close(ours, theirs)


def test_gradcheck():
    case = leaves(arrays(4, 4, 2, 2, 1, (3, 4)), torch.float64)
    assert torch.autograd.gradcheck(ops.deform_conv2d, case, nondet_tol=1e-10)


def test_only_what_is_asked_for_has_a_gradient():
    whole = leaves(arrays(), torch.float64)
    ops.deform_conv2d(*whole).square().sum().backward()
    for index in (0, 1, 2, 3, 7):
        some = [x if isinstance(x, tuple) else x.detach() for x in whole]
        some[index].requires_grad_()
        ops.deform_conv2d(*some).square().sum().backward()
        torch.testing.assert_close(some[index].grad, whole[index].grad)
        assert all(x.grad is None for x in some if isinstance(x, torch.Tensor) and x is not some[index])


def test_a_second_derivative_is_an_error():
    case = leaves(arrays(), torch.float64)
    first, = torch.autograd.grad(ops.deform_conv2d(*case).square().sum(), case[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="deform_conv2d: it can be differentiated once"):
        first.sum().backward()


def operands(case, dtype=torch.float64):
    """In the order of torch.ops.roikit."""
    return [list(x) if isinstance(x, tuple) else x for x in leaves(case, dtype)]


@pytest.mark.parametrize("mask", [True, False])
def test_registration(mask):
    given = operands(arrays(4, 4, 1, 1, 2, (3, 4), mask=mask))
    torch.library.opcheck(torch.ops.roikit.deform_conv2d, given)
    given = [x.detach() if isinstance(x, torch.Tensor) else x for x in given]
    grad = torch.ones(2, 4, 3, 4, dtype=torch.float64)
    for wanted in ([True] * 5, [False, True, False, True, False]):
        torch.library.opcheck(torch.ops.roikit.deform_conv2d_backward,
                              (grad, *given[:3], given[7], *given[4:7], wanted))


def test_compiled_code_has_the_same_results_and_gradients():
    case = leaves(arrays(), torch.float64)
    given = [x for x in case if isinstance(x, torch.Tensor)]

    def convolve(input, offset, weight, bias, mask):
        return ops.deform_conv2d(input, offset, weight, bias, 1, 1, 1, mask)

    compiled, plain = torch.compile(convolve, fullgraph=True)(*given), convolve(*given)
    torch.testing.assert_close(compiled, plain)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), given) for y in (compiled, plain)))


def test_autocast_computes_in_float32_and_gives_the_inputs_dtype():
    case = leaves(arrays(dtype=np.float32), torch.float32)
    half = [x.detach().bfloat16() if isinstance(x, torch.Tensor) else x for x in case]
    wide = [x.float() if isinstance(x, torch.Tensor) else x for x in half]
    mixed = [half[0], *wide[1:3], half[3], *wide[4:]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = [ops.deform_conv2d(*x) for x in (half, mixed, wide)]
        assert ops.deform_conv2d(*leaves(arrays(), torch.float64)).dtype == torch.float64
        with pytest.raises(TypeError, match="offset must be float16, bfloat16 or float32, got float64"):
            ops.deform_conv2d(wide[0], wide[1].double(), *wide[2:])
    expected = ops.deform_conv2d(*wide)
    assert torch.equal(results[2], expected)
    assert torch.equal(results[0], expected.bfloat16()) and torch.equal(results[1], results[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_is_kept(dtype):
    case = [x if isinstance(x, tuple) else x.detach() for x in leaves(arrays(dtype=np.float32), dtype)]
    last = case[0].contiguous(memory_format=torch.channels_last).requires_grad_()
    strided = torch.stack([case[0], case[0]], -1)[..., 0]
    planes = case[0].requires_grad_()
    expected, output = ops.deform_conv2d(*case), ops.deform_conv2d(last, *case[1:])
    assert torch.equal(output, expected) and output.is_contiguous(memory_format=torch.channels_last)
    assert expected.is_contiguous() and torch.equal(ops.deform_conv2d(strided, *case[1:]), expected)
    (a,), (b,) = (torch.autograd.grad(y.sum(), x) for y, x in ((output, last), (expected, planes)))
    torch.testing.assert_close(a, b)
    fake = torch.ops.roikit.deform_conv2d(*(x.to("meta") if isinstance(x, torch.Tensor) else x
                                            for x in (last, *case[1:])))
    assert fake.shape == output.shape and fake.stride() == output.stride()


def test_an_empty_batch_and_a_map_without_pixels():
    for case, size in ((arrays(images=0), None), (arrays(size=(1, 2)), (0, 2))):
        given = leaves(case, torch.float64)
        rule = given[4:7]
        if size:
            given[0] = torch.empty(3, 20, *size, dtype=torch.float64, requires_grad=True)
            rule = [(2, 1), (2, 1), (1, 1)]
        output = ops.deform_conv2d(*given[:4], *rule, given[7])
        torch.testing.assert_close(output, given[3][:, None, None].expand(output.shape))
        output.sum().backward()
        found = gradients(given)
        assert [g.shape for g in found] == [x.shape for x in given if isinstance(x, torch.Tensor)]
        assert not found[2].any() and not found[1].any()


def test_modules_are_the_function():
    torch.manual_seed(0)
    module = ops.DeformConv2d(20, 6, 3, padding=1, groups=2)
    input, offset, _, _, *_, mask = leaves(arrays(dtype=np.float32), torch.float32)
    expected = ops.deform_conv2d(input, offset, module.weight, module.bias, 1, 1, 1, mask)
    assert torch.equal(module(input, offset, mask), expected)
    assert module.weight.abs().max() <= (10 * 9) ** -0.5 and "groups=2" in repr(module)
    bare = ops.DeformConv2d(20, 6, (3, 3), padding=(1, 1), bias=False)
    assert bare.bias is None and list(bare.state_dict()) == ["weight"]
    assert torch.equal(bare(input, offset), ops.deform_conv2d(input, offset, bare.weight, None, 1, 1))
    with pytest.raises(ValueError, match="DeformConv2d: out_channels must be divisible by groups = 5, got 6"):
        ops.DeformConv2d(20, 6, 3, groups=5)


INPUT, OFFSET, WEIGHT = torch.zeros(1, 4, 5, 6), torch.zeros(1, 18, 3, 4), torch.zeros(6, 2, 3, 3)


@pytest.mark.parametrize("arguments, kind, text", [
    ((INPUT[0], OFFSET, WEIGHT), ValueError, r"input must have shape \(N, C, H, W\), got \(4, 5, 6\)"),
    (([0.0], OFFSET, WEIGHT), TypeError, "input must be an array or a tensor, got list"),
    ((INPUT.long(), OFFSET, WEIGHT), TypeError, "input must be float16, bfloat16, float32 or float64, got int64"),
    ((INPUT, OFFSET.double(), WEIGHT), TypeError, "offset must be float32, got float64"),
    ((INPUT, OFFSET.to("meta"), WEIGHT), ValueError, "input and offset must be on the same device, got .* and meta"),
    ((INPUT, OFFSET, WEIGHT, None, 1, 0, 1, torch.zeros(1, 9, 3, 5)), ValueError,
     r"mask must have shape \(1, 9, 3, 4\), got \(1, 9, 3, 5\)"),
])
def test_contract(arguments, kind, text):
    with pytest.raises(kind, match=f"deform_conv2d: {text}"):
        ops.deform_conv2d(*arguments)
