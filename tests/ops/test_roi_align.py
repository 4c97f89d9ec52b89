"""RoIAlign on tensors: agreement with the reference, formats, gradients, registration, contracts."""

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.reference.roi_align import TOLERANCE
from roikit.testing import strategies as some

from .agreement import check_nothing, check_strays, tensors, within

FORMATS = [torch.contiguous_format, torch.channels_last]
DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), size=st.integers(1, 3), ratio=st.sampled_from([-1, 2]), aligned=st.booleans(),
       form=st.sampled_from(FORMATS), box_type=st.sampled_from([np.float16, np.float32, np.float64]))
def test_agrees_with_the_reference_forward_and_backward(dtype, data, size, ratio, aligned, form, box_type):
    maps = data.draw(some.feature_maps(dtype=np.float32))  # quarters, which each dtype holds
    boxes = data.draw(some.rois(len(maps), dtype=box_type))
    rule = (size, 0.5, ratio, aligned)
    x = torch.from_numpy(maps).to(dtype).contiguous(memory_format=form).requires_grad_()
    output = ops.roi_align(x, tensors(boxes), *rule)
    largest = np.abs(maps).max(initial=0)
    within(output, reference.roi_align(maps.astype(DTYPES[dtype]), boxes, *rule), largest, dtype)
    grad = np.random.default_rng(0).integers(-8, 9, output.shape) / 8
    output.backward(torch.from_numpy(grad).to(dtype))
    wanted, spread = (reference.roi_align_backward(g.astype(DTYPES[dtype]), boxes, maps.shape, *rule)
                      for g in (grad, np.abs(grad)))
    within(x.grad, wanted, spread.astype(np.float64) + 1, dtype)


@given(data=st.data(), form=st.sampled_from(FORMATS))
def test_multiscale_agrees_with_the_reference_forward_and_backward(data, form):
    maps = [data.draw(some.feature_maps((2, 3, side, side + 1))) for side in (8, 4, 2)]
    boxes, scales = data.draw(some.rois(2)), [0.5, 0.25, 0.125]
    rule = {"sampling_ratio": 2, "canonical_scale": 8, "canonical_level": 2}
    xs = [torch.from_numpy(m).contiguous(memory_format=form).requires_grad_() for m in maps]
    output = ops.multiscale_roi_align(xs, tensors(boxes), 2, scales, **rule)
    expected = reference.multiscale_roi_align(maps, boxes, 2, scales, **rule)
    within(output, expected, 4, torch.float32)
    output.backward(torch.ones_like(output))
    wanted = reference.multiscale_roi_align_backward(np.ones_like(expected), boxes, [m.shape for m in maps], 2, scales,
                                                     **rule)
    for x, w in zip(xs, wanted, strict=True):
        within(x.grad, w, w + 1, torch.float32)


def sample(dtype=torch.float64, size=(6, 5), seed=0):
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# Gradients that are equal but for the order of their sums, which atomic additions leave open.
SUMMED = {"cpu": {"rtol": 0, "atol": 0}, "emulated": {"rtol": 1e-5, "atol": 1e-6}, "cuda": {"rtol": 0, "atol": 0}}
BOXES = torch.tensor([[0, 1, 1, 9, 12], [1, -3, 2, 8, 7], [1, 0, 0, 3, 30]], dtype=torch.float64)


@pytest.mark.parametrize("form", FORMATS)
def test_the_result_has_the_inputs_memory_format_and_the_same_bits(form):
    x = torch.randn(2, 19, 9, 7).contiguous(memory_format=form).requires_grad_()
    output = ops.roi_align(x, BOXES, 3, 0.5)
    assert output.is_contiguous(memory_format=form)
    for grad_form in FORMATS:
        x.grad = None
        output.backward(torch.ones_like(output).contiguous(memory_format=grad_form), retain_graph=True)
        assert x.grad.is_contiguous(memory_format=form)
    other = ops.roi_align(x.detach().contiguous(), BOXES, 3, 0.5)
    assert torch.equal(output, other)
    fake = torch.ops.roikit.roi_align(x.detach().to("meta"), BOXES.to("meta"), 0.5, 3, 3, -1, False)
    assert fake.stride() == output.stride() and fake.shape == output.shape


