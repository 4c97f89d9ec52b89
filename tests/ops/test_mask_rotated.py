"""Masks of rotated boxes on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, kernels, ops
from roikit.reference import mask_rotated as reference
from roikit.testing import strategies as some

RULES = ("soft", "binary")


@given(data=st.data(), size=st.tuples(st.integers(0, 20), st.integers(0, 20)),
       threshold=st.sampled_from([None, 0.5, 1 / 3, 1.0]))
@np.errstate(all="ignore")
def test_pasting_agrees_with_the_reference(data, size, threshold):
    boxes = data.draw(some.rotated_boxes(dtype=data.draw(st.sampled_from([np.float32, np.float64])), max_size=4))
    case = data.draw(some.soft_masks(len(boxes))), boxes
    expected = reference.paste_masks_rotated(*case, size, threshold=threshold)
    masks, boxes = map(torch.from_numpy, case)
    got = ops.paste_masks_rotated(masks, boxes, size, threshold=threshold)
    assert str(got.dtype) == f"torch.{expected.dtype}"
    np.testing.assert_array_equal(got.numpy(), expected)
    if threshold is not None:
        runs = ops.paste_masks_rotated_rle(masks, boxes, size, threshold=threshold)
        assert runs == kernels.paste_masks_rotated_rle(*case, size, threshold=threshold)


def awkward_masks(cells, height, width, dtype):
    """Masks and boxes that meet an image's borders, fill it, or miss it, as NumPy arrays."""
    middle = width / 2, height / 2
    boxes = np.array([
        [*middle, width + 9, height + 9, 0], [*middle, 4 * width, 4 * height, 33], [*middle, width, 7, 90],
        [*middle, 9, height, 0], [0, 0, 30, 20, 45], [width, height, 60, 20, -60], [5, 5, 1, 1, 10],
        [*middle, 3e8, 3e8, 45], [3 * width, 0, 9, 9, 0], [9, 9, -4, 4, 0], [np.nan, 0, 9, 9, 0],
        [*middle, width / 2, height / 3, 200], [*middle, 2, 3 * width, 70]], dtype)
    rng = np.random.default_rng(cells)
    line = np.linspace(-1, 1, cells)
    disc = 1 / (1 + np.exp(8 * (np.hypot(*np.meshgrid(line, line)) - 0.8)))
    masks = disc + 0.3 * rng.normal(size=(len(boxes), cells, cells))
    masks[[0, 2, 7]] = 1
    masks[4] = 0
    masks[1] = rng.random((cells, cells))
    return masks.astype(dtype), boxes


@pytest.mark.parametrize("cells, size, threshold, dtype", [
    (28, (70, 301), 0.5, np.float32), (1, (33, 128), 0.25, np.float32), (57, (65, 130), 0.5, np.float64)])
def test_images_of_several_warps_agree_with_the_cpu_kernels(cells, size, threshold, dtype):
    case = awkward_masks(cells, *size, dtype)
    tensors = [torch.from_numpy(x) for x in case]
    for limit in (None, threshold):
        got = ops.paste_masks_rotated(*tensors, size, threshold=limit)
        np.testing.assert_array_equal(got.numpy(), kernels.paste_masks_rotated(*case, size, threshold=limit))
    runs = ops.paste_masks_rotated_rle(*tensors, size, threshold=threshold)
    assert runs == kernels.paste_masks_rotated_rle(*case, size, threshold=threshold)


@pytest.mark.parametrize("size, box, runs", [
    ((6, 70), [35, 3, 300, 300, 30], [0, 420]),          # inside everywhere: no zeros in front, one run
    ((6, 70), [35, -48.5, 300, 103, 0], [0, *[3] * 140]),
    ((6, 70), [25, 0, 30, 100, 180], [60, 180, 180]),    # whole columns are one run
    ((6, 70), [17, 3, 100, 30, 90], [12, 180, 228]),     # which a turned box covers, too
    ((6, 70), [90, 3, 9, 6, 10], [420]),
    ((0, 70), [4, 4, 9, 9, 0], [0]),
    ((6, 0), [4, 4, 9, 9, 0], [0]),
])
def test_runs_of_simple_rectangles(size, box, runs):
    got = ops.paste_masks_rotated_rle(torch.ones(1, 4, 4), torch.tensor([box], dtype=torch.float32), size)
    counts = _rle.strings_from_counts(np.array(runs, np.uint32), np.array([0, len(runs)]))
    assert got == [{"size": list(size), "counts": counts[0]}]


def test_no_masks_have_no_runs():
    assert ops.paste_masks_rotated_rle(torch.ones(0, 4, 4), torch.ones(0, 5), (6, 70)) == []
    assert ops.paste_masks_rotated(torch.ones(0, 4, 4), torch.ones(0, 5), (6, 70)).shape == (0, 6, 70)


