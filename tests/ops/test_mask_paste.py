"""Mask paste on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, kernels, ops
from roikit.reference import mask_paste as reference
from roikit.testing import strategies as some

RULES = ("continuous", "integer")


@st.composite
def cases(draw):
    boxes = draw(some.boxes(dtype=draw(st.sampled_from([np.float16, np.float32, np.float64])), max_size=4))
    return draw(some.soft_masks(len(boxes))), boxes


@given(case=cases(), size=st.tuples(st.integers(0, 20), st.integers(0, 20)), rule=st.sampled_from(RULES),
       threshold=st.sampled_from([None, 0.5, 1 / 3, 1.0]))
def test_paste_agrees_with_the_reference(case, size, rule, threshold):
    expected = reference.paste_masks(*case, size, threshold=threshold, rule=rule)
    masks, boxes = map(torch.from_numpy, case)
    got = ops.paste_masks(masks, boxes, size, threshold=threshold, rule=rule)
    assert str(got.dtype) == f"torch.{expected.dtype}"
    np.testing.assert_array_equal(got.numpy(), expected)
    if threshold is not None:
        runs = ops.paste_masks_rle(masks, boxes, size, threshold=threshold, rule=rule)
        assert runs == kernels.paste_masks_rle(*case, size, threshold=threshold, rule=rule)


def awkward_masks(cells, height, width, dtype):
    """Masks and boxes that meet an image's borders, fill it, or miss it, as NumPy arrays."""
    boxes = np.array([
        [-5, -5, width + 5, height + 5], [0, 0, width, height], [0, 0, width, height], [3, -2, width - 4, height + 2],
        [width - 7.5, height - 9, width, height], [0, 0, 1, 1], [width - 1, height - 1, width, height],
        [-40, 5.25, 17, 31], [width - 130, 0, width + 9, 33], [5, 3, 5 + 124, 35], [8, 1, 8 + 125, 34.5],
        [-3e8, -3e8, 3e8, 3e8], [width, 0, width + 9, 9], [9, 9, 4, 4], [np.nan, 0, 9, 9], [2, 4, 131, height],
        [-1e6, 0, width, height]], dtype)
    rng = np.random.default_rng(cells)
    line = np.linspace(-1, 1, cells)
    disc = 1 / (1 + np.exp(8 * (np.hypot(*np.meshgrid(line, line)) - 0.8)))
    masks = disc + 0.3 * rng.normal(size=(len(boxes), cells, cells))
    masks[[0, 2, 8]] = 1
    masks[4] = 0
    masks[1] = rng.random((cells, cells))
    return masks.astype(dtype), boxes


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cells, size, threshold, dtype", [
    (28, (70, 301), 0.5, np.float32), (1, (33, 128), 0.25, np.float32), (57, (65, 258), 0.5, np.float64),
    (14, (40, 255), 1 / 3, np.float32)])
def test_images_larger_than_a_tile_agree_with_the_cpu_kernels(rule, cells, size, threshold, dtype):
    case = awkward_masks(cells, *size, dtype)
    tensors = [torch.from_numpy(x) for x in case]
    for limit in (None, threshold):
        got = ops.paste_masks(*tensors, size, threshold=limit, rule=rule)
        np.testing.assert_array_equal(got.numpy(), kernels.paste_masks(*case, size, threshold=limit, rule=rule))
    runs = ops.paste_masks_rle(*tensors, size, threshold=threshold, rule=rule)
    assert runs == kernels.paste_masks_rle(*case, size, threshold=threshold, rule=rule)


def test_many_masks_agree_with_the_cpu_kernels():
    n, (height, width) = 700, (200, 500)
    rng = np.random.default_rng(3)
    corner = rng.uniform(-5, 1, (n, 2)) + rng.random((n, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + rng.uniform(1, 12, (n, 2))], 1).astype(np.float32)
    boxes[[0, 699]] = 0, 0, width, height
    masks = rng.random((n, 5, 5), np.float32)
    tensors = torch.from_numpy(masks), torch.from_numpy(boxes)
    got = ops.paste_masks(*tensors, (height, width))
    np.testing.assert_array_equal(got.numpy(), kernels.paste_masks(masks, boxes, (height, width)))
    assert ops.paste_masks_rle(*tensors, (height, width)) == kernels.paste_masks_rle(masks, boxes, (height, width))


@pytest.mark.parametrize("size, box, runs", [
    ((6, 70), [-50, -50, 200, 200], [0, 420]),         # inside everywhere: no zeros in front, one run
    ((6, 70), [-50, -50, 200, 3], [0, *[3] * 140]),
    ((6, 70), [10, -50, 40, 50], [60, 180, 180]),       # whole columns are one run
    ((6, 70), [80, 0, 90, 6], [420]),
    ((0, 70), [0, 0, 9, 9], [0]),
    ((6, 0), [0, 0, 9, 9], [0]),
])
def test_runs_of_simple_rectangles(size, box, runs):
    got = ops.paste_masks_rle(torch.ones(1, 4, 4), torch.tensor([box], dtype=torch.float32), size)
    counts = _rle.strings_from_counts(np.array(runs, np.uint32), np.array([0, len(runs)]))
    assert got == [{"size": list(size), "counts": counts[0]}]


