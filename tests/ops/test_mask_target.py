"""Mask targets on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, kernels, ops
from roikit.reference import mask_target as reference
from roikit.testing import strategies as some

RULES = ("soft", "binary")


@given(data=st.data(), rule=st.sampled_from(RULES))
def test_targets_agree_with_the_reference(data, rule):
    masks = data.draw(some.bitmaps(dtype=data.draw(st.sampled_from([np.bool_, np.uint8, np.int64]))))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    boxes = data.draw(some.boxes(n=0 if len(masks) == 0 else None, dtype=dtype))
    matched = np.array([data.draw(st.integers(0, len(masks) - 1)) for _ in boxes], np.int64)
    expected = reference.mask_targets(masks, boxes, matched, 4, rule=rule)
    got = ops.mask_targets(*map(torch.from_numpy, (masks, boxes, matched)), 4, rule=rule)
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got.numpy(), expected)
    got = ops.mask_targets(rle(masks != 0), torch.from_numpy(boxes), torch.from_numpy(matched), 4, rule=rule)
    np.testing.assert_array_equal(got.numpy(), expected)


def some_targets():
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(8, 2, generator=g) * 20 - 4
    boxes = torch.cat([corner, corner + 1 + torch.rand(8, 2, generator=g) * 20], 1)
    return torch.rand(3, 24, 30, generator=g) < 0.7, boxes, torch.randint(0, 3, (8,), generator=g)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_boxes_are_cast_to_float32(dtype):
    masks, boxes, matched = some_targets()
    half = boxes.to(dtype)
    assert torch.equal(ops.mask_targets(masks, half, matched, 5), ops.mask_targets(masks, half.float(), matched, 5))


def test_polygons_give_what_their_bitmap_gives():
    boxes, matched = torch.tensor([[1.0, 1, 9, 9], [-3, 2, 5.5, 30]]), torch.tensor([0, 0])
    bitmap = torch.zeros(1, 12, 10, dtype=torch.uint8)
    bitmap[:, 2:8, 3:7] = 1
    for rule in RULES:
        got = ops.mask_targets([[[3, 2, 7, 2, 7, 8, 3, 8]]], boxes, matched, 4, rule=rule, image_size=(12, 10))
        assert got.any() and torch.equal(got, ops.mask_targets(bitmap, boxes, matched, 4, rule=rule))


def test_views_of_masks_are_taken_and_the_result_has_no_gradient():
    masks, boxes, matched = some_targets()
    expected = ops.mask_targets(masks, boxes, matched, 5)
    turned = masks.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(ops.mask_targets(turned, boxes, matched.int(), 5), expected)
    assert not ops.mask_targets(masks, boxes.requires_grad_(), matched, 5).requires_grad


@pytest.mark.parametrize("binary", [False, True])
def test_registration(binary):
    masks, boxes, matched = some_targets()
    torch.library.opcheck(torch.ops.roikit.mask_targets, (masks, boxes, matched, 5, binary))
    torch.library.opcheck(torch.ops.roikit.mask_targets, (masks, boxes[:0], matched[:0], 5, binary))


def test_compiled_code_gives_the_same():
    masks, boxes, matched = some_targets()

    def both(masks, boxes, matched):
        return ops.mask_targets(masks, boxes, matched, 5), ops.mask_targets(masks, boxes, matched, 7, rule="binary")

    compiled = torch.compile(both, fullgraph=True)(masks, boxes, matched)
    for x, y in zip(both(masks, boxes, matched), compiled, strict=True):
        assert torch.equal(x, y)


def rle(bitmaps):
    """The masks as a list of RLE dicts."""
    runs, offsets = _rle.runs_of_bitmaps(np.ascontiguousarray(bitmaps, np.uint8).transpose(1, 2, 0))
    return [{"size": list(bitmaps.shape[1:]), "counts": text} for text in _rle.strings_from_counts(runs, offsets)]


def shapes(n, height, width):
    """Bitmaps: full, noise, stripes, and discs."""
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:height, :width]
    masks = [np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width)) < rng.uniform(3, height) for _ in range(n)]
    masks[0] |= True
    masks[1] = rng.random((height, width)) < 0.5
    masks[2] = x % 3 == 1
    return np.array(masks)


def agree_with_the_cpu_kernels(masks, boxes, matched, size):
    for rule in RULES:
        expected = kernels.mask_targets(masks, boxes, matched, size, rule=rule)
        for form in (torch.from_numpy(masks), rle(masks)):
            got = ops.mask_targets(form, torch.from_numpy(boxes), torch.from_numpy(matched), size, rule=rule)
            np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("size", [1, 7, 28, 130])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_of_every_size_agree_with_the_cpu_kernels(size, dtype):
    masks = shapes(4, 90, 300)
    boxes = np.array([[3, 4, 200.5, 80.25], [-20, -30, 400, 95], [0, 0, 300, 90], [290, 80, 310, 99],
                      [5, 5, 6.5, 5.25], [-3e4, -2e4, 5e4, 3e4], [10, 7, 10, 7], [40, 60, 20, 30],
                      [301.5, 0, 320, 20], [0, 88, 299, 91]], dtype)
    agree_with_the_cpu_kernels(masks, boxes, np.arange(len(boxes)) % 4, size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_boxes_agree_with_the_cpu_kernels(dtype):
    far = [1e6, 1e9, 3e9, 1e20, 3e38]
    boxes = np.array([[-v, -v, w, w] for v in far for w in (20, *far)] + [[5, -1e9, 9, 1e9], [-1e9, 3, 1e9, 8]], dtype)
    agree_with_the_cpu_kernels(shapes(3, 40, 50), boxes, np.arange(len(boxes)) % 3, 5)


def test_a_mask_wider_than_what_is_held_at_a_time():
    masks = shapes(3, 300, 2300)
    boxes = np.array([[0, 0, 2300, 300], [7, 3, 2290, 299], [-9, -9, 1024, 40], [1000.5, 60, 1100, 250]], np.float32)
    agree_with_the_cpu_kernels(masks, boxes, np.array([0, 1, 2, 1]), 3)


def test_masks_of_several_sizes():
    masks = [rle(shapes(3, 20, 30))[1], rle(shapes(3, 50, 9))[1], rle(shapes(3, 20, 30))[2], [[1, 1, 8, 2, 7, 9]]]
    boxes = torch.tensor([[1.0, 2, 25, 30]] * 4)
    got = ops.mask_targets(masks, boxes, torch.tensor([3, 2, 1, 0]), 6, image_size=(12, 10))
    for index, target in zip((3, 2, 1, 0), got, strict=True):
        alone = kernels.mask_targets(masks[index : index + 1], boxes[:1].numpy(), np.array([0]), 6, image_size=(12, 10))
        np.testing.assert_array_equal(target.numpy(), alone[0])


@pytest.mark.parametrize("shape", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (1, 1, 1)])
def test_empty_and_tiny(shape):
    masks, boxes = np.ones(shape, bool), torch.tensor([[0.0, 0, 1, 1]])
    for form in (torch.from_numpy(masks), rle(masks)):
        assert ops.mask_targets(form, boxes[:0], torch.zeros(0, dtype=torch.int64), 3).shape == (0, 3, 3)
        if shape[0]:
            assert (ops.mask_targets(form, boxes, torch.tensor([0]), 3) == min(shape)).all()


def test_an_index_that_names_no_mask_gives_0_on_a_gpu(device):
    if device == "cpu":
        pytest.skip("the CPU raises")
    masks, boxes, matched = some_targets()
    wrong = matched.clone()
    wrong[[1, 4]] = torch.tensor([-1, 3])
    for form in (masks, rle(masks.numpy())):
        expected = ops.mask_targets(form, boxes, matched, 5)
        expected[[1, 4]] = 0
        assert torch.equal(ops.mask_targets(form, boxes, wrong, 5), expected)


MASKS, BOXES, MATCHED = torch.zeros(2, 5, 5, dtype=torch.bool), torch.ones(3, 4), torch.tensor([0, 1, 1])
SQUARE = [0, 0, 4, 0, 4, 4]


@pytest.mark.parametrize("arguments, named, kind, text", [
    ((MASKS[0], BOXES, MATCHED, 3), {}, ValueError, r"masks must have shape \(N, H, W\), got \(5, 5\)"),
    ((MASKS.float(), BOXES, MATCHED, 3), {}, TypeError, "masks must be bool, .* or int64, got float32"),
    ((MASKS, BOXES.T, MATCHED, 3), {}, ValueError, r"boxes must have shape \(N, 4\), got \(4, 3\)"),
    ((MASKS, BOXES, MATCHED[:2], 3), {}, ValueError, r"matched must have shape \(3,\)"),
    ((MASKS, BOXES, MATCHED.float(), 3), {}, TypeError, "matched must be uint8, .* or int64, got float32"),
    ((MASKS, BOXES, [0, 1, 1], 3), {}, TypeError, "matched must be an array or a tensor, got list"),
    ((MASKS, BOXES.to("meta"), MATCHED, 3), {}, ValueError,
     "masks and boxes must be on the same device, got .* and meta"),
    ((MASKS, BOXES, MATCHED + 1, 3), {}, IndexError, r"matched must lie in \[0, 2\), got 2"),
    (([[SQUARE]], BOXES, MATCHED, 3), {"image_size": (5, 5)}, IndexError, r"matched must lie in \[0, 1\), got 1"),
    (([[SQUARE]] * 2, BOXES, MATCHED, 3), {}, ValueError, "image_size must be given with polygons, got None"),
    (([[SQUARE[:4]]] * 2, BOXES, MATCHED, 3), {"image_size": (5, 5)}, ValueError, "at least 3 points"),
    ((MASKS, BOXES, MATCHED, 0), {}, ValueError, "size must be at least 1, got 0"),
    ((MASKS, BOXES, MATCHED, 3), {"rule": "hard"}, ValueError, "rule must be one of 'soft', 'binary', got 'hard'"),
])
def test_contract(arguments, named, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(kind, match=f"mask_targets: .*{text}"):
        ops.mask_targets(*arguments, **named)
