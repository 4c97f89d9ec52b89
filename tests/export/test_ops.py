"""Each translated op alone: the graph in onnxruntime beside roikit.ops."""

import pytest
import torch

from roikit import ops

COUNTS = (0, 1, 60)
SINGLE, DOUBLE = torch.float32, torch.float64
N = {0: "n"}


def draw(count, size=100.0, dtype=SINGLE, seed=0):
    """(N, 4) boxes, some empty, reversed, far away or not finite."""
    generator = torch.Generator().manual_seed(seed + count)
    a, b = torch.rand(2, count, 2, generator=generator, dtype=dtype) * size
    boxes = torch.cat([torch.minimum(a, b), torch.maximum(a, b)], 1) - 5
    if count > 9:
        boxes[1, 2], boxes[2, 0], boxes[3, 3] = float("nan"), -float("inf"), float("inf")
        boxes[4] = boxes[4, [2, 3, 0, 1]]
        boxes[5] = torch.tensor([7.0, 7.0, 7.0, 7.0])
        boxes[6] = boxes[7]
        boxes[8] += 1e4
        boxes[9] *= 1e4
    return boxes


def draw_rois(count, size, dtype):
    images = torch.randint(0, 2, (count, 1), generator=torch.Generator().manual_seed(count)).to(dtype)
    return torch.cat([images, draw(count, size, dtype)], 1)


def draw_scores(count, dtype=SINGLE):
    """(N,) with ties, NaN and infinities."""
    scores = torch.rand(count, generator=torch.Generator().manual_seed(count), dtype=dtype).mul(20).round() / 20 - 0.5
    if count > 9:
        scores[3], scores[8], scores[5], scores[9] = float("nan"), float("nan"), -float("inf"), float("inf")
    return scores


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_nms(in_onnx, dtype):
    run = in_onnx(lambda boxes, scores: ops.nms(boxes, scores, 0.4), (draw(5, dtype=dtype), draw_scores(5, dtype)),
                  (N, N))
    for count in (*COUNTS, 700):
        boxes, scores = draw(count, dtype=dtype), draw_scores(count, dtype)
        expected = ops.nms(boxes, scores, 0.4)
        assert count < 60 or len(expected) < count
        assert torch.equal(run(boxes, scores), expected)


def test_nms_tells_float64_scores_apart_that_float32_cannot(in_onnx):
    run = in_onnx(lambda boxes, scores: ops.nms(boxes, scores, 0.4), (draw(5), draw_scores(5, DOUBLE)), (N, N))
    boxes, scores = draw(9), 0.5 + torch.arange(9, dtype=DOUBLE) * 1e-12
    assert torch.equal(run(boxes, scores), ops.nms(boxes, scores, 0.4))


def test_the_threshold_of_nms_is_strict(in_onnx):
    run = in_onnx(lambda boxes, scores: ops.nms(boxes, scores, 0.5), (draw(5), draw_scores(5)), (N, N))
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 4.0, 2.1]])
    assert run(boxes, torch.tensor([0.9, 0.8, 0.7])).tolist() == [0, 1]
    assert run(boxes[[0, 2]], torch.tensor([0.9, 0.8])).tolist() == [0]


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_batched_nms(in_onnx, dtype):
    """Classes of any number; far and negative boxes, which offsets would move into each other."""
    def function(boxes, scores, idxs):
        return ops.batched_nms(boxes, scores, idxs, 0.4)

    run = in_onnx(function, (draw(5, dtype=dtype), draw_scores(5, dtype), torch.arange(5)), (N, N, N))
    for count in (*COUNTS, 700):
        boxes, scores = draw(count, dtype=dtype) - 1e5 * (count == 60), draw_scores(count, dtype)
        idxs = torch.randint(-2, 3, (count,), generator=torch.Generator().manual_seed(1)) * 10**12
        expected = function(boxes, scores, idxs)
        assert count < 700 or len(expected) < count
        assert torch.equal(run(boxes, scores, idxs), expected)


def test_nms_padded(in_onnx):
    run = in_onnx(lambda boxes, scores: ops.nms_padded(boxes, scores, 0.4, 20), (draw(5), draw_scores(5)), (N, N))
    for count in COUNTS:
        boxes, scores = draw(count), draw_scores(count)
        for got, expected in zip(run(boxes, scores), ops.nms_padded(boxes, scores, 0.4, 20), strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [-1, 2])
