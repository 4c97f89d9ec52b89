"""nms on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
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


def clustered(n, seed, dtype=np.float32, clusters=8):
    """Boxes around a few centres, scores with ties, a handful of classes; some boxes and scores are awkward."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 300, (clusters, 2))[rng.integers(0, clusters, n)] + rng.normal(0, 5, (n, 2))
    half = rng.uniform(5, 30, (n, 2))
    boxes = np.concatenate([centre - half, centre + half], 1).round(1).astype(dtype)
    scores = rng.integers(0, max(n // 2, 2), n).astype(dtype) / n - 0.25
    if n > 10:
        odd = rng.integers(0, n, 10)
        boxes[odd[0], 2] = boxes[odd[0], 0]
        boxes[odd[1]] = boxes[odd[1]][[2, 3, 0, 1]]
        boxes[odd[2], 1], boxes[odd[3], 2], boxes[odd[4]] = np.nan, np.inf, [-np.inf, -np.inf, np.inf, np.inf]
        scores[odd[5:]] = [np.nan, -np.nan, np.inf, -np.inf, -0.0]
    return boxes, scores, rng.integers(-2, 3, n)


def assert_as_on_the_cpu(boxes, scores, idxs, threshold, limits=()):
    """The ops against the compiled CPU kernels, which tests/kernels holds to the reference."""
    tensors = [torch.from_numpy(x) for x in (boxes, scores, idxs)]
    kept = kernels.nms(boxes, scores, threshold)
    np.testing.assert_array_equal(ops.nms(*tensors[:2], threshold).numpy(), kept)
    np.testing.assert_array_equal(ops.batched_nms(*tensors, threshold).numpy(),
                                  kernels.batched_nms(boxes, scores, idxs, threshold))
    for most in limits:
        keep, count = ops.nms_padded(*tensors[:2], threshold, most)
        assert count.item() == min(most, len(kept))
        assert keep.tolist() == kept[:most].tolist() + [-1] * (most - min(most, len(kept)))
    return kept


@pytest.mark.parametrize("n", [1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257, 1023, 1024, 1025, 1153, 2048, 2049])
def test_any_number_of_boxes(n):
    for seed, threshold in enumerate((0.3, 0.7)):
        assert_as_on_the_cpu(*clustered(n, n + seed, (np.float32, np.float64)[seed]), threshold, (0, 1, n // 2, n + 5))


@pytest.mark.parametrize("threshold", [-1.0, -1e-9, 0.0, 1e-3, 1.0, 2.0, float("inf")])
def test_thresholds_beyond_the_useful_ones(threshold):
    assert_as_on_the_cpu(*clustered(1300, 3), threshold, (7,))


@pytest.mark.parametrize("step", [1, 7, 31, 32, 33, 1001])
def test_long_chains(step):
    """Every box overlaps its neighbours alone, so that each decision hangs on the one before; neighbours are ``step``
    ranks apart, but for one in 1500."""
    n = 1500
    x = np.arange(n, dtype=np.float32)
    boxes = np.stack([x * 2, x * 0, x * 2 + 3, x * 0 + 3], 1)  # IoU of neighbours 1 / 5
    scores = -(np.arange(n) * step % n).astype(np.float32)
    kept = assert_as_on_the_cpu(boxes, scores, np.arange(n) // 700, 0.1, (n // 3, 600))
    if step == 1:
        assert kept.tolist() == list(range(0, n, 2))


def test_one_box_many_times():
    boxes = np.tile(np.array([[1, 2, 30, 40]], np.float32), (2100, 1))
    scores = np.zeros(2100, np.float32)
    assert assert_as_on_the_cpu(boxes, scores, np.arange(2100) // 500, 0.5, (1, 2)).tolist() == [0]
    assert len(assert_as_on_the_cpu(boxes, scores, np.arange(2100), 1.0, (1024, 1025))) == 2100


def test_boxes_that_do_not_overlap():
    """All are kept: the lists of kept boxes are full, and max_output ends within a tile, at its end, beyond."""
    x = np.arange(2200, dtype=np.float32) * 10
    boxes = np.stack([x, x * 0, x + 10, x * 0 + 10], 1)
    order = np.random.default_rng(0).permutation(2200)
    limits = (1, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 2200)
    kept = assert_as_on_the_cpu(boxes, -order.astype(np.float32), order % 3, 0.0, limits)
    np.testing.assert_array_equal(kept, np.argsort(order))


@pytest.mark.parametrize("classes", [1, 2, 3, 80, 3000])
def test_classes_across_many_boxes(classes):
    boxes, scores, _ = clustered(3000, classes, clusters=2)
    rng = np.random.default_rng(classes)
    assert_as_on_the_cpu(boxes, scores, rng.integers(0, classes, 3000) - classes // 2, 0.4)
    uneven = np.minimum(rng.geometric(0.5, 3000), classes) * 2**40
    assert_as_on_the_cpu(boxes, scores, uneven, 0.4)


@pytest.mark.parametrize("sizes", [(2500, 300, 700), (500, 3000), (1024, 2100, 1), (1023, 2, 2047)])
def test_classes_that_begin_and_end_within_a_tile(sizes):
    """Boxes in the same few places in every class, so that a class that reached into another would show."""
    n = sum(sizes)
    boxes, scores, _ = clustered(n, n, clusters=40)
    boxes[:, 2:] = boxes[:, :2] + np.float32(9)  # small: many are kept, and many go late
    assert_as_on_the_cpu(boxes, scores, np.random.default_rng(n).permutation(np.repeat([3, -4, 9][:len(sizes)], sizes)),
                         0.3)
    assert_as_on_the_cpu(boxes, scores, np.repeat(np.arange(len(sizes)), sizes), 0.3)


def test_boxes_that_a_much_better_one_suppresses():
    """Boxes of the last tile that only a kept box of the first one suppresses."""
    n = 2500
    boxes, scores = np.zeros((n, 4), np.float32), -np.arange(n, dtype=np.float32)
    boxes[:, 0] = np.arange(n) * 20
    boxes[:, 2:] = boxes[:, :2] + 10
    boxes[2300:2400] = boxes[900:1000]
    boxes[2499] = boxes[2350]
    kept = assert_as_on_the_cpu(boxes, scores, np.zeros(n, np.int64), 0.5, (2299, 2300, 2301, 2399))
    assert kept.tolist() == [*range(2300), *range(2400, 2499)]


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
