"""The exact ops on a GPU against the CPU's kernels, bit by bit, over many examples.

ROIKIT_HYPOTHESIS=gpu asks for 2,000 examples of each.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import ops
from roikit.testing import strategies as some

DTYPES = st.sampled_from([np.float32, np.float64])
LIMITS = st.sampled_from([(0.7, 0.3), (0.5, 0.5), (0.5, 1 / 3)])
RULES = st.sampled_from(["continuous", "integer"])


def agrees(device, call, *arrays):
    """``call`` gives the same on the host and on the device; arrays are handed over, and lists of them."""
    def to(place, x):
        if isinstance(x, list):
            return [to(place, y) for y in x]
        return torch.from_numpy(np.ascontiguousarray(x)).to(place)

    expected, found = (call(*(to(place, x) for x in arrays)) for place in ("cpu", device))
    if not isinstance(expected, (tuple, list)):
        expected, found = [expected], [found]
    for one, other in zip(expected, found, strict=True):
        if not isinstance(one, torch.Tensor):
            assert one == other
            continue
        assert other.device.type == device and one.dtype == other.dtype
        np.testing.assert_array_equal(other.cpu().numpy(), one.numpy())


def crowd(seed, n, dtype=np.float32, side=40):
    """Many boxes: more than hypothesis would draw, so that they cross the kernels' tiles."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, side * 4, (n, 2)) / 4
    return np.concatenate([corner, corner + rng.integers(0, 24, (n, 2)) / 2], 1).astype(dtype)


SIZES = st.sampled_from([1, 31, 33, 64, 257, 1023, 1025, 2500])
SEEDS = st.integers(0, 2**32 - 1)


@given(data=st.data(), dtype=DTYPES)
def test_box_iou(device, data, dtype):
    agrees(device, ops.box_iou, data.draw(some.boxes(dtype=dtype)), data.draw(some.boxes(dtype=dtype)))


@given(seed=SEEDS, n=SIZES, m=st.integers(1, 70), dtype=DTYPES)
def test_box_iou_of_many(device, seed, n, m, dtype):
    agrees(device, ops.box_iou, crowd(seed, n, dtype), crowd(seed + 1, m, dtype))


@given(boxes=some.boxes(max_size=24), truth=some.boxes(), limits=LIMITS, allow=st.booleans())
def test_match_boxes(device, boxes, truth, limits, allow):
    agrees(device, lambda a, b: ops.match_boxes(a, b, *limits, allow_low_quality=allow), boxes, truth)


@given(seed=SEEDS, n=SIZES, m=st.sampled_from([1, 33, 128, 300]), limits=LIMITS, allow=st.booleans())
def test_match_boxes_of_many(device, seed, n, m, limits, allow):
    agrees(device, lambda a, b: ops.match_boxes(a, b, *limits, allow_low_quality=allow), crowd(seed, n),
           crowd(seed + 1, m))


@given(case=some.boxes_and_scores(max_size=16), threshold=some.thresholds(), most=st.integers(0, 12))
def test_nms(device, case, threshold, most):
    agrees(device, lambda b, s: [ops.nms(b, s, threshold), *ops.nms_padded(b, s, threshold, most)], *case)


@given(seed=SEEDS, n=SIZES, ties=st.integers(1, 1000), threshold=some.thresholds(), classes=st.integers(1, 90),
       side=st.sampled_from([4, 40, 400]), most=st.integers(0, 3000))
def test_nms_of_many(device, seed, n, ties, threshold, classes, side, most):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, ties, n).astype(np.float32)
    idxs = rng.integers(0, classes, n)
    agrees(device, lambda b, s, i: [ops.nms(b, s, threshold), ops.batched_nms(b, s, i, threshold),
                                    *ops.nms_padded(b, s, threshold, most)], crowd(seed, n, side=side), scores, idxs)


