"""RoIPool on tensors: agreement with the reference, formats, gradients, registration, contracts."""


import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some

from .agreement import check_nothing, tensors, with_strays

FORMATS = [torch.contiguous_format, torch.channels_last]
DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), size=st.integers(1, 3), form=st.sampled_from(FORMATS), nan=st.booleans(),
       box_type=st.sampled_from([np.float16, np.float32, np.float64]))
def test_agrees_with_the_reference_forward_and_backward(dtype, data, size, form, nan, box_type):
    maps = data.draw(some.feature_maps(dtype=DTYPES[dtype], nan=nan))  # quarters, which each dtype holds
    boxes = data.draw(some.rois(len(maps), dtype=box_type))
    x = torch.from_numpy(maps).to(dtype).contiguous(memory_format=form).requires_grad_()
    output = ops.roi_pool(x, tensors(boxes), size, 0.5)
    expected, argmax = reference.roi_pool_with_argmax(maps, boxes, size, 0.5)
    assert output.dtype == dtype
    np.testing.assert_array_equal(output.detach().double().numpy(), expected.astype(np.float64))
    grad = (np.random.default_rng(0).integers(-8, 9, output.shape) / 8).astype(DTYPES[dtype])
    output.backward(torch.from_numpy(grad).to(dtype))
    gradient = reference.roi_pool_backward(grad, argmax, boxes, maps.shape)
    np.testing.assert_array_equal(x.grad.double().numpy(), gradient.astype(np.float64))


def sample(dtype=torch.float64):
    return torch.randn(2, 3, 6, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))


BOXES = torch.tensor([[0, 1, 1, 9, 12], [1, -3, 2, 8, 7], [1, 0, 0, 3, 30]], dtype=torch.float64)


@pytest.mark.parametrize("form", FORMATS)
def test_the_result_has_the_inputs_memory_format(form):
    x = torch.randn(2, 19, 9, 7).contiguous(memory_format=form).requires_grad_()
    output, argmax = torch.ops.roikit.roi_pool(x, BOXES, 0.5, 3, 2)
    assert argmax.dtype == torch.int32 and not argmax.requires_grad
    assert output.is_contiguous(memory_format=form) and argmax.is_contiguous(memory_format=form)
    for grad_form in FORMATS:
        grad = torch.ones_like(output).contiguous(memory_format=grad_form)
        gradient, = torch.autograd.grad(output, x, grad, retain_graph=True)
        assert gradient.is_contiguous(memory_format=form)
    fakes = torch.ops.roikit.roi_pool(x.detach().to("meta"), BOXES.to("meta"), 0.5, 3, 2)
    assert [f.stride() for f in fakes] == [output.stride(), argmax.stride()]


@pytest.mark.parametrize("form", FORMATS)
def test_gradient_and_double_gradient(form):
    x = sample().contiguous(memory_format=form).requires_grad_()

    def pool(x):
        return ops.roi_pool(x, BOXES, (2, 3), 0.5)

    assert torch.autograd.gradcheck(pool, (x,)) and torch.autograd.gradgradcheck(pool, (x,))


@pytest.mark.parametrize("form", FORMATS)
def test_registration(form):
    x = sample().contiguous(memory_format=form).requires_grad_()
    torch.library.opcheck(torch.ops.roikit.roi_pool, (x, BOXES, 0.5, 2, 3))
    argmax = torch.ops.roikit.roi_pool(x, BOXES, 0.5, 2, 3)[1]
    grad = torch.randn(3, 3, 2, 3, dtype=torch.float64).contiguous(memory_format=form).requires_grad_()
    torch.library.opcheck(torch.ops.roikit.roi_pool_backward,
                          (grad, argmax, BOXES, 2, 6, 5, form is torch.channels_last))


