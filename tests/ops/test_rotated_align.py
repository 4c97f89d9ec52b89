"""roi_align_rotated on tensors: agreement with the reference and the kernels, gradients, registration, contracts."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some

from .agreement import check_nothing, check_strays, within

DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}
BOXES = torch.tensor([[0, 6, 5, 9, 6, 30], [1, 2, 4, 7, 8, -75], [1, 0, 9, 3, 30, 180]], dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), size=st.tuples(st.integers(1, 3), st.integers(1, 3)), ratio=st.sampled_from([-1, 1, 2]),
       box_type=st.sampled_from([np.float16, np.float32, np.float64]))
@np.errstate(all="ignore")
def test_agrees_with_the_reference_forward_and_backward(dtype, data, size, ratio, box_type):
    maps = data.draw(some.feature_maps())  # quarters, which each dtype holds
    boxes = data.draw(some.rotated_boxes(n=None if len(maps) else 0, dtype=np.float64, max_size=4)).astype(box_type)
    index = np.arange(len(boxes)) % max(len(maps), 1)
    boxes = np.concatenate([index[:, None].astype(box_type), boxes], axis=1)
    parts = [torch.from_numpy(boxes[index == i, 1:]) for i in range(len(maps))]
    rois = parts if data.draw(st.booleans()) else torch.from_numpy(boxes)
    boxes = np.concatenate([boxes[index == i] for i in range(len(maps))]) if rois is parts and parts else boxes
    x = torch.from_numpy(maps).to(dtype).requires_grad_()
    output = ops.roi_align_rotated(x, rois, size, 0.5, ratio)
    wide = maps.astype(DTYPES[dtype])
    within(output, reference.roi_align_rotated(wide, boxes, size, 0.5, ratio), np.abs(maps).max(initial=0), dtype)
    grad = np.random.default_rng(0).integers(-8, 9, output.shape) / 8
    output.backward(torch.from_numpy(grad).to(dtype))
    wanted, spread = (reference.roi_align_rotated_backward(g.astype(DTYPES[dtype]), boxes, maps.shape, size, 0.5, ratio)
                      for g in (grad, np.abs(grad)))
    within(x.grad, wanted, spread.astype(np.float64) + 1, dtype)


def busy(dtype, boxes_of=torch.float32):
    """Several chunks of channels and bands of rows; RoIs of all sizes and turns, some of them awkward."""
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.standard_normal((3, 70, 37, 41))).to(dtype)
    boxes = np.concatenate([rng.integers(0, 2, (40, 1)) * 2, rng.uniform(-9, 60, (40, 2)),
                            np.exp(rng.uniform(-1, 4, (40, 2))), rng.uniform(-400, 400, (40, 1))], 1)
    boxes[:6, 1:] = [[9, 9, -2, 3, 0], [np.nan, 1, 5, 5, 0], [5, 5, 5, 5, np.inf], [5, 5, 1e35, 5, 0],
                     [20, 20, 3e5, 1e5, 33], [20, 20, 60, 50, 90]]
    return maps, torch.from_numpy(boxes).to(boxes_of)


def each_two_meet():
    """dtype, the boxes' dtype, channels last, sampling ratio: each two of them in every way, in half of all cases."""
    pairs = ((torch.float32, torch.float32), (torch.float32, torch.float64), (torch.float64, torch.float32),
             (torch.bfloat16, torch.float32), (torch.float16, torch.float64))
    for i, (dtype, boxes_of) in enumerate(pairs):
        for last in (False, True):
            yield dtype, boxes_of, last, -1 if last == bool(i % 2) else 2


@pytest.mark.parametrize("dtype, boxes_of, last, ratio", list(each_two_meet()))
def test_many_rois_are_near_those_of_the_cpu(dtype, boxes_of, last, ratio, placed, deterministic):
    maps, boxes = busy(dtype, boxes_of)
    wide = maps.to({torch.bfloat16: torch.float32}.get(dtype, dtype)).numpy()
    expected = kernels.roi_align_rotated(wide, boxes.numpy(), (3, 7), 0.7, ratio)
    grad = torch.from_numpy(expected[::-1].copy()).to(dtype)
    back, spread = (kernels.roi_align_rotated_backward(g, boxes.numpy(), maps.shape, (3, 7), 0.7, ratio)
                    for g in (grad.to(torch.from_numpy(wide).dtype).numpy(), grad.abs().double().numpy()))
    for order in (True, False):
        with deterministic(order):
            x, rois, g = placed(maps, boxes, grad)
            x = x.contiguous(memory_format=torch.channels_last) if last else x
            output = torch.ops.roikit.roi_align_rotated(x.requires_grad_(), rois, 0.7, 3, 7, ratio)
            assert output.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
            gradient, = torch.autograd.grad(output, x, g)
            assert gradient.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        within(output.cpu(), expected, 2 * maps.double().abs().max().item(), dtype)
        within(gradient.cpu(), back, 2 * (spread + grad.double().abs().max().item()), dtype)