def some_masks(n=6, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    boxes = torch.cat([torch.rand(n, 2, generator=g) * 24, 1 + torch.rand(n, 2, generator=g) * 20,
                       torch.rand(n, 1, generator=g) * 360], 1)
    return torch.rand(n, 1, 7, 7, generator=g).to(dtype), boxes.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_cast_to_float32(dtype):
    masks, boxes = some_masks(dtype=dtype)
    for threshold in (None, 0.5):
        got = ops.paste_masks_rotated(masks, boxes, (24, 24), threshold=threshold)
        assert torch.equal(got, ops.paste_masks_rotated(masks.float(), boxes.float(), (24, 24), threshold=threshold))
    bitmaps, boxes, matched = some_targets()
    half = boxes.to(dtype)
    assert torch.equal(ops.mask_targets_rotated(bitmaps, half, matched, 5),
                       ops.mask_targets_rotated(bitmaps, half.float(), matched, 5))


@pytest.mark.parametrize("threshold, dtype", [(0.5, torch.bool), (None, torch.float32)])
def test_the_result_is_an_ordinary_tensor_without_gradient(threshold, dtype):
    masks, boxes = some_masks()
    out = ops.paste_masks_rotated(masks.requires_grad_(), boxes, (24, 30), threshold=threshold)
    assert out.shape == (6, 24, 30) and out.dtype == dtype and not out.requires_grad
    assert out.is_contiguous() and out.fill_(1).all()
    bitmaps, boxes, matched = some_targets()
    assert not ops.mask_targets_rotated(bitmaps, boxes.requires_grad_(), matched, 5).requires_grad


def rle(bitmaps):
    """The masks as a list of RLE dicts."""
    runs, offsets = _rle.runs_of_bitmaps(np.ascontiguousarray(bitmaps, np.uint8).transpose(1, 2, 0))
    return [{"size": list(bitmaps.shape[1:]), "counts": text} for text in _rle.strings_from_counts(runs, offsets)]


@given(data=st.data(), rule=st.sampled_from(RULES))
@np.errstate(all="ignore")
def test_targets_agree_with_the_reference(data, rule):
    masks = data.draw(some.bitmaps(dtype=data.draw(st.sampled_from([np.bool_, np.uint8, np.int64]))))
    boxes = data.draw(some.rotated_boxes(n=0 if len(masks) == 0 else None, max_size=4,
                                         dtype=data.draw(st.sampled_from([np.float32, np.float64]))))
    matched = np.array([data.draw(st.integers(0, len(masks) - 1)) for _ in boxes], np.int64)
    expected = reference.mask_targets_rotated(masks, boxes, matched, 4, rule=rule)
    for form in (torch.from_numpy(masks), rle(masks != 0)):
        got = ops.mask_targets_rotated(form, torch.from_numpy(boxes), torch.from_numpy(matched), 4, rule=rule)
        assert got.dtype == torch.float32
        np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_too_small_for_bins_agree_with_the_reference(dtype, rule):
    least = np.nextafter(dtype(0), dtype(1))
    boxes = np.array([[1, 1, w, h, 30] for w, h in ((2, least), (least, 2), (least, least), (3 * least, 2))], dtype)
    masks, matched = np.ones((1, 3, 3), bool), np.zeros(len(boxes), np.int64)
    for cells in (1, 4, 7):  # of one cell, the bin is the box
        expected = reference.mask_targets_rotated(masks, boxes, matched, cells, rule=rule)
        for form in (torch.from_numpy(masks), rle(masks)):
            got = ops.mask_targets_rotated(form, torch.from_numpy(boxes), torch.from_numpy(matched), cells, rule=rule)
            np.testing.assert_array_equal(got.numpy(), expected)
        assert cells > 1 or expected.all()


@pytest.mark.parametrize("size", [1, 7, 28])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_of_every_size_agree_with_the_cpu_kernels(size, dtype):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:90, :120]
    masks = np.stack([np.hypot(y - 40, x - 50) < 33, rng.random((90, 120)) < 0.5, x % 3 == 1, y >= 0])
    boxes = np.concatenate([rng.uniform(-10, 130, (12, 2)), np.exp(rng.uniform(0, 5, (12, 2))),
                            rng.uniform(-200, 200, (12, 1))], 1).astype(dtype)
    boxes[:3] = [[60, 45, 1e7, 40, 20], [60, 45, 120, 90, 0], [60, 45, 120, 90, 90]]
    matched = np.arange(12) % 4
    for rule in RULES:
        expected = kernels.mask_targets_rotated(masks, boxes, matched, size, rule=rule)
        for form in (torch.from_numpy(masks), rle(masks)):
            got = ops.mask_targets_rotated(form, torch.from_numpy(boxes), torch.from_numpy(matched), size, rule=rule)
            np.testing.assert_array_equal(got.numpy(), expected)


def some_targets():
    g = torch.Generator().manual_seed(0)
    boxes = torch.cat([torch.rand(8, 2, generator=g) * 24, 1 + torch.rand(8, 2, generator=g) * 20,
                       torch.rand(8, 1, generator=g) * 360], 1)
    return torch.rand(3, 24, 30, generator=g) < 0.7, boxes, torch.randint(0, 3, (8,), generator=g)


