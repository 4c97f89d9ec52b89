"""The compiled mask assembly against the reference: the same bits at every SIMD level and number of threads."""

import resource
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, kernels
from roikit.reference import mask_assembly as reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some

DTYPES = (np.float16, np.float32, np.float64)
SIZES = st.tuples(st.integers(0, 24), st.integers(0, 24))
THRESHOLDS = st.one_of(st.sampled_from([0.5, 0.0, 1.0, 0.25]), st.floats(0, 1))


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


def encoded(bitmaps):
    """COCO RLE of bool (N, H, W)."""
    runs, offsets = _rle.runs_of_bitmaps(bitmaps.view(np.uint8).transpose(1, 2, 0))
    return [{"size": list(bitmaps.shape[1:]), "counts": text} for text in _rle.strings_from_counts(runs, offsets)]


@st.composite
def cases(draw):
    """Prototypes, coefficients and boxes, possibly of different dtypes, with values of any size."""
    boxes = draw(some.boxes(dtype=draw(st.sampled_from(DTYPES)), max_size=5))
    count, rows, columns = (draw(of) for of in (st.sampled_from([0, 1, 3, 8, 9, 17]), *[st.integers(1, 20)] * 2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["plain", "ties", "large", "special"]))
    prototypes = np.maximum(rng.normal(size=(count, rows, columns)), 0)
    own = np.tanh(rng.normal(size=(len(boxes), count)))
    if kind == "ties":
        prototypes, own = np.round(prototypes), np.round(own)
    if kind == "large":
        own = own * 1e3
    if kind == "special":
        own = np.where(rng.random(own.shape) < 0.1, rng.choice([np.nan, np.inf, -np.inf], own.shape), own)
    return prototypes.astype(draw(st.sampled_from(DTYPES))), own.astype(draw(st.sampled_from(DTYPES))), boxes


@pytest.mark.parametrize("level", simd_levels())
@given(case=cases(), size=SIZES, threshold=THRESHOLDS, threads=st.sampled_from([1, 2]),
       parts=st.one_of(st.none(), st.tuples(st.floats(0.1, 1), st.floats(0.1, 1))))
def test_assembly_agrees_with_the_reference(level, case, size, threshold, threads, parts):
    extent = None if parts is None else tuple(part * n for part, n in zip(parts, case[0].shape[1:], strict=True))
    with simd(level), np.errstate(all="ignore"):
        soft = kernels.assemble_masks(*case, size, extent=extent, threshold=None, threads=threads)
        hard = kernels.assemble_masks(*case, size, extent=extent, threshold=threshold, threads=threads)
        runs = kernels.assemble_masks_rle(*case, size, extent=extent, threshold=threshold, threads=threads)
    same(soft, reference.assemble_masks(*case, size, extent=extent, threshold=None))
    same(hard, reference.assemble_masks(*case, size, extent=extent, threshold=threshold))
    assert runs == encoded(hard)