def test_roi_align(in_onnx, dtype, aligned, sampling_ratio):
    def function(features, rois):
        return ops.roi_align(features, rois, (5, 4), 0.25, sampling_ratio, aligned)

    features = torch.randn(2, 3, 20, 24, dtype=dtype, generator=torch.Generator().manual_seed(0))
    run = in_onnx(function, (features, draw_rois(5, 120, dtype)), ({}, N))
    for count in COUNTS:
        rois = draw_rois(count, 120, dtype)
        rois[9:, 1:] = rois[9:, 1:].clamp(-300, 300)  # an adaptive grid of 1e6 samples a bin takes onnxruntime minutes
        expected = function(features, rois)
        assert count < 60 or expected.abs().amax((1, 2, 3)).count_nonzero() > 40
        torch.testing.assert_close(run(features, rois), expected, rtol=0, atol=1e-5 if dtype == SINGLE else 1e-13)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_multiscale_roi_align(in_onnx, dtype):
    scales = [0.25, 0.125, 0.0625, 0.03125]
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, 3, 64 >> i, 80 >> i, dtype=dtype, generator=generator) for i in range(4)]

    def function(*arguments):
        return ops.multiscale_roi_align(list(arguments[:4]), arguments[4], 7, scales)

    run = in_onnx(function, (*levels, draw_rois(5, 300, dtype)), ({}, {}, {}, {}, N))
    for count in COUNTS:
        rois = draw_rois(count, 900, dtype)
        if count > 20:
            for row, side in enumerate((111.9999, 112, 112.0001, 224, 448, 447.9999)):  # where levels meet
                rois[10 + row, 1:] = torch.tensor([3.0, 3.0, 3 + side, 3 + side])
        torch.testing.assert_close(run(*levels, rois), function(*levels, rois), rtol=0,
                                   atol=1e-5 if dtype == SINGLE else 1e-13)


def test_half_features_are_pooled_in_float32(in_onnx):
    features = torch.randn(1, 3, 20, 24, generator=torch.Generator().manual_seed(0)).half()
    run = in_onnx(lambda features, rois: ops.roi_align(features, rois, 3, 0.25),
                  (features, draw_rois(5, 90, SINGLE)), ({}, N))
    rois = draw_rois(7, 90, SINGLE)
    rois[:, 0] = 0
    expected = ops.roi_align(features, rois, 3, 0.25)
    assert expected.dtype == torch.float16
    torch.testing.assert_close(run(features, rois), expected, rtol=2**-10, atol=1e-5)


def test_roi_pool(in_onnx):
    features = torch.randn(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    run = in_onnx(lambda features, rois: ops.roi_pool(features, rois, (5, 4), 0.25),
                  (features, draw_rois(5, 120, SINGLE)), ({}, N))
    for count in COUNTS:
        rois = draw_rois(count, 120, SINGLE)
        assert torch.equal(run(features, rois), ops.roi_pool(features, rois, (5, 4), 0.25))


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
@pytest.mark.parametrize("rule", ["continuous", "integer"])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_paste_masks(in_onnx, dtype, rule, threshold):
    def function(masks, boxes):
        return ops.paste_masks(masks, boxes, (50, 60), threshold=threshold, rule=rule)

    run = in_onnx(function, (torch.rand(5, 14, 14, dtype=dtype), draw(5, dtype=dtype)), (N, N))
    for count in COUNTS:
        masks = torch.rand(count, 14, 14, dtype=dtype, generator=torch.Generator().manual_seed(count))
        boxes = draw(count, 80, dtype)
        got, expected = run(masks, boxes), function(masks, boxes)
        assert count < 60 or expected.flatten(1).any(1).count_nonzero() > 40
        assert got.shape == expected.shape and got.dtype == expected.dtype
        if threshold is None:
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-6 if dtype == SINGLE else 1e-14)
        else:
            assert torch.equal(got, expected)  # no value of these lies within rounding of the threshold


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_box_iou(in_onnx, dtype):
    run = in_onnx(ops.box_iou, (draw(5, dtype=dtype), draw(6, dtype=dtype)), ({0: "n"}, {0: "m"}))
    for count in COUNTS:
        a, b = draw(count, dtype=dtype), draw(2 * count, dtype=dtype, seed=count)
        assert torch.equal(run(a, b), ops.box_iou(a, b))


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_box_codec(in_onnx, dtype):
    """Both ways in one graph. exp and log of two libraries differ by a few units in the last place."""
    weights = (10.0, 10.0, 5.0, 5.0)

    def function(boxes, anchors, deltas):
        return ops.encode_boxes(boxes, anchors, weights), ops.decode_boxes(deltas, anchors, weights)

    def sided(count, seed):
        boxes = draw(count, dtype=dtype, seed=seed).nan_to_num(3, 9, -9)
        return torch.cat([boxes[:, :2], boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]).abs() + 1], 1)

    run = in_onnx(function, (sided(5, 1), sided(5, 2), torch.zeros(5, 12, dtype=dtype)), (N, N, N))
    near = 1e-5 if dtype == SINGLE else 1e-13
    for count in COUNTS:
        deltas = torch.randn(count, 12, dtype=dtype, generator=torch.Generator().manual_seed(count)) * 20
        arguments = sided(count, 1), sided(count, 2), deltas  # some dw and dh lie above the clip
        for got, expected in zip(run(*arguments), function(*arguments), strict=True):
            torch.testing.assert_close(got, expected, rtol=near, atol=near * 100)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
