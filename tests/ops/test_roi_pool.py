"""RoIPool on tensors: agreement with the reference, formats, gradients, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import ops, reference
from roikit.testing import strategies as some

FORMATS = [torch.contiguous_format, torch.channels_last]
DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}


def tensors(boxes):
    return [torch.from_numpy(b) for b in boxes] if isinstance(boxes, list) else torch.from_numpy(boxes)


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
    x = torch.ones(shape, requires_grad=True)
    for boxes in (torch.empty(0, 5), [torch.empty(0, 4)] * shape[0], [torch.zeros(1, 4)] * shape[0]):
        output = ops.roi_pool(x, boxes, 2)
        assert output.shape == (sum(map(len, boxes)) if isinstance(boxes, list) else 0, shape[1], 2, 2)
        assert torch.autograd.grad(output.sum(), x)[0].shape == shape


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
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