@given(case=some.boxes_and_scores(max_size=16), threshold=some.thresholds(), data=st.data())
def test_batched_nms(device, case, threshold, data):
    boxes, scores = case
    idxs = data.draw(st.lists(st.integers(-1, 2), min_size=len(boxes), max_size=len(boxes)))
    agrees(device, lambda b, s, i: ops.batched_nms(b, s, i, threshold), boxes, scores, np.array(idxs, np.int64))


@given(data=st.data(), size=st.integers(1, 4), nan=st.booleans(), last=st.booleans(),
       dtype=st.sampled_from([np.float16, np.float32, np.float64]))
def test_roi_pool(device, data, size, nan, last, dtype):
    maps = data.draw(some.feature_maps(dtype=dtype, nan=nan))
    rois = data.draw(some.rois(len(maps), as_list=False))

    def both(x, boxes):
        form = torch.channels_last if last else torch.contiguous_format
        return torch.ops.roikit.roi_pool(x.contiguous(memory_format=form), boxes, 0.5, size, size)

    agrees(device, both, maps, rois)


@given(data=st.data(), size=st.tuples(st.integers(0, 40), st.integers(0, 40)), rule=RULES, dtype=DTYPES,
       threshold=st.sampled_from([None, 0.5, 1 / 3, 1.0]))
def test_paste_masks(device, data, size, rule, dtype, threshold):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=5))
    masks = data.draw(some.soft_masks(len(boxes)))
    agrees(device, lambda m, b: ops.paste_masks(m, b, size, threshold=threshold, rule=rule), masks, boxes)


@given(data=st.data(), size=st.tuples(st.integers(0, 90), st.integers(0, 40)), rule=RULES, dtype=DTYPES,
       threshold=st.sampled_from([0.5, 1 / 3, 1.0]))
def test_paste_masks_rle(device, data, size, rule, dtype, threshold):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=5))
    masks = data.draw(some.soft_masks(len(boxes)))
    agrees(device, lambda m, b: ops.paste_masks_rle(m, b, size, threshold=threshold, rule=rule), masks, boxes)


@given(data=st.data(), rule=st.sampled_from(["soft", "binary"]), size=st.integers(1, 9), dtype=DTYPES)
def test_mask_targets(device, data, rule, size, dtype):
    masks = data.draw(some.bitmaps(dtype=data.draw(st.sampled_from([np.bool_, np.uint8, np.int64]))))
    boxes = data.draw(some.boxes(n=0 if len(masks) == 0 else None, dtype=dtype))
    matched = np.array([data.draw(st.integers(0, len(masks) - 1)) for _ in boxes], np.int64)
    agrees(device, lambda m, b, i: ops.mask_targets(m, b, i, size, rule=rule), masks, boxes, matched)


@given(data=st.data(), size=st.tuples(st.integers(0, 90), st.integers(0, 40)), dtype=DTYPES,
       threshold=st.sampled_from([None, 0.5, 1 / 3, 0.0]), part=st.sampled_from([None, 0.5, 0.9]))
def test_assemble_masks(device, data, size, dtype, threshold, part):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=5))
    rng, cells = np.random.default_rng(data.draw(SEEDS)), data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    prototypes = np.maximum(rng.normal(size=(5, *cells)), 0).astype(dtype)
    own = np.tanh(rng.normal(size=(len(boxes), 5))).astype(dtype)
    how = {"extent": None if part is None else tuple(part * n for n in cells), "threshold": threshold}
    agrees(device, lambda p, c, b: ops.assemble_masks(p, c, b, size, **how), prototypes, own, boxes)
    if threshold is not None:
        agrees(device, lambda p, c, b: ops.assemble_masks_rle(p, c, b, size, **how), prototypes, own, boxes)


@given(data=st.data(), size=st.tuples(st.integers(0, 90), st.integers(0, 40)), dtype=DTYPES,
       threshold=st.sampled_from([None, 0.5, 1 / 3, 1.0]))
