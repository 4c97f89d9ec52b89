"""soft_nms, fast_nms and matrix_nms on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some

from ..crowds import candidates

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
METHODS = ("linear", "gaussian", "naive")


def assert_same(found, expected):
    found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.numpy().dtype == theirs.dtype
        np.testing.assert_array_equal(mine.numpy(), theirs)


@given(some.boxes_and_scores(max_size=16), some.thresholds(), st.sampled_from(METHODS),
       st.sampled_from([1e-3, 0.3, -0.5, -np.inf]), st.integers(0, 12), st.data())
def test_ops_agree_with_the_reference(case, threshold, method, limit, top_k, data):
    boxes, scores = case
    idxs = np.array(data.draw(st.lists(st.integers(-1, 1), min_size=len(boxes), max_size=len(boxes))), np.int64)
    cross = data.draw(st.booleans())
    b, s, i = (torch.from_numpy(x) for x in (boxes, scores, idxs))
    with np.errstate(all="ignore"):
        assert_same(ops.soft_nms(b, s, threshold, min_score=limit, method=method),
                    reference.soft_nms(boxes, scores, threshold, min_score=limit, method=method))
        assert_same(ops.fast_nms(b, s, i, threshold, top_k=top_k, cross_class=cross),
                    reference.fast_nms(boxes, scores, idxs, threshold, top_k=top_k, cross_class=cross))
        if method != "naive":
            assert_same(ops.matrix_nms(b, s, i, min_score=limit, method=method),
                        reference.matrix_nms(boxes, scores, idxs, min_score=limit, method=method))


@pytest.mark.parametrize("n", [0, 1, 31, 33, 1023, 1025, 2100])
def test_any_number_of_boxes(n):
    """Against the compiled CPU kernels, which tests/kernels holds to the reference."""
    for dtype in (np.float32, np.float64)[: 1 if n > 1025 else 2]:
        given = candidates(n, n, dtype)
        b, s, i = (torch.from_numpy(x) for x in given)
        for method, limit in (("linear", 0.2), ("gaussian", 0.3), ("naive", 1e-3)):
            assert_same(ops.soft_nms(b, s, min_score=limit, method=method),
                        kernels.soft_nms(*given[:2], min_score=limit, method=method))
            if method != "naive":
                assert_same(ops.matrix_nms(b, s, i, method=method), kernels.matrix_nms(*given, method=method))
        for top_k, cross in ((200, False), (10, True), (0, False)):
            assert_same(ops.fast_nms(b, s, i, 0.4, top_k=top_k, cross_class=cross),
                        kernels.fast_nms(*given, 0.4, top_k=top_k, cross_class=cross))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("score_dtype", FLOATS)
def test_boxes_and_scores_are_cast_to_their_common_dtype(dtype, score_dtype):
    boxes, scores, idxs = (torch.from_numpy(x) for x in candidates(40, 3))
    boxes, scores = boxes.to(dtype), scores.to(score_dtype)
    wide = torch.promote_types(torch.promote_types(dtype, score_dtype), torch.float32)
    exact = boxes.to(wide).numpy(), scores.to(wide).numpy()
    with np.errstate(all="ignore"):
        assert_same(ops.soft_nms(boxes, scores), reference.soft_nms(*exact))
        assert_same(ops.matrix_nms(boxes, scores, idxs), reference.matrix_nms(*exact, idxs.numpy()))


def test_results_do_not_require_grad_and_inputs_may():
    boxes, scores, idxs = (torch.from_numpy(x) for x in candidates(30, 5))
    boxes.requires_grad_(), scores.requires_grad_()
    results = *ops.soft_nms(boxes, scores), ops.fast_nms(boxes, scores, idxs, 0.5), *ops.matrix_nms(boxes, scores, idxs)
    assert not any(x.requires_grad for x in results)


@pytest.mark.parametrize("n", [0, 1, 40])
def test_registration(n):
    boxes, scores, idxs = (torch.from_numpy(x) for x in candidates(n, n))
    scores = scores.nan_to_num(0.5)  # opcheck takes NaN for different from itself
    torch.library.opcheck(torch.ops.roikit.soft_nms, (boxes, scores, 0.3, 0.5, 1e-3, "linear"))
    torch.library.opcheck(torch.ops.roikit.fast_nms, (boxes, scores, idxs, 0.5, 7))
    torch.library.opcheck(torch.ops.roikit.matrix_nms, (boxes, scores, idxs, 2.0, 1e-3, "gaussian"))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same(dynamic):
    def detect(boxes, scores, idxs):
        kept, decayed = ops.soft_nms(boxes, scores, method="gaussian")
        fast = ops.fast_nms(boxes, scores, idxs, 0.5)
        return boxes[kept], decayed, scores[fast], *ops.matrix_nms(boxes, scores, idxs)

    torch._dynamo.reset()
    compiled = torch.compile(detect, fullgraph=True, dynamic=dynamic)
    for n in (40, 25):
        given = [torch.from_numpy(x) for x in candidates(n, n)]
        for mine, eager in zip(compiled(*given), detect(*given), strict=True):
            torch.testing.assert_close(mine, eager, rtol=0, atol=0, equal_nan=True)


BOX, SCORE, CLASS = torch.zeros(2, 4), torch.zeros(2), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.soft_nms(BOX, SCORE[:1]), ValueError, r"soft_nms: scores must have shape \(2,\), one entry for each"),
    (lambda: ops.soft_nms(BOX, SCORE, sigma=-1.0), ValueError, "soft_nms: sigma must be positive and finite, got -1"),
    (lambda: ops.soft_nms(BOX, SCORE, float("nan")), ValueError, "soft_nms: iou_threshold must not be NaN"),
    (lambda: ops.soft_nms(BOX, SCORE, method="hard"), ValueError, "soft_nms: method must be one of .*'hard'"),
    (lambda: ops.fast_nms(BOX, SCORE, SCORE, 0.5), TypeError, "fast_nms: idxs must be integers, got float32"),
    (lambda: ops.fast_nms(BOX, SCORE, CLASS, 0.5, top_k=2.5), TypeError, "fast_nms: top_k must be a whole number"),
    (lambda: ops.matrix_nms(BOX, SCORE, CLASS[:1]), ValueError, r"matrix_nms: idxs must have shape \(2,\)"),
    (lambda: ops.matrix_nms(BOX, SCORE.to("meta"), CLASS), ValueError, "matrix_nms: boxes and scores must be on the"),
    (lambda: ops.matrix_nms(BOX, SCORE, CLASS, method="naive"), ValueError, "matrix_nms: method must be one of"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
