"""RoIAlign's gradient under torch.use_deterministic_algorithms: on CUDA, summed tile by tile of 16 x 32 pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import ops, reference
from roikit.reference.roi_align import TOLERANCE
from roikit.testing import strategies as some

FORMATS = [torch.contiguous_format, torch.channels_last]
DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}


@pytest.fixture(autouse=True, scope="module")
def in_order(deterministic):
    with deterministic(True, warn_only=False):
        yield


def rois(rng, count, shape, kind="any"):
    """(K, 5) in map pixels: "any" up to the map's size and somewhat beyond it, "small" up to 6 pixels."""
    images, _, height, width = shape
    low = rng.uniform(-3, [width, height], (count, 2))
    size = rng.uniform(0, 6, (count, 2)) if kind == "small" else rng.uniform(0, [width, height], (count, 2)) + 0.5
    return np.concatenate([rng.integers(0, images, (count, 1)), low, low + size], 1)


def gradient(grad, boxes, shape, output_size, *rule, form=torch.contiguous_format):
    x = torch.zeros(shape, dtype=grad.dtype).contiguous(memory_format=form).requires_grad_()
    ops.roi_align(x, boxes, output_size, *rule).backward(grad)
    assert x.grad.is_contiguous(memory_format=form)
    return x.grad


def check(result, grad, boxes, shape, output_size, *rule):
    grad = grad.double().numpy().astype(DTYPES[result.dtype])
    wanted, spread = (reference.roi_align_backward(g, boxes, shape, output_size, *rule).astype(np.float64)
                      for g in (grad, np.abs(grad)))
    error = np.abs(result.double().numpy() - wanted)
    assert (error <= TOLERANCE[str(result.dtype).removeprefix("torch.")] * (spread + 1)).all(), error.max()


def gradients_of_bins(rng, dtype, *shape):
    return torch.from_numpy(rng.integers(-8, 9, shape) / 8).to(dtype)


@pytest.mark.parametrize("grad_form", FORMATS)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_and_channel_blocks_with_tails(dtype, form, grad_form):
    rng = np.random.default_rng(1)
    for shape, count, ratio, aligned, kind in [((2, 19, 37, 70), 20, 2, True, np.float32),
                                               ((1, 16, 16, 32), 9, -1, False, np.float64),
                                               ((1, 32, 17, 33), 9, 2, False, np.float32)]:
        boxes = rois(rng, count, shape).astype(kind)
        grad = gradients_of_bins(rng, dtype, count, shape[1], 3, 5).contiguous(memory_format=grad_form)
        rule = ((3, 5), 1.0, ratio, aligned)
        check(gradient(grad, torch.from_numpy(boxes), shape, *rule, form=form), grad, boxes, shape, *rule)


@pytest.mark.parametrize("kind", ["any", "small"])
@pytest.mark.parametrize("ratio", [2, -1, 9])
@pytest.mark.parametrize("output_size", [(1, 1), (7, 7), (14, 14), (20, 3), (2, 40)])
def test_output_sizes(output_size, ratio, kind):
    rng = np.random.default_rng(2)
    shape = (1, 3, 40, 50)
    boxes = rois(rng, 12, shape, kind).astype(np.float32)
    grad = gradients_of_bins(rng, torch.float32, 12, 3, *output_size)
    rule = (output_size, 1.0, ratio, True)
    check(gradient(grad, torch.from_numpy(boxes), shape, *rule), grad, boxes, shape, *rule)


@pytest.mark.parametrize("count", [1, 31, 33, 65, 1030])
def test_numbers_of_rois_that_cross_words_and_windows(count):
    rng = np.random.default_rng(count)
    shape = (3, 2, 5, 40)
    boxes = rois(rng, count, shape, "small").astype(np.float32)
    grad = gradients_of_bins(rng, torch.float32, count, 2, 2, 2)
    rule = (2, 1.0, 2, False)
    check(gradient(grad, torch.from_numpy(boxes), shape, *rule), grad, boxes, shape, *rule)


@given(data=st.data(), ratio=st.sampled_from([-1, 0, 3, 30]), aligned=st.booleans(), form=st.sampled_from(FORMATS),
       box_type=st.sampled_from([np.float32, np.float64]), output_size=st.sampled_from([(1, 1), (3, 2), (17, 1)]))
def test_awkward_boxes(data, ratio, aligned, form, box_type, output_size):
    shape = data.draw(st.sampled_from([(2, 2, 40, 70), (1, 1, 1, 1), (1, 3, 2, 33), (2, 1, 17, 1)]))
    boxes = data.draw(some.rois(shape[0], dtype=box_type, as_list=False))
    grad = gradients_of_bins(np.random.default_rng(0), torch.float64, len(boxes), shape[1], *output_size)
    rule = (output_size, 0.5, ratio, aligned)
    check(gradient(grad, torch.from_numpy(boxes), shape, *rule, form=form), grad, boxes, shape, *rule)