@pytest.mark.parametrize("threshold", [0.5, None])
def test_registration_of_pasting(threshold):
    masks, boxes = some_masks()
    torch.library.opcheck(torch.ops.roikit.paste_masks_rotated, (masks[:, 0], boxes, 20, 24, threshold))
    torch.library.opcheck(torch.ops.roikit.paste_masks_rotated, (masks[:0, 0], boxes[:0], 20, 24, threshold))


@pytest.mark.parametrize("binary", [False, True])
def test_registration_of_targets(binary):
    masks, boxes, matched = some_targets()
    torch.library.opcheck(torch.ops.roikit.mask_targets_rotated, (masks, boxes, matched, 5, binary))
    torch.library.opcheck(torch.ops.roikit.mask_targets_rotated, (masks, boxes[:0], matched[:0], 5, binary))


def test_compiled_code_gives_the_same():
    given = *some_masks(), *some_targets()

    def all_of_them(masks, boxes, bitmaps, rois, matched):
        return (ops.paste_masks_rotated(masks, boxes, (20, 24)),
                ops.paste_masks_rotated(masks, boxes, (20, 24), threshold=None),
                ops.mask_targets_rotated(bitmaps, rois, matched, 5))

    for x, y in zip(all_of_them(*given), torch.compile(all_of_them, fullgraph=True)(*given), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("shape", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (1, 1, 1)])
def test_empty_and_tiny(shape):
    masks, boxes = np.ones(shape, bool), torch.tensor([[0.5, 0.5, 1, 1, 0]])
    for form in (torch.from_numpy(masks), rle(masks)):
        assert ops.mask_targets_rotated(form, boxes[:0], torch.zeros(0, dtype=torch.int64), 3).shape == (0, 3, 3)
        if shape[0]:
            assert (ops.mask_targets_rotated(form, boxes, torch.tensor([0]), 3) == min(shape)).all()


def test_an_index_that_names_no_mask_gives_0_on_a_gpu(device):
    if device == "cpu":
        pytest.skip("the CPU raises")
    masks, boxes, matched = some_targets()
    wrong = matched.clone()
    wrong[[1, 4]] = torch.tensor([-1, 3])
    for form in (masks, rle(masks.numpy())):
        expected = ops.mask_targets_rotated(form, boxes, matched, 5)
        expected[[1, 4]] = 0
        assert torch.equal(ops.mask_targets_rotated(form, boxes, wrong, 5), expected)


BITMAPS, BOXES, MATCHED = torch.zeros(2, 5, 5, dtype=torch.bool), torch.ones(3, 5), torch.tensor([0, 1, 1])


@pytest.mark.parametrize("arguments, named, kind, text", [
    ((BITMAPS[0], BOXES, MATCHED, 3), {}, ValueError, r"masks must have shape \(N, H, W\), got \(5, 5\)"),
    ((BITMAPS.float(), BOXES, MATCHED, 3), {}, TypeError, "masks must be bool, .* or int64, got float32"),
    ((BITMAPS, BOXES[:, :4], MATCHED, 3), {}, ValueError, r"boxes must have shape \(N, 5\), got \(3, 4\)"),
    ((BITMAPS, BOXES.to("meta"), MATCHED, 3), {}, ValueError,
     "masks and boxes must be on the same device, got .* and meta"),
    ((BITMAPS, BOXES, MATCHED + 1, 3), {}, IndexError, r"matched must lie in \[0, 2\), got 2"),
    (([[[0, 0, 4, 0, 4, 4]]], BOXES, MATCHED, 3), {"image_size": (5, 5)}, IndexError,
     r"matched must lie in \[0, 1\), got 1"),
    ((BITMAPS, BOXES, MATCHED, 3), {"rule": "hard"}, ValueError, "rule must be one of 'soft', 'binary', got 'hard'"),
])
def test_contract_of_targets(arguments, named, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(kind, match=f"mask_targets_rotated: .*{text}"):
        ops.mask_targets_rotated(*arguments, **named)


MASKS = torch.zeros(3, 3, 3)


@pytest.mark.parametrize("op", ["paste_masks_rotated", "paste_masks_rotated_rle"])
@pytest.mark.parametrize("arguments, named, kind, text", [
    ((MASKS[0], BOXES, (4, 4)), {}, ValueError, r"masks must have shape \(N, M, M\) or \(N, 1, M, M\), got \(3, 3\)"),
    ((MASKS.int(), BOXES, (4, 4)), {}, TypeError, "masks must be float16, bfloat16, float32 or float64, got int32"),
    ((MASKS, BOXES[:1], (4, 4)), {}, ValueError, r"boxes must have one row a mask \(3\), got 1"),
    ((MASKS, BOXES[:, :4], (4, 4)), {}, ValueError, r"boxes must have shape \(N, 5\), got \(3, 4\)"),
    ((MASKS, BOXES, (4, -4)), {}, ValueError, "image_size must be at least 0, got -4"),
    ((MASKS, BOXES, (4, 4)), {"threshold": 0.0}, ValueError, r"threshold must be above 0, got 0\.0"),
])
def test_contract_of_pasting(op, arguments, named, kind, text):
    with pytest.raises(kind, match=f"{op}: {text}"):
        getattr(ops, op)(*arguments, **named)