def test_the_ordered_gradient_has_the_same_bits_in_every_run_and_format(placed, deterministic):
    maps, boxes = busy(torch.float32)
    found = []
    with deterministic(True):
        for form in (torch.contiguous_format, torch.channels_last, torch.contiguous_format):
            x, rois = placed(maps, boxes)
            x = x.contiguous(memory_format=form).requires_grad_()
            output = torch.ops.roikit.roi_align_rotated(x, rois, 0.7, 3, 7, 2)
            gradient, = torch.autograd.grad(output, x, output.detach().cos())
            found.append((output.cpu().contiguous(), gradient.cpu().contiguous()))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


FORMATS = (torch.contiguous_format, torch.channels_last)
LEVELS = {"canonical_scale": 8, "canonical_level": 2}


@given(data=st.data(), form=st.sampled_from(FORMATS))
@np.errstate(all="ignore")
def test_a_pyramid_agrees_with_the_reference_forward_and_backward(data, form):
    maps = [data.draw(some.feature_maps((2, 3, side, side + 1))) for side in (8, 4, 2)]
    boxes, scales = data.draw(some.rotated_boxes(max_size=4)), [0.5, 0.25, 0.125]
    boxes = np.concatenate([np.arange(len(boxes), dtype=np.float32)[:, None] % 2, boxes], axis=1)
    xs = [torch.from_numpy(m).contiguous(memory_format=form).requires_grad_() for m in maps]
    output = ops.multiscale_roi_align_rotated(xs, torch.from_numpy(boxes), 2, scales, **LEVELS)
    expected = reference.multiscale_roi_align_rotated(maps, boxes, 2, scales, **LEVELS)
    within(output, expected, 4, torch.float32)
    output.backward(torch.ones_like(output))
    wanted = reference.multiscale_roi_align_rotated_backward(np.ones_like(expected), boxes, [m.shape for m in maps], 2,
                                                             scales, **LEVELS)
    for x, w in zip(xs, wanted, strict=True):
        within(x.grad, w, w + 1, torch.float32)