@pytest.mark.parametrize("ratio", [-1, 1000])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_huge_boxes_end_soon_and_add_what_they_should(kind, ratio):
    boxes = np.array([[0, -1e9, -1e7, 1e9, 2e7], [0, -3e38, -3e38, 3e38, 3e38], [0, 0, 0, 1e30, 1e30],
                      [0, -9e4, 0, 9, 1e6], [0, 1e6, 1e6, -1e6, -1e6]], kind)
    grad = gradients_of_bins(np.random.default_rng(3), torch.float64, len(boxes), 1, 7, 7)
    rule, shape = (7, 1.0, ratio, True), (1, 1, 20, 40)
    check(gradient(grad, torch.from_numpy(boxes), shape, *rule), grad, boxes, shape, *rule)


@pytest.mark.parametrize("form", FORMATS)
def test_levels_images_and_those_without_a_roi(form):
    rng = np.random.default_rng(4)
    shapes = [(3, 5, side, side + 9) for side in (40, 20, 10, 5)]
    boxes = np.concatenate([rois(rng, 30, (2, 5, 80, 90)), rois(rng, 30, (2, 5, 80, 90), "small")]).astype(np.float32)
    scales = [0.5, 0.25, 0.125, 0.0625]
    rule = {"sampling_ratio": 2, "canonical_scale": 16, "canonical_level": 2}
    maps = [torch.zeros(shape).contiguous(memory_format=form).requires_grad_() for shape in shapes]
    output = ops.multiscale_roi_align(maps, torch.from_numpy(boxes), 7, scales, **rule)
    grad = gradients_of_bins(rng, torch.float32, *output.shape)
    output.backward(grad)
    wanted, spread = (reference.multiscale_roi_align_backward(g, boxes, shapes, 7, scales, **rule)
                      for g in (grad.numpy(), grad.abs().numpy()))
    for x, w, s in zip(maps, wanted, spread, strict=True):
        assert (np.abs(x.grad.numpy() - w) <= TOLERANCE["float32"] * (s + 1)).all()
        assert not x.grad[2].any()


def test_a_bins_gradient_that_is_not_finite_stays_where_the_bin_is():
    boxes = torch.tensor([[0, 2.0, 2, 6, 6], [0, 8.0, 2, 12, 6]])
    grad = torch.ones(2, 1, 2, 2)
    grad[0, 0, 0, 0] = float("nan")
    grad[1, 0, 1, 1] = float("inf")
    rule = (boxes, (1, 1, 20, 40), 2, 1.0, 2, True)
    x, touched = gradient(grad, *rule), gradient((~torch.isfinite(grad)).float(), *rule)
    assert torch.equal(torch.isfinite(x), touched == 0)


@pytest.mark.parametrize("form", FORMATS)
def test_every_run_gives_the_same_bits(form):
    rng = np.random.default_rng(5)
    shape = (2, 20, 30, 50)
    boxes = torch.from_numpy(rois(rng, 60, shape)).float()
    grad = torch.from_numpy(rng.standard_normal((60, 20, 7, 7)).astype(np.float32))
    first, *others = [gradient(grad, boxes, shape, 7, 1.0, 2, True, form=form) for _ in range(5)]
    assert first.any() and all(torch.equal(first, other) for other in others)


def test_without_rois_or_pixels():
    for shape in [(2, 3, 20, 40), (2, 3, 0, 4), (0, 3, 4, 4), (2, 0, 4, 4)]:
        result = gradient(torch.ones(0, shape[1], 7, 7), torch.empty(0, 5), shape, 7)
        assert result.shape == shape and not result.any()
    assert gradient(torch.ones(1, 3, 7, 7), torch.zeros(1, 5), (1, 3, 0, 4), 7).shape == (1, 3, 0, 4)


def test_a_batch_index_that_names_no_image_adds_nothing(device):
    if device == "cpu":
        pytest.skip("an IndexError on the CPU")
    boxes = torch.tensor([[i, 1.0, 1, 9, 9] for i in (-1, 0, 1, 2, 0.5, float("nan"), 1e30)])
    grad = torch.ones(7, 2, 3, 3)
    x = gradient(grad, boxes, (2, 2, 20, 40), 3, 1.0, 2, True)
    assert torch.equal(x, gradient(grad[1:3], boxes[1:3], (2, 2, 20, 40), 3, 1.0, 2, True)) and x.any()
