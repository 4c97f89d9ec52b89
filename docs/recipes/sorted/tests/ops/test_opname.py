"""opname on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some

from ..crowds import candidates

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@given(some.boxes_and_scores(max_size=16), st.sampled_from([0.0, 0.5, 1.0, 2.5, 1e30]))
def test_agrees_with_the_reference(case, distance):
    found = ops.opname(*map(torch.from_numpy, case), distance)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), reference.opname(*case, distance))


@pytest.mark.parametrize("n", [0, 1, 33, 1023, 1025, 2100])
def test_any_number_of_boxes(n):
    """Against the compiled CPU kernels, which tests/kernels holds to the reference."""
    for dtype in (np.float32, np.float64):
        boxes, scores, _ = candidates(n, n, dtype)
        found = ops.opname(torch.from_numpy(boxes), torch.from_numpy(scores), 20)
        np.testing.assert_array_equal(found.numpy(), kernels.opname(boxes, scores, 20))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("score_dtype", FLOATS)
def test_half_boxes_are_cast_and_scores_have_any_dtype(dtype, score_dtype):
    boxes, scores, _ = (torch.from_numpy(x) for x in candidates(40, 3))
    boxes, scores = boxes.to(dtype), scores.to(score_dtype)
    wide = boxes.double() if dtype == torch.float64 else boxes.float()
    found = ops.opname(boxes, scores, 3)
    assert torch.equal(found, ops.opname(wide, scores.double(), 3))


def test_results_do_not_require_grad_and_inputs_may():
    boxes, scores, _ = (torch.from_numpy(x) for x in candidates(30, 5))
    assert not ops.opname(boxes.requires_grad_(), scores.requires_grad_(), 3).requires_grad


@pytest.mark.parametrize("n", [0, 1, 40])
def test_registration(n):
    boxes, scores, _ = (torch.from_numpy(x) for x in candidates(n, n))
    torch.library.opcheck(torch.ops.roikit.opname, (boxes, scores, 3.0))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same(dynamic):
    def best(boxes, scores):
        return boxes[ops.opname(boxes, scores, 3)]

    torch._dynamo.reset()
    compiled = torch.compile(best, fullgraph=True, dynamic=dynamic)
    for n in (40, 25):
        boxes, scores, _ = (torch.from_numpy(x) for x in candidates(n, n))
        torch.testing.assert_close(compiled(boxes, scores), best(boxes, scores), rtol=0, atol=0, equal_nan=True)


BOX, SCORE = torch.zeros(2, 4), torch.zeros(2)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.opname(BOX[:, :3], SCORE, 1), ValueError, r"boxes must have shape \(N, 4\), got"),
    (lambda: ops.opname(BOX, SCORE[:1], 1), ValueError, r"scores must have shape \(2,\), one entry"),
    (lambda: ops.opname(BOX, SCORE.to("meta"), 1), ValueError, "boxes and scores must be on the same"),
    (lambda: ops.opname(BOX, SCORE, -1.0), ValueError, "distance must be finite and at least 0"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=f"opname: {text}"):
        call()
