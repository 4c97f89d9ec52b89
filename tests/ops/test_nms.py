"""nms on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import ops, reference
from roikit.testing import strategies as some

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def random_case(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=g) * 10
    boxes = torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=g) * 4], 1)
    return boxes, torch.rand(n, generator=g), torch.randint(0, 3, (n,), generator=g)


@given(some.boxes_and_scores(max_size=16), some.thresholds(), st.integers(0, 12), st.data())
def test_ops_agree_with_the_reference(case, threshold, most, data):
    boxes, scores = case
    idxs = np.array(data.draw(st.lists(st.integers(-1, 1), min_size=len(boxes), max_size=len(boxes))), np.int64)
    b, s = torch.from_numpy(boxes), torch.from_numpy(scores)
    with np.errstate(all="ignore"):
        kept = reference.nms(boxes, scores, threshold)
        by_class = reference.batched_nms(boxes, scores, idxs, threshold)
        padded, number = reference.nms_padded(boxes, scores, threshold, most)
    keep, count = ops.nms_padded(b, s, threshold, most)
    assert keep.dtype == count.dtype == torch.int64 and count.shape == ()
    np.testing.assert_array_equal(ops.nms(b, s, threshold).numpy(), kept)
    np.testing.assert_array_equal(ops.batched_nms(b, s, torch.from_numpy(idxs), threshold).numpy(), by_class)
    np.testing.assert_array_equal(keep.numpy(), padded)
    assert count.item() == number


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("score_dtype", FLOATS)
def test_half_is_cast_up(dtype, score_dtype):
    boxes, scores, _ = random_case(60)
    boxes, scores = boxes.to(dtype), scores.to(score_dtype)
    exact = boxes if dtype == torch.float64 else boxes.float()
    expected = reference.nms(exact.numpy(), scores.double().numpy(), 0.4)
    np.testing.assert_array_equal(ops.nms(boxes, scores, 0.4).numpy(), expected)


def test_results_do_not_require_grad_and_inputs_may():
    boxes, scores, idxs = random_case(30)
    boxes.requires_grad_(), scores.requires_grad_()
    for keep in (ops.nms(boxes, scores, 0.5), ops.batched_nms(boxes, scores, idxs, 0.5)):
        assert not keep.requires_grad and keep.dtype == torch.int64
    boxes[ops.nms(boxes, scores, 0.5)].sum().backward()
    assert boxes.grad.sum() == 4 * len(ops.nms(boxes, scores, 0.5))


def test_channels_of_a_larger_tensor_are_read_as_they_are():
    wide = torch.rand(50, 9)
    boxes = torch.cat([wide[:, :2], wide[:, :2] + wide[:, 2:4]], 1).t().contiguous().t()
    np.testing.assert_array_equal(ops.nms(boxes, wide[:, 7], 0.3).numpy(),
                                  reference.nms(boxes.numpy(), wide[:, 7].numpy(), 0.3))


def test_classes_are_never_moved_apart_by_offsets():
    """With offsets of the largest coordinate, float32 would round these boxes onto each other."""
    boxes = torch.tensor([[0, 0, 1e7, 1e7], [0, 0, 1, 1], [0.25, 0, 1.25, 1]])
    idxs = torch.tensor([0, 200, 200], dtype=torch.int16)
    assert ops.batched_nms(boxes, torch.tensor([3.0, 2.0, 1.0]), idxs, 0.7).tolist() == [0, 1, 2]
    assert ops.batched_nms(boxes, torch.tensor([3.0, 2.0, 1.0]), idxs, 0.5).tolist() == [0, 1]


@pytest.mark.parametrize("n", [0, 1, 40])
def test_registration(n):
    boxes, scores, idxs = random_case(n)
    torch.library.opcheck(torch.ops.roikit.nms, (boxes, scores, 0.5))
    torch.library.opcheck(torch.ops.roikit.batched_nms, (boxes, scores, idxs, 0.5))
    torch.library.opcheck(torch.ops.roikit.nms_padded, (boxes, scores, 0.5, 7))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same(dynamic):
    def detect(boxes, scores, idxs):
        kept = ops.batched_nms(boxes, scores, idxs, 0.5)
        return boxes[ops.nms(boxes, scores, 0.5)], scores[kept], *ops.nms_padded(boxes, scores, 0.5, 5)

    torch._dynamo.reset()
    compiled = torch.compile(detect, fullgraph=True, dynamic=dynamic)
    for n in (40, 25):
        for mine, eager in zip(compiled(*random_case(n)), detect(*random_case(n)), strict=True):
            assert torch.equal(mine, eager)


def test_fake_tensors_have_a_size_that_depends_on_the_data():
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    with FakeTensorMode(shape_env=ShapeEnv()):
        boxes, scores = torch.empty(9, 4), torch.empty(9)
        keep = ops.nms(boxes, scores, 0.5)
        assert keep.dtype == torch.int64 and not isinstance(keep.shape[0], int)
        assert ops.nms_padded(boxes, scores, 0.5, 3)[0].shape == (3,)


BOX, SCORE = torch.zeros(2, 4), torch.zeros(2)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.nms(torch.zeros(4, 2), SCORE, 0.5), ValueError,
     r"nms: boxes must have shape \(N, 4\), got \(4, 2\)\. Did you mean boxes\.T\?"),
    (lambda: ops.nms(BOX, SCORE[:1], 0.5), ValueError,
     r"nms: scores must have shape \(2,\), one entry for each row of boxes, got \(1,\)"),
    (lambda: ops.nms(BOX, [1, 2], 0.5), TypeError, "nms: scores must be an array or a tensor, got list"),
    (lambda: ops.nms(BOX, SCORE.int(), 0.5), TypeError, "nms: scores must be float16, .* got int32"),
    (lambda: ops.nms(BOX, SCORE.to("meta"), 0.5), ValueError,
     "nms: boxes and scores must be on the same device, got .* and meta"),
    (lambda: ops.nms(BOX, SCORE, float("nan")), ValueError, "nms: iou_threshold must not be NaN"),
    (lambda: ops.nms(BOX, SCORE, True), TypeError, "nms: iou_threshold must be a number, got bool"),
    (lambda: ops.batched_nms(BOX, SCORE, SCORE, 0.5), TypeError,
     "batched_nms: idxs must be integers, got float32"),
    (lambda: ops.batched_nms(BOX, SCORE, torch.zeros(3, dtype=torch.int64), 0.5), ValueError,
     r"batched_nms: idxs must have shape \(2,\), one entry for each row of boxes, got \(3,\)"),
    (lambda: ops.nms_padded(BOX, SCORE, 0.5, -3), ValueError, "nms_padded: max_output must be at least 0, got -3"),
    (lambda: ops.nms_padded(BOX, SCORE, 0.5, "3"), TypeError,
     "nms_padded: max_output must be a whole number, got str"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