def test_no_masks_have_no_runs():
    assert ops.paste_masks_rle(torch.ones(0, 4, 4), torch.ones(0, 4), (6, 70)) == []
    assert ops.paste_masks(torch.ones(0, 4, 4), torch.ones(0, 4), (6, 70)).shape == (0, 6, 70)


def some_masks(n=6, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(n, 2, generator=g) * 20 - 4
    boxes = torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=g) * 20], 1)
    return torch.rand(n, 1, 7, 7, generator=g).to(dtype), boxes.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_masks_and_boxes_are_cast_to_float32(dtype):
    masks, boxes = some_masks(dtype=dtype)
    for threshold in (None, 0.5):
        got = ops.paste_masks(masks, boxes, (24, 24), threshold=threshold)
        assert torch.equal(got, ops.paste_masks(masks.float(), boxes.float(), (24, 24), threshold=threshold))


@pytest.mark.parametrize("threshold, dtype", [(0.5, torch.bool), (None, torch.float32)])
def test_the_result_is_an_ordinary_tensor_without_gradient(threshold, dtype):
    masks, boxes = some_masks()
    out = ops.paste_masks(masks.requires_grad_(), boxes, (24, 30), threshold=threshold)
    assert out.shape == (6, 24, 30) and out.dtype == dtype and not out.requires_grad
    assert out.is_contiguous() and out.fill_(1).all()
    assert len(ops.paste_masks_rle(masks, boxes, (24, 30))) == 6


def test_the_result_does_not_depend_on_the_number_of_threads(device):
    if device != "cpu":
        pytest.skip("torch's threads are the CPU's")
    masks, boxes = some_masks(40)
    boxes, before = boxes * 20, torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append((ops.paste_masks(masks, boxes, (500, 500), threshold=None),
                            ops.paste_masks_rle(masks, boxes, (500, 500))))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("threshold", [0.5, None])
def test_registration(rule, threshold):
    masks, boxes = some_masks()
    torch.library.opcheck(torch.ops.roikit.paste_masks, (masks[:, 0], boxes, 20, 24, threshold, rule))
    torch.library.opcheck(torch.ops.roikit.paste_masks, (masks[:0, 0], boxes[:0], 20, 24, threshold, rule))


def test_compiled_code_gives_the_same():
    masks, boxes = some_masks()

    def both(masks, boxes):
        return (ops.paste_masks(masks, boxes, (20, 24)),
                ops.paste_masks(masks, boxes, (20, 24), threshold=None, rule="integer"))

    for x, y in zip(both(masks, boxes), torch.compile(both, fullgraph=True)(masks, boxes), strict=True):
        assert torch.equal(x, y)


MASKS, BOXES = torch.zeros(2, 3, 3), torch.zeros(2, 4)


@pytest.mark.parametrize("op", ["paste_masks", "paste_masks_rle"])
@pytest.mark.parametrize("arguments, named, kind, text", [
    ((MASKS[0], BOXES, (4, 4)), {}, ValueError,
     r"masks must have shape \(N, M, M\) or \(N, 1, M, M\), got \(3, 3\)"),
    ((MASKS.int(), BOXES, (4, 4)), {}, TypeError, "masks must be float16, bfloat16, float32 or float64, got int32"),
    (([[0.5]], BOXES, (4, 4)), {}, TypeError, "masks must be an array or a tensor, got list"),
    ((MASKS, BOXES[:1], (4, 4)), {}, ValueError, r"boxes must have one row a mask \(2\), got 1"),
    ((MASKS, BOXES.T, (4, 4)), {}, ValueError,
     r"boxes must have shape \(N, 4\), got \(4, 2\)\. Did you mean boxes\.T\?"),
    ((MASKS, BOXES.to("meta"), (4, 4)), {}, ValueError,
     "masks and boxes must be on the same device, got .* and meta"),
    ((MASKS, BOXES, (4, 4)), {"rule": "exact"}, ValueError, "rule must be one of 'continuous', 'integer', got 'exact'"),
    ((MASKS, BOXES, (4, -4)), {}, ValueError, "image_size must be at least 0, got -4"),
    ((MASKS, BOXES, (4, 4)), {"threshold": 0.0}, ValueError, r"threshold must be above 0, got 0\.0"),
    ((MASKS, BOXES, (4, 4)), {"threshold": 1e-60}, ValueError, "threshold must be above 0, got 1e-60"),
    ((MASKS, BOXES, (4, 4)), {"threshold": "half"}, TypeError, "threshold must be a number, got str"),
])
def test_contract(op, arguments, named, kind, text):
    with pytest.raises(kind, match=f"{op}: {text}"):
        getattr(ops, op)(*arguments, **named)


def test_contract_of_runs():
    with pytest.raises(TypeError, match="paste_masks_rle: threshold must be a number, got NoneType"):
        ops.paste_masks_rle(MASKS, BOXES, (4, 4), threshold=None)
    with pytest.raises(ValueError, match=r"paste_masks_rle: height \* width must be below 2\^32, got 65536 \* 65536"):
        ops.paste_masks_rle(MASKS, BOXES, (65536, 65536))