def test_argmax_is_there_for_gradients_alone():
    x = sample().requires_grad_()
    output, argmax = torch.ops.roikit.roi_pool(x, BOXES, 0.5, 2, 3, False)
    assert argmax.numel() == 0 and torch.equal(output, ops.roi_pool(x, BOXES, (2, 3), 0.5))
    found, expected = (torch.autograd.grad(y.sum(), x)[0] for y in (output, ops.roi_pool(x, BOXES, (2, 3), 0.5)))
    assert torch.equal(found, expected)
    with torch.no_grad():
        assert torch.equal(output, ops.roi_pool(x, BOXES, (2, 3), 0.5))
    torch.library.opcheck(torch.ops.roikit.roi_pool, (x.detach(), BOXES, 0.5, 2, 3, False))



def test_compiled_code_has_the_same_results_and_gradients():
    x = sample().requires_grad_()

    def pool(x):
        return ops.roi_pool(x, [BOXES[:1, 1:], BOXES[1:, 1:]], 2, 0.5)

    compiled = torch.compile(pool, fullgraph=True)(x)
    assert torch.equal(compiled, pool(x))
    assert torch.equal(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (compiled, pool(x))))


def test_autocast_keeps_the_features_dtype_and_makes_boxes_float32():
    x = sample(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.roi_pool(x, BOXES, 2).dtype == torch.bfloat16
        direct = torch.ops.roikit.roi_pool(x, BOXES.half(), 1.0, 2, 2)[0]
    assert torch.equal(direct, ops.roi_pool(x, BOXES.float(), 2))


def test_the_module_is_the_function():
    module = ops.RoIPool((2, 3), 0.5)
    assert torch.equal(module(sample(), BOXES), ops.roi_pool(sample(), BOXES, (2, 3), 0.5))
    assert "spatial_scale=0.5" in repr(module)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 4), (1, 1, 1, 1)])
def test_empty_and_tiny(shape):
    check_nothing(lambda x, boxes: ops.roi_pool(x, boxes, 2), shape)


def busy_rois(rng, count, images, height, width):
    """Boxes of all sizes, some of them partly or wholly outside, thin, reversed or not finite; scale 1."""
    centre = rng.uniform(-0.2, 1.2, (count, 2)) * (width, height)
    half = np.exp(rng.uniform(-2, 0, (count, 2))) * (width, height) / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    boxes[:6] = [[-9, -9, -5, -4], [3, 5, 3, 5], [9, 9, 2, 3], [np.nan, 1, 5, 5], [0, -np.inf, 5, 5],
                 [-1e30, -1e30, 1e30, 1e30]]
    return np.concatenate([rng.integers(0, images, (count, 1)), boxes], axis=1)


# Several chunks of channels, with a last one that is smaller; bins wider than a warp; more bins than threads.
WORKS = {"chunks": ((2, 70, 19, 23), (7, 7)), "packs": ((2, 264, 9, 11), (6, 8)), "wide bins": ((2, 3, 7, 210), (3, 2)),
         "many bins": ((1, 2, 20, 20), (40, 13))}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("work", WORKS)
def test_many_blocks_have_the_bits_of_the_cpu(work, dtype, form, placed):
    (images, channels, height, width), size = WORKS[work]
    rng = np.random.default_rng(0)
    maps = rng.integers(-2, 3, (images, channels, height, width)) / 4  # most maxima are there more than once
    maps = np.where(maps == 0, rng.choice([0.0, -0.0], maps.shape), maps)
    maps = np.where(rng.random(maps.shape) < 0.3, rng.choice([np.nan, -np.inf], maps.shape), maps)
    boxes = busy_rois(rng, 9, images, height, width).astype(rng.choice([np.float32, np.float64]))
    expected, places = kernels.roi_pool_with_argmax(maps.astype(DTYPES[dtype]), boxes, size)
    x, rois = placed(maps, boxes)
    output, argmax = torch.ops.roikit.roi_pool(x.to(dtype).contiguous(memory_format=form), rois, 1.0, *size)
    np.testing.assert_array_equal(argmax.cpu().numpy(), places)
    values = output.cpu().to(torch.from_numpy(expected).dtype).numpy()
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(np.signbit(values), np.signbit(expected))
    alone, nothing = torch.ops.roikit.roi_pool(x.to(dtype).contiguous(memory_format=form), rois, 1.0, *size, False)
    assert torch.equal(alone, output) and alone.is_contiguous(memory_format=form)
    assert nothing.shape == (0, *output.shape[1:])