def test_strided_input_and_gradient(device):
    x = torch.randn(2, 3, 6, 10)[..., ::2].requires_grad_()
    output = ops.roi_align(x, BOXES, 2, 0.5)
    y = x.detach().contiguous().requires_grad_()
    assert torch.equal(output, ops.roi_align(y, BOXES, 2, 0.5))
    (output * 1).sum().backward()  # the gradient of a sum is expanded: all its strides are 0
    ops.roi_align(y, BOXES, 2, 0.5).backward(torch.ones(3, 3, 2, 2))
    torch.testing.assert_close(x.grad, y.grad, **SUMMED[device])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("ratio, aligned", [(-1, False), (2, True)])
def test_gradient_and_double_gradient(form, ratio, aligned):
    x = sample(size=(4, 3)).contiguous(memory_format=form).requires_grad_()

    def single(x):
        return ops.roi_align(x, BOXES, (2, 3), 0.5, ratio, aligned)

    check, again = (functools.partial(f, nondet_tol=1e-12)  # a GPU adds up in any order
                    for f in (torch.autograd.gradcheck, torch.autograd.gradgradcheck))
    assert check(single, (x,)) and again(single, (x,))
    y = sample(size=(3, 3)).contiguous(memory_format=form).requires_grad_()

    def pyramid(x, y):
        return ops.multiscale_roi_align([x, y], BOXES, (2, 3), [0.5, 0.25], sampling_ratio=ratio, aligned=aligned,
                                        canonical_scale=8, canonical_level=2)

    assert check(pyramid, (x, y)) and again(pyramid, (x, y))


def test_backward_does_not_depend_on_the_number_of_threads(device):
    x = torch.randn(2, 40, 20, 20)
    boxes = torch.cat([torch.randint(0, 2, (50, 1)).float(), torch.rand(50, 2) * 10, 10 + torch.rand(50, 2) * 10], 1)
    before, grads = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = x.clone().requires_grad_()
            ops.roi_align(y, boxes, 5).square().sum().backward()
            grads.append(y.grad)
    finally:
        torch.set_num_threads(before)
    for other in grads[1:]:
        torch.testing.assert_close(grads[0], other, **SUMMED[device])


@pytest.mark.parametrize("form", FORMATS)
def test_registration(form):
    x = sample().contiguous(memory_format=form).requires_grad_()
    y = sample(size=(3, 3)).contiguous(memory_format=form).requires_grad_()
    last = form is torch.channels_last
    torch.library.opcheck(torch.ops.roikit.roi_align, (x, BOXES, 0.5, 2, 3, 2, False))
    torch.library.opcheck(torch.ops.roikit.multiscale_roi_align,
                          ([x, y], BOXES, [0.5, 0.25], [8.0], 2, 3, 2, False))
    grad = torch.randn(3, 3, 2, 3, dtype=torch.float64).contiguous(memory_format=form).requires_grad_()
    torch.library.opcheck(torch.ops.roikit.roi_align_backward, (grad, BOXES, 2, 6, 5, last, 0.5, 2, False))
    torch.library.opcheck(torch.ops.roikit.multiscale_roi_align_backward,
                          (grad, BOXES, 2, [6, 3], [5, 3], last, [0.5, 0.25], [8.0], 2, False))


def test_compiled_code_has_the_same_results_and_gradients():
    parts = [BOXES[:1, 1:], BOXES[1:, 1:]]

    def both(x, y):
        single = ops.roi_align(x, parts, 2, 0.5)
        pyramid = ops.multiscale_roi_align([x, y], parts, 2, [0.5, 0.25], canonical_scale=8, canonical_level=2)
        return (single * pyramid).sum()

    maps = [m.requires_grad_() for m in (sample(), sample(size=(3, 3)))]
    eager = torch.autograd.grad(both(*maps), maps)
    compiled = torch.autograd.grad(torch.compile(both, fullgraph=True)(*maps), maps)
    for a, b in zip(eager, compiled, strict=True):
        torch.testing.assert_close(a, b)