@pytest.mark.parametrize("order", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", FORMATS)
def test_many_levels_agree_with_one_level_at_a_time(dtype, form, order, placed, deterministic):
    maps = [torch.randn(3, 12, side, side + 3).to(dtype).contiguous(memory_format=form) for side in (33, 17, 9, 5)]
    scales, boxes = [2.0**-i for i in range(4)], busy(torch.float32)[1]
    output = ops.multiscale_roi_align_rotated(maps, boxes, 3, scales, canonical_scale=8, canonical_level=1)
    size = torch.sqrt(boxes[:, 3].clamp(min=0) * boxes[:, 4])
    level = sum((size >= 8 * 2.0 ** (m - 1 - 1e-6)).long() for m in range(1, 4))
    grad = torch.randn(output.shape).to(dtype)
    with deterministic(order):
        gradients = torch.ops.roikit.multiscale_roi_align_rotated_backward(
            *placed(grad, boxes), 3, [m.shape[2] for m in maps], [m.shape[3] for m in maps],
            form is torch.channels_last, scales, [8 * 2.0 ** (m - 1 - 1e-6) for m in range(1, 4)], 2)
    for i, (m, gradient) in enumerate(zip(maps, gradients, strict=True)):
        assert (level == i).any() and gradient.is_contiguous(memory_format=form)
        assert torch.equal(output[level == i], ops.roi_align_rotated(m, boxes[level == i], 3, scales[i], 2))
        part, rois = grad[level == i].float().numpy(), boxes[level == i].numpy()
        alone, spread = (kernels.roi_align_rotated_backward(g, rois, m.shape, 3, scales[i], 2)
                         for g in (part, np.abs(part)))
        within(gradient.cpu(), alone, spread.astype(float) + 4, dtype)


def test_more_levels_than_the_kernels_take(device):
    if device == "cpu":
        pytest.skip("the CPU kernels take any number of levels")
    maps, scales = [torch.zeros(1, 1, 2, 2)] * 17, [2.0**-i for i in range(17)]
    with pytest.raises(ValueError, match="roi_align_rotated: the CUDA kernels take at most 16 levels"):
        ops.multiscale_roi_align_rotated(maps, torch.zeros(1, 6), 1, scales)
    assert ops.multiscale_roi_align_rotated(maps[:16], torch.zeros(1, 6), 1, scales[:16]).shape == (1, 1, 1, 1)


def sample(dtype=torch.float64, size=(6, 5)):
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ratio", [-1, 2])
def test_gradient_and_double_gradient(ratio):
    def pool(x):
        return ops.roi_align_rotated(x, BOXES, (2, 3), 0.5, ratio)

    check, again = (functools.partial(f, nondet_tol=1e-12)  # a GPU adds up in any order
                    for f in (torch.autograd.gradcheck, torch.autograd.gradgradcheck))
    x = sample().requires_grad_()
    assert check(pool, (x,)) and again(pool, (x,))

    def pool_levels(x, y):
        return ops.multiscale_roi_align_rotated([x, y], BOXES, (2, 3), [0.5, 0.25], sampling_ratio=ratio, **LEVELS)

    pair = x, sample(size=(3, 4)).requires_grad_()
    assert check(pool_levels, pair) and again(pool_levels, pair)


@pytest.mark.parametrize("last", [False, True])
def test_registration(last):
    x = sample().requires_grad_()
    if last:
        x = sample().contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(torch.ops.roikit.roi_align_rotated, (x, BOXES, 0.5, 2, 3, 2))
    grad = torch.randn(3, 3, 2, 3, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(torch.ops.roikit.roi_align_rotated_backward, (grad, BOXES, 2, 6, 5, last, 0.5, 2))
    levels = [x.detach().requires_grad_(), x.detach()[:, :, :3, :4].contiguous(
        memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()]
    torch.library.opcheck(torch.ops.roikit.multiscale_roi_align_rotated,
                          (levels, BOXES, [0.5, 0.25], [8.0], 2, 3, 2))
    torch.library.opcheck(torch.ops.roikit.multiscale_roi_align_rotated_backward,
                          (grad, BOXES, 2, [6, 3], [5, 4], last, [0.5, 0.25], [8.0], 2))


def test_compiled_code_has_the_same_results_and_gradients(device):
    if device != "cpu":
        pytest.skip("once is enough")
    x = sample().requires_grad_()

    def pool(x):
        parts = [BOXES[:1, 1:], BOXES[1:, 1:]]
        pyramid = ops.multiscale_roi_align_rotated([x, x[:, :, :3, :2]], parts, 2, [0.5, 0.25], **LEVELS)
        return torch.cat([ops.roi_align_rotated(x, parts, 2, 0.5), pyramid])

    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, pool(x))
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (compiled, pool(x))))