@pytest.mark.parametrize("order", ["ratio", "size"])
def test_anchors(in_onnx, dtype, order):
    def function(cell):
        own = [ops.cell_anchors((32, 64.5), (0.5, 1, 2.0), rounded=rounded, order=order, dtype=dtype)
               for rounded in (False, True)]
        return [ops.grid_anchors(c, (5, 6), (8, 4), offset=0.5) for c in (cell, *own)]

    cell = draw(3, dtype=dtype)
    for got, expected in zip(in_onnx(function, (cell,))(cell), function(cell), strict=True):
        assert torch.equal(got, expected)


def test_ops_composed_of_torchs_need_no_translation(in_onnx):
    def function(boxes):
        return (ops.box_area(boxes), ops.box_convert(boxes, "xyxy", "cxcywh"),
                ops.clip_boxes_to_image(boxes, (50, 60)), ops.remove_small_boxes(boxes, 20.0))

    run = in_onnx(function, (draw(5),), (N,))
    for count in COUNTS:
        boxes = draw(count).nan_to_num(3, 9, -9)
        for got, expected in zip(run(boxes), function(boxes), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)


def test_an_op_without_an_onnx_form_is_named(in_onnx):
    with pytest.raises(Exception, match="roikit.soft_nms"):
        in_onnx(lambda boxes, scores: ops.soft_nms(boxes, scores)[0], (draw(5), draw_scores(5)))


def test_a_negative_threshold_is_named(in_onnx):
    with pytest.raises(Exception) as raised:
        in_onnx(lambda boxes, scores: ops.nms(boxes, scores, -0.5), (draw(5), draw_scores(5)))
    reasons, error = [], raised.value
    while error is not None:
        reasons.append(str(error))
        error = error.__cause__
    assert any("nms: ONNX's NonMaxSuppression needs an iou_threshold of at least 0, got -0.5" in r for r in reasons)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_decode_keypoints(in_onnx, dtype):
    """The same place wherever the best cell leads by more than rounding."""
    def draw_maps(count):
        maps = torch.randn(count, 5, 8, 6, generator=torch.Generator().manual_seed(count), dtype=dtype)
        if count > 9:
            maps[3, 1], maps[4, 2] = float("nan"), 0.5
        return maps

    run = in_onnx(ops.decode_keypoints, (draw_maps(5), draw(5, dtype=dtype)), (N, N))
    for count in COUNTS:
        maps, boxes = draw_maps(count), draw(count, dtype=dtype)
        boxes[9:10] /= 1e4  # its cells would be 4096 x 4096
        (xy, scores), (places, values) = run(maps, boxes), ops.decode_keypoints(maps, boxes)
        assert xy.dtype == scores.dtype == dtype and xy.shape == places.shape and scores.shape == values.shape
        torch.testing.assert_close(scores, values, rtol=0, atol=1e-5, equal_nan=True)
        if count:
            same = (xy - places).abs().amax(-1) <= 1e-5 * boxes.nan_to_num(0, 0, 0).abs().amax(1, keepdim=True).clamp(1)
            assert same.float().mean() > 0.98