def test_autocast_keeps_the_features_dtype_and_makes_boxes_float32():
    x = sample(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.roi_align(x, BOXES, 2).dtype == torch.bfloat16
        assert ops.roi_align(x.float(), BOXES, 2).dtype == torch.float32
        assert ops.multiscale_roi_align([x, x], BOXES, 2, [1.0, 0.5]).dtype == torch.bfloat16
        direct = torch.ops.roikit.roi_align(x, BOXES.half(), 1.0, 2, 2, 2, False)
    torch.testing.assert_close(direct, ops.roi_align(x, BOXES.float(), 2, 1.0, 2))


def test_half_features_keep_float32_boxes():
    x = torch.arange(4096.0).expand(1, 1, 2, 4096).half()
    boxes = torch.tensor([[0, 2049.0, 0, 2050, 1]])  # half would round 2049 to 2048
    assert ops.roi_align(x, boxes, 1, 1.0, 1, True).item() == 2049 // 2 * 2


def test_modules_are_the_functions():
    x, y = sample(torch.float32), sample(torch.float32, (3, 3))
    module = ops.RoIAlign(2, 0.5, 2, aligned=True)
    assert torch.equal(module(x, BOXES), ops.roi_align(x, BOXES, 2, 0.5, 2, True)) and "aligned=True" in repr(module)
    boxes = [BOXES[:1, 1:].float(), BOXES[1:, 1:].float()]
    pyramid = ops.MultiScaleRoIAlign(["a", "b"], 2, 2, canonical_scale=8, canonical_level=2)
    expected = ops.multiscale_roi_align([x, y], boxes, 2, [0.5, 0.25], canonical_scale=8, canonical_level=2)
    assert torch.equal(pyramid({"a": x, "c": x, "b": y}, boxes, [(12, 9), (11, 10)]), expected)
    with pytest.raises(ValueError, match=r"MultiScaleRoIAlign: x must have the maps \['a', 'b'\], got \['a'\]"):
        pyramid({"a": x}, boxes, [(12, 9)])
    with pytest.raises(ValueError, match="MultiScaleRoIAlign: image_shapes must not be empty"):
        pyramid({"a": x, "b": y}, [], [])


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 4), (1, 1, 1, 1)])
def test_empty_and_tiny(shape):
    check_nothing(lambda x, boxes: ops.roi_align(x, boxes, 2), shape)


def busy_boxes(seed, count, images, extent):
    """Boxes around a map of `extent` pixels: most smaller than it, some far larger, some thin or reversed."""
    draw = torch.Generator().manual_seed(seed)
    size = extent * 10 ** (torch.rand(count, 1, generator=draw) * 2.5 - 1.5)
    size = size * (torch.rand(count, 2, generator=draw) + 0.1)
    size[::7] *= -1
    size[3::11] = 0
    corner = torch.rand(count, 2, generator=draw) * extent * 1.5 - extent * 0.4 - size / 4
    index = torch.randint(0, images, (count, 1), generator=draw)
    return torch.cat([index.float(), corner, corner + size], 1)


# (maps, pooled size, sampling ratio, aligned): odd channels, more than a block's; wide boxes, whose columns are listed,
# and narrow ones, which share them; bins that are worked in parts; tables that overflow.
WORKS = [
    ((2, 71, 40, 60), (7, 7), 2, True),
    ((1, 9, 23, 31), (14, 14), 2, False),
    ((1, 6, 200, 280), (2, 3), -1, True),
    ((2, 5, 90, 70), (7, 5), -1, False),
    ((1, 3, 150, 170), (28, 28), 2, True),
    ((1, 2, 12, 13), (70, 65), -1, True),
    ((1, 2, 20, 300), (2, 130), 3, False),
    ((1, 2, 9, 1), (1, 7), 200, True),
    ((1, 130, 1, 9), (3, 1), 1, False),
]