def test_autocast_keeps_the_features_dtype_and_makes_boxes_float32():
    x = sample(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.roi_align_rotated(x, BOXES, 2).dtype == torch.bfloat16
        assert ops.multiscale_roi_align_rotated([x, x], BOXES, 2, [1.0, 0.5]).dtype == torch.bfloat16
        direct = torch.ops.roikit.roi_align_rotated(x, BOXES.half(), 1.0, 2, 2, 2)
    assert torch.equal(direct, ops.roi_align_rotated(x, BOXES.float(), 2, 1.0, 2))


def test_any_layout_gives_the_same_result():
    x = sample().requires_grad_()
    expected = ops.roi_align_rotated(x, BOXES, 2, 0.5)
    strided = torch.stack([x.detach(), x.detach()], -1)[..., 0]
    for other in (x.detach().contiguous(memory_format=torch.channels_last), strided):
        torch.testing.assert_close(ops.roi_align_rotated(other, BOXES, 2, 0.5), expected, rtol=0, atol=1e-12)
    expanded, = torch.autograd.grad(expected.sum(), x)  # the gradient of a sum: all its strides are 0
    whole, = torch.autograd.grad(ops.roi_align_rotated(x, BOXES, 2, 0.5), x, torch.ones_like(expected))
    torch.testing.assert_close(expanded, whole)


def test_the_module_is_the_function():
    x, align = sample(torch.float32), ops.RoIAlignRotated((2, 3), 0.5, 2)
    assert torch.equal(align(x, BOXES), ops.roi_align_rotated(x, BOXES, (2, 3), 0.5, 2))
    assert "output_size=(2, 3), spatial_scale=0.5, sampling_ratio=2" in repr(align)


def test_the_module_of_levels_is_the_function():
    maps = {"0": sample(torch.float32, (32, 24)), "1": sample(torch.float32, (16, 12)), "pool": None}
    parts = [BOXES[:1, 1:].float(), BOXES[1:, 1:].float()]
    align = ops.MultiScaleRoIAlignRotated(["0", "1"], (2, 3), 2, canonical_scale=8, canonical_level=2)
    expected = ops.multiscale_roi_align_rotated([maps["0"], maps["1"]], parts, (2, 3), [0.25, 0.125], **LEVELS)
    assert torch.equal(align(maps, parts, [(120, 90), (128, 96)]), expected) and expected.any()
    assert "featmap_names=['0', '1'], output_size=(2, 3), sampling_ratio=2" in repr(align)
    with pytest.raises(ValueError, match=r"MultiScaleRoIAlignRotated: x must have the maps \['0', '1'\], got \['0'\]"):
        align({"0": maps["0"]}, parts, [(128, 96)] * 2)
    with pytest.raises(ValueError, match="MultiScaleRoIAlignRotated: image_shapes must not be empty"):
        align(maps, parts, [])


@pytest.mark.parametrize("shape", [(0, 4, 4, 4), (2, 0, 4, 4), (2, 4, 0, 4), (2, 8, 4, 4), (1, 4, 1, 1)])
def test_empty_and_tiny(shape):
    check_nothing(lambda x, boxes: ops.roi_align_rotated(x, boxes, 2), shape, columns=5)


def test_a_roi_that_names_no_image_gives_0_and_has_no_gradient(device, deterministic):
    check_strays(lambda x, boxes: ops.roi_align_rotated(x, boxes, (2, 3), 0.5), sample().requires_grad_(), BOXES,
                 device, deterministic)
    check_strays(lambda x, boxes: ops.multiscale_roi_align_rotated([x, x[:, :, :3, :2]], boxes, (2, 3), [0.5, 0.25],
                                                                   **LEVELS),
                 sample().requires_grad_(), BOXES, device, deterministic)


MAPS, ROIS = torch.zeros(2, 4, 4, 4), torch.zeros(5, 6)


@pytest.mark.parametrize("arguments, kind, text", [
    ((MAPS[0], ROIS, 2), ValueError, r"input must have shape \(N, C, H, W\), got \(4, 4, 4\)"),
    ((MAPS.long(), ROIS, 2), TypeError, "input must be float16, bfloat16, float32 or float64, got int64"),
    ((MAPS, ROIS[:, :5], 2), ValueError, r"boxes must have shape \(N, 6\), got \(5, 5\)"),
    ((MAPS, [ROIS, ROIS], 2), ValueError, r"boxes\[0\] must have shape \(N, 5\), got \(5, 6\)"),
    ((MAPS, ROIS.to("meta"), 2), ValueError, "input and boxes must be on the same device, got .* and meta"),
    ((MAPS, ROIS, 0), ValueError, "output_size must be at least 1, got 0"),
    ((MAPS, ROIS, 2, 0), ValueError, "spatial_scale must be positive and finite, got 0"),
    ((MAPS, ROIS, 2, 1.0, 0.5), TypeError, "sampling_ratio must be a whole number, got float"),
    ((MAPS, ROIS - 1, 2), IndexError, r"boxes must have a whole batch index in \[0, 2\), got -1.0"),
])
def test_contract(arguments, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(kind, match=f"roi_align_rotated: {text}"):
        ops.roi_align_rotated(*arguments)


@pytest.mark.parametrize("features, scales, named, text", [
    ([MAPS], [], {}, "scales must name at least one level, got none"),
    ([MAPS], [1.0, 0.5], {}, "scales must have one value a level, got 2 for 1"),
    ([MAPS, MAPS.half()], [1.0, 0.5], {}, "features must agree in dtype, N and C, got float32"),
    ([MAPS, MAPS.to("meta")], [1.0, 0.5], {}, r"features\[0\] and features\[1\] must be on the same device"),
    ([MAPS], [1.0], {"canonical_scale": 0}, "canonical_scale must be positive and finite, got 0"),
])
def test_contract_of_levels(features, scales, named, text):
    with pytest.raises(ValueError, match=f"multiscale_roi_align_rotated: {text}"):
        ops.multiscale_roi_align_rotated(features, ROIS, 2, scales, **named)
