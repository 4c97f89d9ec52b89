"""match_boxes on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some


@given(st.data(), st.sampled_from([np.float32, np.float64]),
       st.sampled_from([(0.7, 0.3), (0.5, 0.5), (0.5, 1 / 3), (0.5, 0.0)]), st.booleans())
def test_match_boxes_agrees_with_the_reference(data, dtype, limits, allow):
    anchors, gt_boxes = data.draw(some.boxes(dtype=dtype, max_size=24)), data.draw(some.boxes(dtype=dtype))
    with np.errstate(all="ignore"):
        expected = reference.match_boxes(anchors, gt_boxes, *limits, allow_low_quality=allow)
    found = ops.match_boxes(torch.from_numpy(anchors), torch.from_numpy(gt_boxes), *limits, allow_low_quality=allow)
    for mine, theirs in zip(found, expected, strict=True):
        assert str(mine.dtype) == f"torch.{theirs.dtype}"
        np.testing.assert_array_equal(mine.numpy(), theirs)


AWKWARD = [[0, 0, 0, 0], [3, 3, 1, 1], [np.nan, 0, 1, 1], [0, 0, np.inf, 1], [-np.inf, 0, np.inf, 4],
           [0, 0, 1e30, 1e30], [5, np.nan, 9, 9], [np.nan] * 4, [-0.0, 0, -0.0, 2], [2, 2, 6, 6]]


def whole_boxes(rng, n, dtype, spoilt):
    """Boxes with whole corners, so that IoUs are equal often; a part of them awkward."""
    corner = rng.integers(0, 60, (n, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 20, (n, 2))], axis=1).astype(dtype)
    where = rng.random(n) < spoilt
    boxes[where] = np.array(AWKWARD, dtype)[rng.integers(0, len(AWKWARD), where.sum())]
    return boxes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n, m", [(1, 1), (31, 33), (257, 31), (700, 64), (300, 257), (100, 600), (5, 0), (0, 5)])
@pytest.mark.parametrize("spoilt", [0, 0.2])
def test_matches_at_every_size(n, m, dtype, spoilt):
    rng = np.random.default_rng(n + m)
    anchors, gt_boxes = whole_boxes(rng, n, dtype, spoilt), whole_boxes(rng, m, dtype, spoilt)
    anchors = anchors[np.lexsort(anchors.T[:2])] if n % 2 else anchors  # neighbours in the image, or not
    for allow in (True, False):
        found = ops.match_boxes(torch.from_numpy(anchors), torch.from_numpy(gt_boxes), 0.6, 0.3,
                                allow_low_quality=allow)
        expected = kernels.match_boxes(anchors, gt_boxes, 0.6, 0.3, allow_low_quality=allow)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.numpy().tobytes() == theirs.tobytes()


def test_a_grid_of_anchors_and_equal_objects():
    cell = torch.tensor([[-8.0, -8, 8, 8], [-4, -8, 4, 8], [-8, -4, 8, 4]])
    anchors = ops.grid_anchors(cell, (24, 30), 4)
    gt_boxes = torch.tensor([[10.0, 10, 30, 26], [10, 10, 30, 26], [300, 300, 310, 310], [60, 50, 64, 54],
                             [9, 9, 9, 9]])
    found = ops.match_boxes(anchors, gt_boxes, 0.7, 0.3)
    expected = reference.match_boxes(anchors.numpy(), gt_boxes.numpy(), 0.7, 0.3)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs)
    assert not (found[0] == 1).any() and (found[1] == 1).any()


def test_boxes_at_any_address():
    numbers = torch.rand(80, generator=torch.Generator().manual_seed(0)) * 9
    anchors, gt_boxes = numbers[1:41].view(10, 4), numbers[43:55].view(3, 4)
    for mine, theirs in zip(ops.match_boxes(anchors, gt_boxes, 0.5, 0.3),
                            ops.match_boxes(anchors.clone(), gt_boxes.clone(), 0.5, 0.3), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_wider_dtype_is_that_of_the_result(dtype):
    anchors, gt_boxes = torch.tensor([[0, 0, 4, 4]], dtype=dtype), torch.tensor([[0, 0, 4, 3]], dtype=torch.float32)
    index, label, iou = ops.match_boxes(anchors, gt_boxes, 0.7, 0.3)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert (index.dtype, label.dtype, iou.dtype) == (torch.int64, torch.int8, wide)
    assert (index.item(), label.item(), iou.item()) == (0, 1, 0.75)


def test_nothing_requires_grad():
    boxes = torch.rand(3, 4, requires_grad=True)
    assert not any(t.requires_grad for t in ops.match_boxes(boxes, boxes, 0.7, 0.3))


@pytest.mark.parametrize("n, m", [(0, 3), (9, 0), (9, 3)])
def test_registration(n, m):
    torch.library.opcheck(torch.ops.roikit.match_boxes, (torch.rand(n, 4), torch.rand(m, 4), 0.7, 0.3, True))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same(dynamic):
    def match(anchors, gt_boxes):
        index, label, iou = ops.match_boxes(anchors, gt_boxes, 0.5, 0.3)
        return gt_boxes[index], label, iou * 2

    torch._dynamo.reset()
    compiled = torch.compile(match, fullgraph=True, dynamic=dynamic)
    for n, m in ((50, 4), (30, 7)):
        g = torch.Generator().manual_seed(n)
        boxes = torch.rand(n + m, 4, generator=g) + torch.tensor([0, 0, 1, 1])
        for mine, eager in zip(compiled(boxes[:n], boxes[n:]), match(boxes[:n], boxes[n:]), strict=True):
            assert torch.equal(mine, eager)


BOX = torch.zeros(2, 4)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.match_boxes(BOX[0], BOX, 0.7, 0.3), ValueError,
     r"match_boxes: anchors must have shape \(N, 4\), got \(4,\)"),
    (lambda: ops.match_boxes(BOX, BOX.long(), 0.7, 0.3), TypeError,
     "match_boxes: gt_boxes must be float16, .* got int64"),
    (lambda: ops.match_boxes(BOX, BOX.to("meta"), 0.7, 0.3), ValueError,
     "match_boxes: anchors and gt_boxes must be on the same device, got .* and meta"),
    (lambda: ops.match_boxes(BOX, BOX, 0.3, 0.7), ValueError,
     "match_boxes: low must be at most high, got low=0.7, high=0.3"),
    (lambda: ops.match_boxes(BOX, BOX, "0.7", 0.3), TypeError, "match_boxes: high must be a number, got str"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