@pytest.mark.parametrize("grad_form", FORMATS)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("work", WORKS)
def test_works_of_all_sizes_agree_with_the_cpu_kernels(work, form, grad_form, placed, deterministic):
    shape, size, ratio, aligned = work
    dtypes = [(torch.float32, torch.float32), (torch.float64, torch.float32), (torch.float16, torch.float32),
              (torch.bfloat16, torch.float64), (torch.float32, torch.float64)]
    turn = WORKS.index(work) + FORMATS.index(form) + FORMATS.index(grad_form)
    dtype, box_type = dtypes[turn % len(dtypes)]
    boxes = busy_boxes(turn, 11, shape[0], max(shape[2:])).to(box_type)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(turn)).to(dtype)
    exact = torch.float64  # the samples must be the same ones, so only the sums are wider
    rois = boxes.to(torch.promote_types(box_type, torch.float64 if dtype == torch.float64 else torch.float32))
    rule = {"sampling_ratio": ratio, "aligned": aligned}
    expected = kernels.roi_align(x.float().numpy() if dtype != exact else x.numpy(), rois.numpy(), size, **rule)
    x = x.contiguous(memory_format=form)
    output = ops.roi_align(x, boxes, size, **rule)
    limit = TOLERANCE[str(dtype).removeprefix("torch.")]
    assert output.is_contiguous(memory_format=form)
    assert ((output.double() - torch.from_numpy(expected).double()).abs() <= limit * x.abs().max().double()).all()
    assert torch.equal(output, ops.roi_align(x.contiguous(memory_format=FORMATS[1 - FORMATS.index(form)]), boxes, size,
                                             **rule))

    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    wide = grad.float().numpy() if dtype != exact else grad.numpy()
    wanted, spread = (torch.from_numpy(kernels.roi_align_backward(g, rois.numpy(), shape, size, **rule)).double()
                      for g in (wide, np.abs(wide)))
    grad, rois = placed(grad.contiguous(memory_format=grad_form), boxes)
    def gradient(order):
        with deterministic(order):
            return torch.ops.roikit.roi_align_backward(grad, rois, shape[0], *shape[2:], form is torch.channels_last,
                                                       1.0, ratio, aligned).cpu()

    for result in (gradient(False), gradient(True)):
        assert result.is_contiguous(memory_format=form) and result.dtype == dtype
        assert ((result.double() - wanted).abs() <= limit * (spread + np.abs(wide).max())).all()
    assert torch.equal(result, gradient(True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", FORMATS)
def test_many_levels_agree_with_one_level_at_a_time(dtype, form, placed, deterministic):
    maps = [torch.randn(2, 12, side, side + 3).to(dtype).contiguous(memory_format=form) for side in (33, 17, 9, 5, 3)]
    scales, boxes = [2.0**-i for i in range(5)], busy_boxes(5, 60, 2, 33)
    rule = {"canonical_scale": 8, "canonical_level": 1}
    output = ops.multiscale_roi_align(maps, boxes, 3, scales, **rule)
    level = torch.from_numpy(reference.assign_levels(boxes[:, 1:].numpy(), scales, **rule))
    thresholds = [8 * 2.0 ** (m - 1 - 1e-6) for m in range(1, 5)]
    grad = torch.randn(output.shape).to(dtype)
    with deterministic(False):
        gradients = torch.ops.roikit.multiscale_roi_align_backward(
            *placed(grad, boxes), 2, [m.shape[2] for m in maps], [m.shape[3] for m in maps],
            form is torch.channels_last, scales, thresholds, 2, False)
    for i, (m, gradient) in enumerate(zip(maps, gradients, strict=True)):
        assert (level == i).any()
        assert torch.equal(output[level == i], ops.roi_align(m, boxes[level == i], 3, scales[i], 2))
        part, rois = grad[level == i].float().numpy(), boxes[level == i].numpy()
        alone, spread = (kernels.roi_align_backward(g, rois, m.shape, 3, scales[i], 2) for g in (part, np.abs(part)))
        within(gradient.cpu(), alone, spread.astype(float) + 4, dtype)


def test_a_roi_that_names_no_image_gives_0_and_has_no_gradient(device, deterministic):
    for form, ratio in itertools.product(FORMATS, (-1, 2)):
        check_strays(lambda x, boxes, ratio=ratio: ops.roi_align(x, boxes, (2, 3), 0.5, ratio),
                     sample().contiguous(memory_format=form).requires_grad_(), BOXES, device, deterministic)


def test_more_levels_than_the_kernels_take(device):
    if device == "cpu":
        pytest.skip("the CPU kernels take any number of levels")
    maps, scales = [torch.zeros(1, 1, 2, 2)] * 17, [2.0**-i for i in range(17)]
    with pytest.raises(ValueError, match="roi_align: the CUDA kernels take at most 16 levels"):
        ops.multiscale_roi_align(maps, torch.zeros(1, 5), 1, scales)
    assert ops.multiscale_roi_align(maps[:16], torch.zeros(1, 5), 1, scales[:16]).shape == (1, 1, 1, 1)


@pytest.mark.big
def test_more_than_two_to_the_31_elements():
    x = torch.zeros(33, 256, 512, 512, dtype=torch.float16)
    x[32] = torch.randn(256, 512, 512).half()
    boxes = torch.tensor([[32, 3.0, 5, 300, 260], [0, 1, 1, 9, 9], [32, 200, 100, 511, 400]])
    last = boxes[[0, 2]]
    last[:, 0] = 0
    output = ops.roi_align(x.requires_grad_(), boxes, 3, 1.0, 2)
    image = x[32:].detach().numpy()
    expected = reference.roi_align(image, last.numpy(), 3, 1.0, 2)
    within(output[[0, 2]], expected, np.abs(image).max().astype(float), torch.float16)
    assert not output[1].any()
    grad = torch.ones_like(output)
    output.backward(grad)
    wanted = reference.roi_align_backward(grad[[0, 2]].numpy(), last.numpy(), image.shape, 3, 1.0, 2)
    within(x.grad[32:], wanted, wanted.astype(float) + 1, torch.float16)
    assert x.grad[0].any() and not x.grad[1:32].any()


MAPS = torch.zeros(2, 3, 4, 4)
ROIS = torch.zeros(5, 5)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.roi_align(MAPS[0], ROIS, 2), ValueError,
     r"roi_align: input must have shape \(N, C, H, W\), got \(3, 4, 4\)"),
    (lambda: ops.roi_align(MAPS.long(), ROIS, 2), TypeError,
     "roi_align: input must be float16, bfloat16, float32 or float64, got int64"),
    (lambda: ops.roi_align([[0.0]], ROIS, 2), TypeError, "roi_align: input must be an array or a tensor, got list"),
    (lambda: ops.roi_align(MAPS, ROIS[:, :4], 2), ValueError,
     r"roi_align: boxes must have shape \(N, 5\), got \(5, 4\)"),
    (lambda: ops.roi_align(MAPS, [ROIS], 2), ValueError, r"roi_align: boxes\[0\] must have shape \(N, 4\)"),
    (lambda: ops.roi_align(MAPS, ROIS.long(), 2), TypeError, "roi_align: boxes must be float16, bfloat16, float32"),
    (lambda: ops.roi_align(MAPS, ROIS.to("meta"), 2), ValueError,
     "roi_align: input and boxes must be on the same device, got .* and meta"),
    (lambda: ops.roi_align(MAPS, [ROIS[:, 1:].to("meta")], 2), ValueError,
     r"roi_align: input and boxes\[0\] must be on the same device, got .* and meta"),
    (lambda: ops.roi_align(MAPS, ROIS, 0), ValueError, "roi_align: output_size must be at least 1, got 0"),
    (lambda: ops.roi_align(MAPS, ROIS, "7"), TypeError, "roi_align: output_size must be a whole number or two"),
    (lambda: ops.roi_align(MAPS, ROIS, 2, -1.0), ValueError,
     "roi_align: spatial_scale must be positive and finite, got -1.0"),
    (lambda: ops.roi_align(MAPS, ROIS, 2, 1.0, 0.5), TypeError,
     "roi_align: sampling_ratio must be a whole number, got float"),
    (lambda: ops.roi_align(MAPS, ROIS + 2, 2), IndexError,
     r"roi_align: boxes must have a whole batch index in \[0, 2\), got 2.0"),
    (lambda: ops.roi_align(MAPS, [ROIS[:1, 1:]] * 3, 2), IndexError, r"a whole batch index in \[0, 2\), got 2.0"),
    (lambda: ops.multiscale_roi_align([MAPS], ROIS, 2, []), ValueError,
     "multiscale_roi_align: scales must name at least one level, got none"),
    (lambda: ops.multiscale_roi_align([MAPS], ROIS, 2, [1.0, 0.5]), ValueError,
     "multiscale_roi_align: scales must have one value a level, got 2 for 1"),
    (lambda: ops.multiscale_roi_align([MAPS, MAPS.half()], ROIS, 2, [1.0, 0.5]), ValueError,
     r"multiscale_roi_align: features must agree in dtype, N and C, got float32 \(2, 3, 4, 4\) and, at 1, float16 "),
    (lambda: ops.multiscale_roi_align([MAPS], ROIS, 2, [1.0], canonical_scale=0), ValueError,
     "multiscale_roi_align: canonical_scale must be positive and finite, got 0"),
    (lambda: ops.multiscale_roi_align([MAPS, MAPS.to("meta")], ROIS, 2, [1.0, 0.5]), ValueError,
     r"features\[0\] and features\[1\] must be on the same device"),
])
def test_contract(call, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")  # on a GPU, batch indices are read for nothing else
    with pytest.raises(kind, match=text):
        call()
