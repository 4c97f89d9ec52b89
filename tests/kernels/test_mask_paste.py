"""The compiled mask paste against the reference: the same bits at every SIMD level and number of threads."""

import resource
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, kernels
from roikit.reference import mask_paste as reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some

DTYPES = (np.float16, np.float32, np.float64)
RULES = ("continuous", "integer")
SIZES = st.tuples(st.integers(0, 24), st.integers(0, 24))
THRESHOLDS = st.one_of(st.sampled_from([0.5, 0.25, 1 / 3, 0.125, 1.0, 1e-3, 1.5]), st.floats(1e-6, 1))


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


def encoded(bitmaps):
    """COCO RLE of bool (N, H, W)."""
    runs, offsets = _rle.runs_of_bitmaps(bitmaps.view(np.uint8).transpose(1, 2, 0))
    return [{"size": list(bitmaps.shape[1:]), "counts": text}
            for text in _rle.strings_from_counts(runs, offsets)]


@st.composite
def cases(draw):
    """Masks (N, M, M) of ties or of any value, and boxes, possibly of different dtypes."""
    boxes = draw(some.boxes(dtype=draw(st.sampled_from(DTYPES)), max_size=5))
    cells = draw(st.sampled_from([1, 2, 3, 5, 7, 14, 28]))
    masks = draw(some.soft_masks(len(boxes), cells, dtype=draw(st.sampled_from(DTYPES))))
    kind = draw(st.sampled_from(["eighths", "random", "large", "special"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if kind != "eighths":
        masks = (rng.normal(0.5, 0.5, masks.shape) * (1 if kind == "random" else 1e4)).astype(masks.dtype)
    if kind == "special":
        special = rng.choice([np.nan, np.inf, -np.inf], masks.shape)
        masks = np.where(rng.random(masks.shape) < 0.1, special, masks).astype(masks.dtype)
    return masks, boxes


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("level", simd_levels())
@given(case=cases(), size=SIZES, threshold=THRESHOLDS, threads=st.sampled_from([1, 2]))
def test_paste_agrees_with_the_reference(rule, level, case, size, threshold, threads):
    with simd(level):
        soft = kernels.paste_masks(*case, size, threshold=None, rule=rule, threads=threads)
        hard = kernels.paste_masks(*case, size, threshold=threshold, rule=rule, threads=threads)
        runs = kernels.paste_masks_rle(*case, size, threshold=threshold, rule=rule, threads=threads)
    same(soft, reference.paste_masks(*case, size, threshold=None, rule=rule))
    same(hard, reference.paste_masks(*case, size, threshold=threshold, rule=rule))
    assert runs == encoded(hard)


def blobs(n, cells, height, width, dtype=np.float32, seed=0):
    """Soft discs, and boxes that reach over the image's borders."""
    rng = np.random.default_rng(seed)
    line = np.linspace(-1, 1, cells)
    radius = np.hypot(*np.meshgrid(line, line)) + 0.05 * rng.normal(size=(n, cells, cells))
    masks = 1 / (1 + np.exp(-10 * (0.8 - radius)))
    corner = rng.uniform(-0.2, 0.8, (n, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + rng.uniform(0.02, 0.7, (n, 2)) * (width, height)], 1)
    return masks.astype(dtype), boxes.astype(dtype)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_masks_have_the_same_bits_at_every_level_and_thread_count(rule, dtype):
    masks, boxes = blobs(24, 28, 301, 407, dtype)
    soft = reference.paste_masks(masks, boxes, (301, 407), threshold=None, rule=rule)
    hard = soft >= dtype(0.5)
    for level in simd_levels():
        for threads in (1, 2, 3):
            with simd(level):
                same(kernels.paste_masks(masks, boxes, (301, 407), threshold=None, rule=rule, threads=threads), soft)
                same(kernels.paste_masks(masks, boxes, (301, 407), rule=rule, threads=threads), hard)
                assert kernels.paste_masks_rle(masks, boxes, (301, 407), rule=rule, threads=threads) == encoded(hard)


@pytest.mark.parametrize("cells", range(1, 29))
def test_runs_are_those_of_the_image_for_every_size_of_mask(cells):
    masks, boxes = blobs(4, cells, 90, 70, seed=cells)
    for rule in RULES:
        hard = kernels.paste_masks(masks, boxes, (90, 70), rule=rule)
        same(hard, reference.paste_masks(masks, boxes, (90, 70), rule=rule))
        assert kernels.paste_masks_rle(masks, boxes, (90, 70), rule=rule) == encoded(hard)


@pytest.mark.parametrize("rule", RULES)
def test_flat_masks_on_the_threshold_take_the_same_decision_as_runs(rule):
    # Rounding moves the pixels of a flat mask to either side of its value.
    masks, boxes = np.full((1, 5, 5), 0.7, np.float32), np.array([[0.3, 0.4, 97.1, 88.9]], np.float32)
    hard = kernels.paste_masks(masks, boxes, (90, 99), threshold=0.7, rule=rule)
    inside = hard[0, 20:70, 20:70]
    assert inside.any() and not inside.all()
    assert kernels.paste_masks_rle(masks, boxes, (90, 99), threshold=0.7, rule=rule) == encoded(hard)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("box", [
    (50, 50, 60, 60), (-60, -60, -50, -50), (np.nan, 0, 10, 10), (0, 0, np.inf, 10), (-np.inf, 0, 10, np.inf),
    (1e30, 0, 2e30, 10), (-3e38, 0, 3e38, 10)])
def test_a_box_outside_or_not_finite_gives_an_empty_mask(rule, box):
    masks, boxes = np.ones((1, 4, 4), np.float32), np.array([box], np.float32)
    assert not kernels.paste_masks(masks, boxes, (20, 30), threshold=1e-3, rule=rule).any()
    assert kernels.paste_masks_rle(masks, boxes, (20, 30), rule=rule) == encoded(np.zeros((1, 20, 30), bool))


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9), (9, 9, 5, 5)])
def test_an_empty_or_reversed_box_gives_an_empty_mask_by_the_continuous_rule(box):
    assert not kernels.paste_masks(np.ones((1, 4, 4)), np.array([box], float), (20, 30), threshold=1e-3).any()


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 4, 4), (2, 0, 0), (0, 1, 4, 4), (2, 1, 4, 4)])
@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0), (5, 5)])
def test_empty_inputs_give_empty_results(shape, size):
    masks, boxes = np.zeros(shape, np.float32), np.ones((shape[0], 4), np.float32)
    out = kernels.paste_masks(masks, boxes, size)
    same(out, np.zeros((shape[0], *size), bool))
    assert kernels.paste_masks_rle(masks, boxes, size) == encoded(out)