def test_paste_masks_rotated(device, data, size, dtype, threshold):
    boxes = data.draw(some.rotated_boxes(dtype=dtype, max_size=5))
    masks = data.draw(some.soft_masks(len(boxes)))
    agrees(device, lambda m, b: ops.paste_masks_rotated(m, b, size, threshold=threshold), masks, boxes)
    if threshold is not None:
        agrees(device, lambda m, b: ops.paste_masks_rotated_rle(m, b, size, threshold=threshold), masks, boxes)


@given(data=st.data(), rule=st.sampled_from(["soft", "binary"]), size=st.integers(1, 9), dtype=DTYPES)
def test_mask_targets_rotated(device, data, rule, size, dtype):
    masks = data.draw(some.bitmaps(dtype=data.draw(st.sampled_from([np.bool_, np.uint8, np.int64]))))
    boxes = data.draw(some.rotated_boxes(n=0 if len(masks) == 0 else None, dtype=dtype))
    matched = np.array([data.draw(st.integers(0, len(masks) - 1)) for _ in boxes], np.int64)
    agrees(device, lambda m, b, i: ops.mask_targets_rotated(m, b, i, size, rule=rule), masks, boxes, matched)


@given(masks=some.bitmaps(max_side=40), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_min_area_boxes(device, masks, dtype):
    agrees(device, lambda m: ops.min_area_boxes(m, dtype=dtype), masks)


@given(boxes=some.rotated_boxes(), direction=st.sampled_from(["horizontal", "vertical"]),
       degrees=st.floats(-400, 400), center=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_moved_rotated_boxes(device, boxes, direction, degrees, center):
    agrees(device, lambda b: [ops.flip_boxes_rotated(b, (30, 41), direction),
                              ops.rotate_boxes_rotated(b, degrees, center)], boxes)


@given(cell=some.boxes(), size=st.tuples(st.integers(0, 30), st.integers(0, 30)), offset=st.floats(-2, 2),
       stride=st.tuples(*[st.floats(2.0**-10, 2.0**10)] * 2))
def test_grid_anchors(device, cell, size, offset, stride):
    agrees(device, lambda c: ops.grid_anchors(c, size, stride, offset=offset), cell)


@given(data=st.data(), dtype=DTYPES, weights=st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5), (10.0, 20.0, 3.0, 7.0)]))
@np.errstate(all="ignore")
def test_box_codec(device, data, dtype, weights):
    """exp and log are roikit's own, of exact operations: even these have the CPU's bits."""
    anchors = data.draw(some.boxes(dtype=dtype, max_size=24))
    boxes = data.draw(some.boxes(n=len(anchors), dtype=dtype))
    agrees(device, lambda b, a: [ops.encode_boxes(b, a, weights), ops.decode_boxes(b, a, weights)], boxes, anchors)


@pytest.mark.parametrize("n", [12_000, 100_000])
def test_nms_of_very_many(device, n):
    if device != "cuda" and n > 12_000:
        pytest.skip("needs a CUDA device; the tests are tried on the CPU")
    rng = np.random.default_rng(n)
    boxes = crowd(n, n, side=2000)
    idxs = rng.integers(0, 80, n)
    for scores in (rng.random(n).astype(np.float32), np.zeros(n, np.float32)):
        agrees(device, lambda b, s, i: [ops.nms(b, s, 0.5), ops.batched_nms(b, s, i, 0.5),
                                        *ops.nms_padded(b, s, 0.5, 1000)], boxes, scores, idxs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_half_value_passes_through_a_kernel_as_on_the_cpu(device, dtype):
    """Each of the 65,536 bit patterns is a map's pixel and the only one of a RoI."""
    values = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype).view(1, 1, 256, 256)
    y, x = (axis.flatten().float() for axis in torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij"))
    rois = torch.stack([torch.zeros_like(x), x, y, x, y], 1)
    expected = ops.roi_pool(values, rois, 1)
    found = ops.roi_pool(values.to(device), rois.to(device), 1).cpu()
    assert torch.equal(expected.view(torch.int16), found.view(torch.int16))
    assert torch.equal(expected.flatten(), torch.where(values.isfinite() | (values > 0), values, 0).flatten())
