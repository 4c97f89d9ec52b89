"""match_boxes on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import ops, reference
from roikit.testing import strategies as some


@given(some.boxes(max_size=24), some.boxes(), st.sampled_from([(0.7, 0.3), (0.5, 0.5), (0.5, 1 / 3)]), st.booleans())
def test_match_boxes_agrees_with_the_reference(anchors, gt_boxes, limits, allow):
    with np.errstate(all="ignore"):
        expected = reference.match_boxes(anchors, gt_boxes, *limits, allow_low_quality=allow)
    found = ops.match_boxes(torch.from_numpy(anchors), torch.from_numpy(gt_boxes), *limits, allow_low_quality=allow)
    for mine, theirs in zip(found, expected, strict=True):
        assert str(mine.dtype) == f"torch.{theirs.dtype}"
        np.testing.assert_array_equal(mine.numpy(), theirs)


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