def test_a_box_far_larger_than_the_image_costs_what_the_image_costs():
    masks, boxes = np.ones((1, 28, 28), np.float32), np.array([[-1e9, -1e9, 1e9, 1e9]], np.float32)
    for rule in RULES:
        same(kernels.paste_masks(masks, boxes, (40, 30), rule=rule), np.ones((1, 40, 30), bool))
        assert kernels.paste_masks_rle(masks, boxes, (40, 30), rule=rule) == encoded(np.ones((1, 40, 30), bool))


def test_runs_need_memory_for_inputs_and_runs_only():
    # The images of these masks would take 16 GB.
    masks, boxes = blobs(16, 28, 500, 500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    runs = kernels.paste_masks_rle(masks, boxes, (20_000, 50_000), threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(runs) == 16 and peak < 2e6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_out_is_filled_and_returned():
    masks, boxes = blobs(3, 7, 20, 30)
    for threshold, dtype in ((0.5, bool), (None, np.float32)):
        out = np.ones((3, 20, 30), dtype)
        assert kernels.paste_masks(masks, boxes, (20, 30), threshold=threshold, out=out) is out
        same(out, kernels.paste_masks(masks, boxes, (20, 30), threshold=threshold))


def test_non_contiguous_masks_and_boxes_are_taken():
    masks, boxes = blobs(3, 8, 20, 30)
    loose, wide = np.repeat(masks, 2, axis=2)[:, :, ::2], np.repeat(boxes, 2, axis=1)[:, ::2]
    same(kernels.paste_masks(loose, wide, (20, 30)), kernels.paste_masks(masks, boxes, (20, 30)))


MASKS, BOXES = np.zeros((2, 3, 3), np.float32), np.zeros((2, 4), np.float32)


@pytest.mark.parametrize("op", ["paste_masks", "paste_masks_rle"])
@pytest.mark.parametrize("arguments, named, kind, text", [
    ((MASKS[0], BOXES, (4, 4)), {}, ValueError,
     r"masks must have shape \(N, M, M\) or \(N, 1, M, M\), got \(3, 3\)"),
    ((MASKS[:, :2], BOXES, (4, 4)), {}, ValueError, r"masks must have shape .*, got \(2, 2, 3\)"),
    ((MASKS[:, None].repeat(2, 1), BOXES, (4, 4)), {}, ValueError, r"masks must have shape .*, got \(2, 2, 3, 3\)"),
    ((MASKS.astype(int), BOXES, (4, 4)), {}, TypeError,
     "masks must be float16, bfloat16, float32 or float64, got int64"),
    ((MASKS, BOXES[:1], (4, 4)), {}, ValueError, r"boxes must have one row a mask \(2\), got 1"),
    ((MASKS, BOXES.T.copy(), (4, 4)), {}, ValueError,
     r"boxes must have shape \(N, 4\), got \(4, 2\)\. Did you mean boxes\.T\?"),
    ((MASKS, BOXES, (4, 4)), {"rule": "exact"}, ValueError, "rule must be one of 'continuous', 'integer', got 'exact'"),
    ((MASKS, BOXES, (4, -4)), {}, ValueError, "image_size must be at least 0, got -4"),
    ((MASKS, BOXES, (4, 4.5)), {}, TypeError, "image_size must be a whole number, got float"),
    ((MASKS, BOXES, (4, 4)), {"threshold": 0}, ValueError, "threshold must be above 0, got 0"),
    ((MASKS, BOXES, (4, 4)), {"threshold": 1e-60}, ValueError, "threshold must be above 0, got 1e-60"),
    ((MASKS, BOXES, (4, 4)), {"threshold": "half"}, TypeError, "threshold must be a number, got str"),
    ((MASKS, BOXES, (4, 4)), {"threads": 0}, ValueError, "threads must be at least 1, got 0"),
])
def test_contract(op, arguments, named, kind, text):
    with pytest.raises(kind, match=f"{op}: {text}"):
        getattr(kernels, op)(*arguments, **named)


def test_contract_of_runs():
    with pytest.raises(TypeError, match="paste_masks_rle: threshold must be a number, got NoneType"):
        kernels.paste_masks_rle(MASKS, BOXES, (4, 4), threshold=None)
    with pytest.raises(ValueError, match=r"paste_masks_rle: height \* width must be below 2\^32, got 65536 \* 65536"):
        kernels.paste_masks_rle(MASKS, BOXES, (65536, 65536))


def test_contract_of_out():
    with pytest.raises(ValueError, match=r"paste_masks: out must be a bool array of shape \(2, 4, 4\), got float32"):
        kernels.paste_masks(MASKS, BOXES, (4, 4), out=np.zeros((2, 4, 4), np.float32))