# RoIs in several words of bits, several tiles, and argmax values that no forward pass gives.
def backward_case(dtype, integers=False, shape=(2, 11, 37, 70), bins=(75, 11, 3, 5)):
    rng = np.random.default_rng(1)
    plane = shape[2] * shape[3]
    argmax = rng.integers(0, plane, bins)
    argmax = np.where(rng.random(bins) < 0.5, argmax // 900 * 900, argmax)  # many bins with one winner
    wild = rng.choice([-1, -2, plane, plane + 1, 2**31 - 1, -2**31], bins)
    argmax = np.where(rng.random(bins) < 0.2, wild, argmax).astype(np.int32)
    boxes = busy_rois(rng, bins[0], shape[0], *shape[2:])
    grad = rng.integers(-8, 9, bins) if integers else rng.standard_normal(bins)
    grad = torch.from_numpy(grad).to(dtype)
    wide = grad.to({torch.bfloat16: torch.float32}.get(dtype, dtype))  # NumPy has no bfloat16
    gradient = torch.from_numpy(kernels.roi_pool_backward(wide.numpy(), argmax, boxes, shape)).to(dtype)
    return grad, argmax, boxes, shape, gradient


def backward(placed, grad, argmax, boxes, shape, grad_form, form):
    grad, argmax, boxes = placed(grad, argmax, boxes)
    grad, argmax = (a.contiguous(memory_format=grad_form) for a in (grad, argmax))
    gradient = torch.ops.roikit.roi_pool_backward(grad, argmax, boxes, shape[0], *shape[2:],
                                                  form is torch.channels_last)
    assert gradient.is_contiguous(memory_format=form)
    return gradient.cpu()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("grad_form", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_in_any_order(dtype, grad_form, form, deterministic, placed):
    with deterministic(False):
        *case, expected = backward_case(dtype, integers=True)
        assert torch.equal(backward(placed, *case, grad_form, form), expected)
        *case, expected = backward_case(dtype)
        limit = {torch.float64: 1e-13, torch.float32: 1e-5}.get(dtype, torch.finfo(dtype).eps)
        torch.testing.assert_close(backward(placed, *case, grad_form, form), expected, atol=8 * limit, rtol=limit)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("grad_form", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_deterministic_backward_has_the_bits_of_the_cpu(dtype, grad_form, form, deterministic, placed):
    with deterministic(True):
        *case, expected = backward_case(dtype)
        assert torch.equal(backward(placed, *case, grad_form, form), expected)


@pytest.mark.parametrize("shape, bins", [((1, 2, 65, 33), (2100, 2, 1, 2)), ((3, 1, 1, 90), (40, 1, 6, 6)),
                                         ((2, 9, 90, 1), (33, 9, 1, 1)), ((1, 3, 32, 32), (7, 3, 9, 9))])
def test_deterministic_backward_of_awkward_sizes(shape, bins, deterministic, placed):
    with deterministic(True):
        *case, expected = backward_case(torch.float32, shape=shape, bins=bins)
        for form in FORMATS:
            assert torch.equal(backward(placed, *case, form, form), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_deterministic_gradients_of_overlapping_rois_have_the_bits_of_the_cpu(dtype, device, placed, deterministic):
    """Small boxes, whose bins share their winners."""
    rng = np.random.default_rng(2)
    shape = (2, 5, 41, 50)
    boxes = busy_rois(rng, 60, shape[0], *shape[2:])
    boxes[20:, 3:] = boxes[20:, 1:3] + rng.uniform(0, 5, (40, 2))
    maps = rng.integers(-50, 51, shape)
    output, argmax = kernels.roi_pool_with_argmax(maps.astype(np.float32), boxes, 7)
    grad = torch.from_numpy(rng.standard_normal(output.shape)).to(dtype)
    wide = grad.to({torch.bfloat16: torch.float32}.get(dtype, dtype)).numpy()
    expected = torch.from_numpy(kernels.roi_pool_backward(wide, argmax, boxes, shape)).to(dtype)
    x, rois = placed(maps, boxes)
    x = x.to(dtype).requires_grad_()
    with deterministic(True):
        pooled = torch.ops.roikit.roi_pool(x, rois, 1.0, 7, 7)[0]
        assert torch.equal(torch.autograd.grad(pooled, x, grad.to(x.device))[0].cpu(), expected)


def test_half_gradients_whose_number_is_odd_in_any_order(deterministic, placed):
    with deterministic(False):
        *case, expected = backward_case(torch.float16, integers=True, shape=(1, 3, 5, 7), bins=(7, 3, 2, 3))
        assert torch.equal(backward(placed, *case, *FORMATS), expected)


def test_a_roi_that_names_no_image_gives_0_and_has_no_gradient(device, deterministic):
    strays, boxes = with_strays(BOXES, device)
    for form in FORMATS:
        x = sample().contiguous(memory_format=form).requires_grad_()
        for order in (False, True):
            with deterministic(order):
                output, alone = (ops.roi_pool(x, b, (2, 3), 0.5) for b in (boxes, BOXES.float()))
                assert torch.equal(output[strays:], alone) and not output[:strays].any()
                assert torch.equal(*(torch.autograd.grad(y.sum(), x)[0] for y in (output, alone)))
        assert torch.autograd.gradgradcheck(lambda x: ops.roi_pool(x, boxes, (2, 3), 0.5), (x,))


@pytest.mark.big
def test_more_than_two_to_the_31_elements():
    x = torch.zeros(33, 256, 512, 512, dtype=torch.float16)
    x[32] = torch.randn(256, 512, 512).half()
    boxes = torch.tensor([[32, 3.0, 5, 60, 50], [0, 1, 1, 9, 9], [32, 400, 450, 511, 511]])
    last = boxes[[0, 2]]
    last[:, 0] = 0
    output = ops.roi_pool(x.requires_grad_(), boxes, 3)
    image = x[32:].detach().numpy()
    expected, argmax = reference.roi_pool_with_argmax(image, last.numpy(), 3)
    np.testing.assert_array_equal(output[[0, 2]].detach().numpy(), expected)
    output.backward(torch.ones_like(output))
    np.testing.assert_array_equal(x.grad[32:].numpy(), reference.roi_pool_backward(
        np.ones_like(expected), argmax, last.numpy(), image.shape))
    assert x.grad[0].any() and not x.grad[1:32].any()


MAPS = torch.zeros(2, 3, 4, 4)
ROIS = torch.zeros(5, 5)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.roi_pool(MAPS[0], ROIS, 2), ValueError,
     r"roi_pool: input must have shape \(N, C, H, W\), got \(3, 4, 4\)"),
    (lambda: ops.roi_pool(MAPS.long(), ROIS, 2), TypeError,
     "roi_pool: input must be float16, bfloat16, float32 or float64, got int64"),
    (lambda: ops.roi_pool(MAPS, ROIS[:, :4], 2), ValueError, r"roi_pool: boxes must have shape \(N, 5\), got \(5, 4\)"),
    (lambda: ops.roi_pool(MAPS, [ROIS], 2), ValueError, r"roi_pool: boxes\[0\] must have shape \(N, 4\)"),
    (lambda: ops.roi_pool(MAPS, ROIS.to("meta"), 2), ValueError,
     "roi_pool: input and boxes must be on the same device, got .* and meta"),
    (lambda: ops.roi_pool(MAPS, ROIS, 0), ValueError, "roi_pool: output_size must be at least 1, got 0"),
    (lambda: ops.roi_pool(MAPS, ROIS, 2, 0), ValueError, "roi_pool: spatial_scale must be positive and finite, got 0"),
    (lambda: ops.roi_pool(MAPS, ROIS - 1, 2), IndexError,
     r"roi_pool: boxes must have a whole batch index in \[0, 2\), got -1.0"),
    (lambda: ops.roi_pool(torch.empty(1, 1, 2**16, 2**16, device="meta"), ROIS.to("meta"), 2), ValueError,
     r"roi_pool: input must have H \* W < 2\*\*31, got \(1, 1, 65536, 65536\)"),
])
def test_contract(call, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(kind, match=text):
        call()
