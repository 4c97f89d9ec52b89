"""weighted_boxes_fusion on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some

from ..crowds import candidates

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
CONF_TYPES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")
OPTIONS = st.fixed_dictionaries({
    "weights": st.sampled_from([None, [1, 2, 0.7], [0.3, 0, 1, 1]]), "iou_threshold": some.thresholds(),
    "skip_box_threshold": st.sampled_from([0.0, 0.25, -np.inf]), "conf_type": st.sampled_from(CONF_TYPES),
    "allows_overflow": st.booleans()})


def detections(n, seed, dtype=np.float32):
    return *candidates(n, seed, dtype), np.random.default_rng(seed).integers(0, 4, n)


def tensors(arrays):
    return [torch.from_numpy(x) for x in arrays]


def same(found, expected):
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        theirs = torch.as_tensor(theirs)
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


@given(st.data(), some.boxes_and_scores(max_size=16), OPTIONS)
def test_agrees_with_the_reference(data, case, options):
    n = len(case[0])
    whole = st.lists(st.integers(0, 2), min_size=n, max_size=n)
    case = (*case, *(np.array(data.draw(whole), np.int64) for _ in range(2)))
    same(ops.weighted_boxes_fusion(*tensors(case), **options), reference.weighted_boxes_fusion(*case, **options))


@pytest.mark.parametrize("n, conf_type", [*((n, conf_type) for n in (0, 1, 33, 257) for conf_type in CONF_TYPES),
                                          (1025, "box_and_model_avg")])
def test_any_number_of_boxes(n, conf_type):
    """Against the compiled CPU kernels, which tests/kernels holds to the reference."""
    for dtype, weights in ((np.float32, None), (np.float64, [0.3, 0.7, 0.1, 1.1])):
        case = detections(n, n, dtype)
        same(ops.weighted_boxes_fusion(*tensors(case), weights, conf_type=conf_type),
             kernels.weighted_boxes_fusion(*case, weights, conf_type=conf_type))


def test_more_clusters_of_a_class_than_threads_of_a_block():
    corner = torch.arange(600.0).reshape(300, 2) * 7
    boxes = torch.cat([corner, corner + 10], 1).repeat(2, 1)
    scores, zeros = torch.linspace(1, 0.5, 600), torch.zeros(600, dtype=torch.int64)
    models = torch.arange(600) // 300
    found = ops.weighted_boxes_fusion(boxes, scores, zeros, models)
    assert len(found[0]) == 300
    same(found, kernels.weighted_boxes_fusion(*(x.numpy() for x in (boxes, scores, zeros, models))))


@pytest.mark.parametrize("places", [(3, 4), (4, 3), (60, 70, 130), (299, 1, 257, 255), (64, 128)])
def test_of_equal_overlaps_the_earliest_cluster_is_joined(places):
    """Boxes far apart by score, but for the last: it has an IoU of 0.36 with each of those at the places."""
    corners = 1000 * torch.arange(2.0, 302)[:, None].repeat(1, 2)
    corners[list(places)] = torch.tensor([[0.0, 0], [40, 0], [0, 40], [40, 40]])[: len(places)]
    boxes = torch.cat([torch.cat([corners, corners + 60], 1), torch.tensor([[0.0, 0, 100, 100]])])
    none = torch.zeros(len(boxes), dtype=torch.int64)
    fused, *_ = ops.weighted_boxes_fusion(boxes, torch.linspace(1, 0.5, len(boxes)), none, none, iou_threshold=0.3)
    kept = {tuple(box) for box in fused.tolist()}
    assert [i for i in places if tuple(boxes[i].tolist()) not in kept] == [min(places)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("score_dtype", FLOATS)
def test_half_is_cast_and_the_wider_dtype_comes_back(dtype, score_dtype):
    boxes, scores, *rest = tensors(detections(40, 3))
    boxes, scores = boxes.to(dtype), scores.to(score_dtype)
    wide = torch.float64 if torch.float64 in (dtype, score_dtype) else torch.float32
    found = ops.weighted_boxes_fusion(boxes, scores, *rest)
    assert found[0].dtype == found[1].dtype == wide and found[2].dtype == torch.int64
    same(found, ops.weighted_boxes_fusion(boxes.to(wide), scores.to(wide), *rest))


def test_weights_may_be_a_tensor():
    case = tensors(detections(40, 7))
    same(ops.weighted_boxes_fusion(*case, torch.tensor([1.0, 2, 3, 4])), ops.weighted_boxes_fusion(*case, [1, 2, 3, 4]))


def test_results_do_not_require_grad_and_inputs_may():
    boxes, scores, *rest = tensors(detections(30, 5))
    found = ops.weighted_boxes_fusion(boxes.requires_grad_(), scores.requires_grad_(), *rest)
    assert not any(x.requires_grad for x in found)


def test_boxes_of_a_model_that_is_none(device, monkeypatch):
    case = tensors(detections(60, 9))
    models = case[3]
    models[::5], models[1::7] = -1, 4
    known = (models >= 0) & (models < 4)
    text = r"weighted_boxes_fusion: models must lie in \[0, 4\), got -1"
    if device == "cpu":
        with pytest.raises(IndexError, match=text):
            ops.weighted_boxes_fusion(*case, [1, 2, 3, 4])
        return
    same(ops.weighted_boxes_fusion(*case, [1, 2, 3, 4]),
         ops.weighted_boxes_fusion(*(x[known] for x in case), [1, 2, 3, 4]))
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(IndexError, match=text):
        ops.weighted_boxes_fusion(*case, [1, 2, 3, 4])


@pytest.mark.parametrize("n", [0, 1, 40])
@pytest.mark.parametrize("weights", [[], [1.0, 2.0, 3.0, 4.0]])
def test_registration(n, weights):
    arguments = (*tensors(detections(n, n)), weights, 0.55, 0.0, "box_and_model_avg", False)
    torch.library.opcheck(torch.ops.roikit.weighted_boxes_fusion, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same(dynamic):
    def fuse(*case):
        boxes, scores, idxs = ops.weighted_boxes_fusion(*case, [1.0, 2.0, 3.0, 4.0], conf_type="max")
        return boxes + 1, 2 * scores, idxs

    torch._dynamo.reset()
    compiled = torch.compile(fuse, fullgraph=True, dynamic=dynamic)
    for n in (40, 25):
        case = tensors(detections(n, n))
        same(compiled(*case), fuse(*case))


BOX, SCORE, CLASS = torch.zeros(2, 4), torch.zeros(2), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize("call, kind, text", [
    (lambda f: f(BOX[:, :3], SCORE, CLASS, CLASS), ValueError, r"boxes must have shape \(N, 4\), got"),
    (lambda f: f(BOX, SCORE[:1], CLASS, CLASS), ValueError, r"scores must have shape \(2,\), one entry"),
    (lambda f: f(BOX, SCORE, CLASS.to("meta"), CLASS), ValueError, "boxes and idxs must be on the same"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS.to("meta")), ValueError, "boxes and models must be on the same"),
    (lambda f: f(BOX, SCORE, CLASS, SCORE), TypeError, "models must be integers, got float32"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, [1, float("inf")]), ValueError, "weights must be finite and at least 0"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, torch.tensor(1.0)), TypeError, "weights must be a sequence of numbers"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, iou_threshold=-1), ValueError, "iou_threshold must be finite and at"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, conf_type="mean"), ValueError, "conf_type must be one of"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=f"weighted_boxes_fusion: {text}"):
        call(ops.weighted_boxes_fusion)