def blobs(n, cells, height, width, dtype=np.float32, seed=0):
    """Smooth prototypes, and boxes that reach over the image's borders."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:cells, :cells] / cells
    centre, size = rng.random((12, 2, 1, 1)), rng.uniform(0.1, 0.5, (12, 1, 1))
    prototypes = np.maximum(3 - 3 * np.hypot(y - centre[:, 0], x - centre[:, 1]) / size, 0)
    corner = rng.uniform(-0.2, 0.8, (n, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + rng.uniform(0.02, 0.7, (n, 2)) * (width, height)], 1)
    return prototypes.astype(dtype), rng.uniform(-1, 1, (n, 12)).astype(dtype), boxes.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_masks_have_the_same_bits_at_every_level_and_thread_count(dtype):
    case = blobs(24, 61, 301, 407, dtype)
    soft = reference.assemble_masks(*case, (301, 407), threshold=None)
    hard = soft > dtype(0.5)
    assert 0.02 < hard.mean() < 0.5
    for level in simd_levels():
        for threads in (1, 2, 3):
            with simd(level):
                same(kernels.assemble_masks(*case, (301, 407), threshold=None, threads=threads), soft)
                same(kernels.assemble_masks(*case, (301, 407), threads=threads), hard)
                assert kernels.assemble_masks_rle(*case, (301, 407), threads=threads) == encoded(hard)


@pytest.mark.parametrize("cells", range(1, 40, 3))
def test_runs_are_those_of_the_image_whether_it_is_larger_or_smaller(cells):
    for size in ((90, 70), (11, 13)):
        case = blobs(4, cells, *size, seed=cells)
        hard = kernels.assemble_masks(*case, size)
        same(hard, reference.assemble_masks(*case, size))
        assert kernels.assemble_masks_rle(*case, size) == encoded(hard)


def test_flat_masks_on_the_threshold_take_the_same_decision_as_runs():
    # No prototype fires: a half everywhere, whatever rounding does on the way.
    case = np.zeros((2, 5, 5), np.float32), np.ones((1, 2), np.float32), np.array([[0, 0, 99, 90]], np.float32)
    assert not kernels.assemble_masks(*case, (90, 99)).any()
    assert kernels.assemble_masks_rle(*case, (90, 99)) == encoded(np.zeros((1, 90, 99), bool))
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert kernels.assemble_masks(*case, (90, 99), threshold=below).all()
    assert kernels.assemble_masks_rle(*case, (90, 99), threshold=below) == encoded(np.ones((1, 90, 99), bool))


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("cells", [(0, 3), (3, 0), (3, 3)])
@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0), (5, 5)])
def test_empty_inputs_give_empty_results(count, cells, size):
    case = np.ones((0, *cells), np.float32), np.ones((count, 0), np.float32), np.ones((count, 4), np.float32)
    out = kernels.assemble_masks(*case, size)
    same(out, np.zeros((count, *size), bool))
    assert kernels.assemble_masks_rle(*case, size) == encoded(out)


def test_runs_need_memory_for_inputs_and_runs_only():
    # The images of these masks would take 16 GB.
    case = blobs(16, 61, 500, 500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    runs = kernels.assemble_masks_rle(*case, (20_000, 50_000), threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(runs) == 16 and peak < 2e6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_out_is_filled_and_returned():
    case = blobs(3, 7, 20, 30)
    for threshold, dtype in ((0.5, bool), (None, np.float32)):
        out = np.ones((3, 20, 30), dtype)
        assert kernels.assemble_masks(*case, (20, 30), threshold=threshold, out=out) is out
        same(out, kernels.assemble_masks(*case, (20, 30), threshold=threshold))


def test_non_contiguous_arguments_are_taken():
    case = blobs(3, 8, 20, 30)
    loose = [np.repeat(x, 2, axis=-1)[..., ::2] for x in case]
    assert not any(x.flags.c_contiguous for x in loose)
    same(kernels.assemble_masks(*loose, (20, 30)), kernels.assemble_masks(*case, (20, 30)))


MAPS, OWN, BOXES = np.zeros((3, 4, 4), np.float32), np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)


@pytest.mark.parametrize("op", ["assemble_masks", "assemble_masks_rle"])
@pytest.mark.parametrize("arguments, named, kind, text", [
    ((MAPS[0], OWN, BOXES, (4, 4)), {}, ValueError, r"prototypes must have shape \(K, h, w\), got \(4, 4\)"),
    ((MAPS.astype(int), OWN, BOXES, (4, 4)), {}, TypeError,
     "prototypes must be float16, bfloat16, float32 or float64, got int64"),
    ((MAPS, OWN[:, :2], BOXES, (4, 4)), {}, ValueError, r"coefficients must have shape \(N, 3\), got \(2, 2\)"),
    ((MAPS, OWN, BOXES[:1], (4, 4)), {}, ValueError,
     r"boxes must have one row for each of the coefficients \(2\), got 1"),
    ((MAPS, OWN, BOXES.T.copy(), (4, 4)), {}, ValueError,
     r"boxes must have shape \(N, 4\), got \(4, 2\)\. Did you mean boxes\.T\?"),
    ((MAPS, OWN, BOXES, (4, -4)), {}, ValueError, "image_size must be at least 0, got -4"),
    ((MAPS, OWN, BOXES, (4, 4)), {"threshold": -0.5}, ValueError,
     r"threshold must be finite and at least 0, got -0\.5"),
    ((MAPS, OWN, BOXES, (4, 4)), {"threshold": "half"}, TypeError, "threshold must be a number, got str"),
    ((MAPS, OWN, BOXES, (4, 4)), {"extent": 4}, TypeError, "extent must be two numbers or None, got 4"),
    ((MAPS, OWN, BOXES, (4, 4)), {"extent": (4, 4.5)}, ValueError,
     r"extent must be above 0 and at most the prototypes' \(4, 4\), got \(4, 4\.5\)"),
    ((MAPS, OWN, BOXES, (4, 4)), {"extent": (0, 4)}, ValueError, "extent must be above 0"),
    ((MAPS, OWN, BOXES, (4, 4)), {"threads": 0}, ValueError, "threads must be at least 1, got 0"),
])
def test_contract(op, arguments, named, kind, text):
    with pytest.raises(kind, match=f"{op}: {text}"):
        getattr(kernels, op)(*arguments, **named)


def test_contract_of_runs_and_out():
    with pytest.raises(TypeError, match="assemble_masks_rle: threshold must be a number, got NoneType"):
        kernels.assemble_masks_rle(MAPS, OWN, BOXES, (4, 4), threshold=None)
    with pytest.raises(ValueError, match=r"assemble_masks_rle: height \* width must be below 2\^32, got 65536"):
        kernels.assemble_masks_rle(MAPS, OWN, BOXES, (65536, 65536))
    with pytest.raises(ValueError, match=r"assemble_masks: out must be a bool array of shape \(2, 4, 4\), got float32"):
        kernels.assemble_masks(MAPS, OWN, BOXES, (4, 4), out=np.zeros((2, 4, 4), np.float32))
