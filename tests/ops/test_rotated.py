"""Rotated boxes on tensors: agreement with the reference and the CPU kernels, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some


def random_case(n, seed=0, dtype=np.float32):
    """Crowded boxes with scores that tie and a few classes; some boxes and scores are awkward."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 200, (8, 2))[rng.integers(0, 8, n)] + rng.normal(0, 6, (n, 2))
    boxes = np.concatenate([centre, rng.uniform(5, 60, (n, 2)), rng.choice([0, 15, 90, -30.5], (n, 1))], 1)
    scores = rng.integers(0, max(n // 2, 2), n) / np.float32(n)
    if n > 10:
        odd = rng.integers(0, n, 6)
        boxes[odd[0], 2], boxes[odd[1], 3], boxes[odd[2], 4], boxes[odd[3]] = 0, -3, np.nan, np.inf
        scores[odd[4:]] = [np.nan, -np.inf]
    return boxes.astype(dtype), scores, rng.integers(-2, 3, n)


@given(some.rotated_boxes(max_size=8), some.rotated_boxes(dtype=np.float64, max_size=8), some.thresholds(), st.data())
def test_ops_agree_with_the_reference(boxes, others, threshold, data):
    scores = data.draw(some.scores(len(boxes)))
    idxs = np.array(data.draw(st.lists(st.integers(-1, 1), min_size=len(boxes), max_size=len(boxes))), np.int64)
    b, o, s, i = (torch.from_numpy(x) for x in (boxes, others, scores, idxs))
    for first, second in ((b, b), (b, o)):
        iou = ops.box_iou_rotated(first, second)
        expected = reference.box_iou_rotated(first.numpy(), second.numpy())
        assert iou.numpy().dtype == expected.dtype
        np.testing.assert_array_equal(iou.numpy(), expected)
    np.testing.assert_array_equal(ops.nms_rotated(b, s, threshold).numpy(),
                                  reference.nms_rotated(boxes, scores, threshold))
    np.testing.assert_array_equal(ops.batched_nms_rotated(b, s, i, threshold).numpy(),
                                  reference.batched_nms_rotated(boxes, scores, idxs, threshold))


def assert_as_on_the_cpu(boxes, scores, idxs, threshold):
    """The ops against the compiled CPU kernels, which tests/kernels holds to the reference."""
    b, s, i = (torch.from_numpy(x) for x in (boxes, scores, idxs))
    np.testing.assert_array_equal(ops.nms_rotated(b, s, threshold).numpy(),
                                  kernels.nms_rotated(boxes, scores, threshold))
    np.testing.assert_array_equal(ops.batched_nms_rotated(b, s, i, threshold).numpy(),
                                  kernels.batched_nms_rotated(boxes, scores, idxs, threshold))


@pytest.mark.parametrize("n", [1, 31, 33, 511, 512, 513, 1025])
def test_any_number_of_boxes(n):
    for seed, threshold in enumerate((0.2, 0.7)):
        assert_as_on_the_cpu(*random_case(n, seed, (np.float32, np.float64)[seed]), threshold)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1e-9, 1.0, float("inf")])
def test_thresholds_beyond_the_useful_ones(threshold):
    assert_as_on_the_cpu(*random_case(600, 3), threshold)


@pytest.mark.parametrize("step", [1, 31, 32, 511])
def test_long_chains(step):
    """Every box overlaps its neighbours alone, so that each decision hangs on the one before."""
    n = 600
    place = np.arange(n) * step % n if np.gcd(step, n) == 1 else np.arange(n)
    boxes = np.zeros((n, 5), np.float32)
    boxes[:, 0], boxes[:, 2:4], boxes[:, 4] = place * 4, (6, 3), 180
    assert_as_on_the_cpu(boxes, -np.arange(n, dtype=np.float32), np.zeros(n, np.int64), 0.1)


@pytest.mark.parametrize("n, m", [(0, 3), (3, 0), (1, 300), (300, 70)])
def test_box_iou_rotated_of_any_size(n, m):
    a, b = random_case(n, 1)[0], random_case(m, 2)[0]
    np.testing.assert_array_equal(ops.box_iou_rotated(torch.from_numpy(a), torch.from_numpy(b)).numpy(),
                                  kernels.box_iou_rotated(a, b))


def test_nothing_requires_grad():
    boxes = torch.tensor([[5.0, 5, 4, 2, 30]], requires_grad=True)
    assert not ops.box_iou_rotated(boxes, boxes).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_boxes_are_computed_in_float32(dtype):
    boxes, scores, _ = (torch.from_numpy(x) for x in random_case(40))
    boxes = boxes.to(dtype)
    iou = ops.box_iou_rotated(boxes, boxes)
    assert iou.dtype == torch.float32 and torch.equal(iou, ops.box_iou_rotated(boxes.float(), boxes.float()))
    assert torch.equal(ops.nms_rotated(boxes, scores, 0.5), ops.nms_rotated(boxes.float(), scores, 0.5))


def test_strided_tensors_are_read_as_they_are():
    boxes, scores, _ = (torch.from_numpy(x) for x in random_case(50))
    spread = torch.zeros(50, 10)[:, ::2]
    spread.copy_(boxes)
    assert torch.equal(ops.box_iou_rotated(spread, boxes), ops.box_iou_rotated(boxes, boxes))
    assert torch.equal(ops.nms_rotated(spread, scores, 0.3), ops.nms_rotated(boxes, scores, 0.3))


def test_opcheck():
    boxes, scores, idxs = (torch.from_numpy(x) for x in random_case(20))
    torch.library.opcheck(torch.ops.roikit.box_iou_rotated.default, (boxes, boxes[:7]))
    torch.library.opcheck(torch.ops.roikit.nms_rotated.default, (boxes, scores, 0.5))
    torch.library.opcheck(torch.ops.roikit.batched_nms_rotated.default, (boxes, scores, idxs, 0.5))


def test_compile(device):
    if device != "cpu":
        pytest.skip("once is enough")
    boxes, scores, idxs = (torch.from_numpy(x) for x in random_case(60))

    def both(b, s, i):
        return ops.box_iou_rotated(b, b).sum(), b[ops.batched_nms_rotated(b, s, i, 0.5)]

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for mine, theirs in zip(compiled(boxes, scores, idxs), both(boxes, scores, idxs), strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True)


BOX, SCORE = torch.zeros(2, 5), torch.zeros(2)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.box_iou_rotated(BOX[:, :4], BOX), ValueError,
     r"box_iou_rotated: boxes1 must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: ops.box_iou_rotated(BOX, BOX.int()), TypeError, "box_iou_rotated: boxes2 must be float16, .* got int32"),
    (lambda: ops.nms_rotated(BOX, SCORE[:1], 0.5), ValueError, r"nms_rotated: scores must have shape \(2,\)"),
    (lambda: ops.nms_rotated(BOX, SCORE, "0.5"), TypeError, "nms_rotated: iou_threshold must be a number, got str"),
    (lambda: ops.batched_nms_rotated(BOX, SCORE, SCORE, 0.5), TypeError,
     "batched_nms_rotated: idxs must be integers, got float32"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
