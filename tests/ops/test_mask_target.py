"""Mask targets on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, ops
from roikit.errors import BackendError
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
    runs, offsets = _rle.runs_of_bitmaps(masks.astype(np.uint8).transpose(1, 2, 0))
    listed = [{"size": list(masks.shape[1:]), "counts": text} for text in _rle.strings_from_counts(runs, offsets)]
    got = ops.mask_targets(listed, torch.from_numpy(boxes), torch.from_numpy(matched), 4, rule=rule)
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
def test_contract(arguments, named, kind, text):
    with pytest.raises(kind, match=f"mask_targets: .*{text}"):
        ops.mask_targets(*arguments, **named)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("masks", [MASKS, [[SQUARE]]])
def test_contract_of_cuda_tensors(masks):
    masks = masks.cuda() if isinstance(masks, torch.Tensor) else masks
    with pytest.raises(BackendError, match="mask_targets: the tensors are on cuda:0"):
        ops.mask_targets(masks, BOXES.cuda(), MATCHED.cuda() * 0, 3, image_size=(5, 5))
