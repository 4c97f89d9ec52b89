"""roi_align with reduce="max" on tensors: agreement with the CPU kernels and the reference, gradients, registration."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some
from roikit.testing.draws import SAMPLED

from .agreement import as_numpy, busy, check_gradient, check_nothing, check_strays, tensors

DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}
BOXES = torch.tensor([[0, 1, 1, 9, 12], [1, -3, 2, 8, 7], [1, 0, 0, 3, 30]], dtype=torch.float64)
SCALES, PYRAMID = [0.5, 0.25], dict(canonical_scale=8, canonical_level=2)
ROIKIT = torch.ops.roikit
each_ratio = pytest.mark.parametrize("ratio", [2, -1])


def sample(dtype=torch.float64, shape=(2, 3, 6, 5), seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def levels(dtype=torch.float64):
    return [sample(dtype), sample(dtype, (2, 3, 3, 3), 1)]


@given(data=st.data(), size=st.integers(1, 3), nan=st.booleans(), ratio=st.sampled_from([-1, 2, 3]),
       box_type=st.sampled_from([np.float16, np.float32, np.float64]))
def test_agrees_with_the_reference(data, size, nan, ratio, box_type):
    maps = data.draw(some.feature_maps(nan=nan))
    boxes = data.draw(some.rois(len(maps), dtype=box_type, kinds=some.KINDS if ratio > 0 else SAMPLED))
    output = ops.roi_align(torch.from_numpy(maps), tensors(boxes), size, 0.5, ratio, True, reduce="max")
    expected = reference.roi_align(maps, boxes, size, 0.5, ratio, True, reduce="max")
    np.testing.assert_array_equal(output.numpy(), expected)


@each_ratio
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rois_have_the_bits_of_the_cpu(dtype, last, ratio, placed, deterministic, device):
    maps, boxes = busy(dtype)
    rule = (3, 4), 0.7, ratio, True
    expected, places = kernels.roi_align_with_argmax(as_numpy(maps), boxes.numpy(), *rule)
    grad = torch.from_numpy(expected[::-1].copy()).to(dtype)
    back = kernels.roi_align_backward(as_numpy(grad), boxes.numpy(), maps.shape, *rule, argmax=places)
    back = torch.from_numpy(back).to(dtype)
    x, rois, grad = placed(maps.contiguous(memory_format=torch.channels_last) if last else maps, boxes, grad)
    for order in (True, False):
        with deterministic(order):
            output, argmax = ROIKIT.roi_align_max(x.requires_grad_(), rois, 0.7, 3, 4, ratio, True, True)
            gradient, = torch.autograd.grad(output, x, grad)
        assert output.is_contiguous(memory_format=torch.channels_last) == last == (not output.is_contiguous())
        assert torch.equal(output.cpu(), torch.from_numpy(expected).to(dtype))
        assert torch.equal(argmax.cpu(), torch.from_numpy(places))
        assert torch.equal(ROIKIT.roi_align_max(x, rois, 0.7, 3, 4, ratio, True, False)[0], output)
        check_gradient(gradient, back, order or device == "cpu")


@pytest.mark.parametrize("level", simd_levels())
@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_at_the_winners_are_the_maxima(dtype, level, placed):
    maps, boxes = busy(dtype)
    maps[1::2, ::3, 8:16] = float("nan")
    maps = torch.cat([maps, maps, -maps], 1)
    x, rois = placed(maps, boxes)
    with simd(level):
        for ratio in (2, -1):
            output, argmax = ROIKIT.roi_align_max(x, rois, 0.7, 3, 4, ratio, True, True)
            assert torch.equal(ROIKIT.roi_align_max_at(x, argmax, rois, 0.7, ratio, True), output)


@each_ratio
def test_a_pyramid_has_the_bits_of_its_reference(ratio, placed, deterministic):
    maps, rule = levels(torch.float32), dict(sampling_ratio=ratio, aligned=True, **PYRAMID)
    boxes, arrays = BOXES.float(), [m.numpy() for m in maps]
    expected, places = reference.multiscale_roi_align_with_argmax(arrays, boxes.numpy(), 2, SCALES, **rule)
    wanted = kernels.multiscale_roi_align_backward(expected, boxes.numpy(), [m.shape for m in maps], 2, SCALES,
                                                   argmax=places, **rule)
    assert len(set(reference.assign_levels(boxes[:, 1:].numpy(), SCALES, 8, 2))) == 2
    *features, boxes = placed(*maps, boxes)
    features = [m.requires_grad_() for m in features]
    with deterministic(True):
        output = ops.multiscale_roi_align(features, boxes, 2, SCALES, reduce="max", **rule)
        found = torch.autograd.grad(output, features, output.detach())
    np.testing.assert_array_equal(output.detach().cpu().numpy(), expected)
    for gradient, array in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(gradient.cpu().numpy(), array)


@each_ratio
def test_gradient_and_double_gradient(ratio):
    check, again = (functools.partial(f, nondet_tol=1e-12)  # a GPU adds up in any order
                    for f in (torch.autograd.gradcheck, torch.autograd.gradgradcheck))
    x = sample().requires_grad_()
    pool = functools.partial(ops.roi_align, boxes=BOXES, output_size=(2, 3), spatial_scale=0.5, sampling_ratio=ratio,
                             reduce="max")
    assert check(pool, (x,), check_forward_ad=True) and again(pool, (x,))
    maps = [m.requires_grad_() for m in levels()]

    def pyramid(*maps):
        return ops.multiscale_roi_align(list(maps), BOXES, 2, SCALES, sampling_ratio=ratio, reduce="max", **PYRAMID)

    assert check(pyramid, maps, check_forward_ad=True) and again(pyramid, maps)


def test_the_winner_alone_receives_the_gradient():
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    x.data[0, 0, 2, 1] = 1
    box = torch.tensor([[0, 0.5, 0.5, 4.5, 4.5]])
    ops.roi_align(x, box, 1, 1.0, 4, True, reduce="max").sum().backward()  # samples at 0.5, 1.5, 2.5 and 3.5
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 1:3, 0:2] = 0.25
    assert torch.equal(x.grad, expected)
    x.grad = None
    outside = torch.tensor([[0, -3.5, -3.5, 0.5, 0.5]])
    ops.roi_align(x - 1, outside, 1, 1.0, 4, True, reduce="max").sum().backward()  # the winner is a 0 outside
    assert not x.grad.any()


def test_registration():
    x = sample().requires_grad_()
    rule = 0.5, 2, 3, 2, True
    for wanted in (True, False):
        torch.library.opcheck(ROIKIT.roi_align_max, (x, BOXES, *rule, wanted))
    argmax = ROIKIT.roi_align_max(x, BOXES, *rule, True)[1]
    grad = torch.randn(3, 3, 2, 3, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(ROIKIT.roi_align_max_at, (x, argmax, BOXES, 0.5, 2, True))
    for last in (False, True):
        torch.library.opcheck(ROIKIT.roi_align_max_backward, (grad, argmax, BOXES, 2, 6, 5, last, 0.5, 2, True))
    maps, places = [m.requires_grad_() for m in levels()], (SCALES, [8.0])
    torch.library.opcheck(ROIKIT.multiscale_roi_align_max, (maps, BOXES, *places, 2, 3, 2, True, True))
    argmax = ROIKIT.multiscale_roi_align_max(maps, BOXES, *places, 2, 3, 2, True, True)[1]
    torch.library.opcheck(ROIKIT.multiscale_roi_align_max_at, (maps, argmax, BOXES, *places, 2, True))
    torch.library.opcheck(ROIKIT.multiscale_roi_align_max_backward,
                          (grad, argmax, BOXES, 2, [6, 3], [5, 3], False, *places, 2, True))


def test_compiled_code_has_the_same_results_and_gradients():
    maps = [m.requires_grad_() for m in levels()]

    def pool(a, b):
        one = ops.roi_align(a, [BOXES[:1, 1:], BOXES[1:, 1:]], 2, 0.5, 2, reduce="max")
        return one + ops.multiscale_roi_align([a, b], BOXES, 2, SCALES, reduce="max", **PYRAMID)

    compiled, eager = torch.compile(pool, fullgraph=True)(*maps), pool(*maps)
    torch.testing.assert_close(compiled, eager)
    for mine, theirs in zip(*(torch.autograd.grad(y.square().sum(), maps) for y in (compiled, eager)), strict=True):
        torch.testing.assert_close(mine, theirs)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(pool, fullgraph=True)(*maps), eager)


def test_autocast_keeps_the_features_dtype_and_makes_boxes_float32():
    x = sample(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.roi_align(x, BOXES, 2, reduce="max").dtype == torch.bfloat16
        direct = ROIKIT.roi_align_max(x, BOXES.half(), 1.0, 2, 2, 2, False, False)[0]
        pyramid = ROIKIT.multiscale_roi_align_max([x, x], BOXES.half(), SCALES, [8.0], 2, 2, 2, False, True)[0]
    assert torch.equal(direct, ops.roi_align(x, BOXES.float(), 2, 1.0, 2, reduce="max"))
    assert pyramid.dtype == torch.bfloat16


def test_any_layout_gives_the_same_result():
    x = sample()
    expected = ops.roi_align(x, BOXES, 2, 0.5, reduce="max")
    for other in (x.contiguous(memory_format=torch.channels_last), torch.stack([x, x], -1)[..., 0]):
        assert torch.equal(ops.roi_align(other, BOXES, 2, 0.5, reduce="max"), expected)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 4), (1, 1, 1, 1)])
def test_empty_and_tiny(shape):
    check_nothing(lambda x, boxes: ops.roi_align(x, boxes, 2, reduce="max"), shape)


def test_modules_take_it():
    x, boxes = sample(torch.float32), BOXES.float()
    pool = ops.RoIAlign(2, 0.5, 2, True, reduce="max")
    assert torch.equal(pool(x, boxes), ops.roi_align(x, boxes, 2, 0.5, 2, True, reduce="max"))
    assert repr(pool) == "RoIAlign(output_size=2, spatial_scale=0.5, sampling_ratio=2, aligned=True, reduce='max')"
    several = ops.MultiScaleRoIAlign(["a"], 2, 2, reduce="max")
    assert torch.equal(several({"a": x}, [boxes[:1, 1:], boxes[1:, 1:]], [(12, 10)] * 2),
                       ops.roi_align(x, boxes, 2, 0.5, 2, reduce="max"))
    assert "reduce='max'" in repr(several) and "reduce" not in repr(ops.MultiScaleRoIAlign(["a"], 2, 2))
    with pytest.raises(ValueError, match="RoIAlign: reduce must be 'mean' with rule='integral'"):
        ops.RoIAlign(2, 0.5, -1, rule="integral", reduce="max")


def test_a_roi_that_names_no_image_gives_0_and_has_no_gradient(device, deterministic):
    check_strays(lambda x, boxes: ops.roi_align(x, boxes, (2, 3), 0.5, reduce="max"), sample().requires_grad_(), BOXES,
                 device, deterministic)


MAPS, ROIS = torch.zeros(2, 3, 4, 4), torch.zeros(5, 5)
align = functools.partial(ops.roi_align, reduce="max")


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.roi_align(MAPS, ROIS, 2, reduce="sum"), ValueError, "reduce must be one of 'mean', 'max', got 'sum'"),
    (lambda: align(MAPS, ROIS, 2, rule="integral"), ValueError,
     "reduce must be 'mean' with rule='integral', which has no samples, got 'max'"),
    (lambda: ops.multiscale_roi_align([MAPS], ROIS, 2, [1.0], reduce="sum"), ValueError, "reduce must be one of"),
    (lambda: align(MAPS, ROIS, 2, 1.0, 2**16), ValueError, "sampling_ratio must be at most 32768 with reduce='max'"),
    (lambda: align(torch.zeros(1, dtype=torch.float16).expand(1, 0, 30000, 30000), ROIS, 2), ValueError,
     r"a map of this size may have more than 2\^31 samples in a bin"),
    (lambda: align(MAPS, ROIS - 1, 2), IndexError, r"boxes must have a whole batch index in \[0, 2\), got -1.0"),
])
def test_contract(call, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(kind, match=f"roi_align: {text}"):
        call()
