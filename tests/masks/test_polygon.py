"""roikit.masks.polygon: laws, agreement with the specification and with pycocotools, contracts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import _polygon, masks
from roikit.masks.polygon import rasterize
from roikit.reference import polygon as reference

# Fifths and tenths lie on the refined grid and halfway between its points.
COORDINATES = st.one_of(st.floats(-30, 60), st.integers(-300, 600).map(lambda v: v / 10),
                        st.integers(-10, 40))
FAR = st.one_of(COORDINATES, st.floats(-3000, 3000))


def polygons_of(coordinates, min_points=3, max_points=9):
    return st.integers(min_points, max_points).flatmap(
        lambda n: st.lists(coordinates, min_size=2 * n, max_size=2 * n))


SIZES = st.integers(0, 40)


@given(st.lists(polygons_of(FAR), max_size=3), SIZES, SIZES)
def test_core_agrees_with_reference(polygons, height, width):
    drawn = rasterize(polygons, height, width)
    np.testing.assert_array_equal(drawn, reference.rasterize(polygons, height, width))
    assert drawn.dtype == np.uint8 and drawn.shape == (height, width)
    counts = _polygon.counts_from_polygons(polygons, height, width)
    np.testing.assert_array_equal(counts, reference.counts_from_polygons(polygons, height, width))


@given(polygons_of(COORDINATES), st.integers(0, 8))
def test_law_repeated_points_change_nothing_inside_the_image(points, where):
    points = np.abs(points).tolist()  # a negative point is rounded the other way by the next edge
    i = 2 * (where % (len(points) // 2))
    repeated = points[:i + 2] + points[i:i + 2] + points[i + 2:]
    np.testing.assert_array_equal(rasterize([points], 30, 30), rasterize([repeated], 30, 30))


@given(st.lists(polygons_of(COORDINATES, 4, 4), min_size=1, max_size=4), SIZES, SIZES)
def test_law_union_of_many_is_merged_rles(polygons, height, width):
    drawn = masks.decode(masks.frPyObjects(polygons, height, width))
    np.testing.assert_array_equal(rasterize(polygons, height, width), drawn.max(axis=2))
    merged = masks.merge(masks.frPyObjects(polygons, height, width))
    np.testing.assert_array_equal(masks.decode(merged), rasterize(polygons, height, width))


@given(polygons_of(FAR))
def test_law_array_list_and_tuple_are_the_same(points):
    expected = masks.frPyObjects([points], 20, 30)
    assert masks.frPyObjects([np.array(points)], 20, 30) == expected
    assert masks.frPyObjects((tuple(points),), 20, 30) == expected
    assert masks.frPyObjects(points, 20, 30) == expected[0]
    assert masks.frPyObjects(np.array([points[:4]]), 20, 30) == masks.frPyObjects(
        [points[:4]], 20, 30)


def coco():
    return pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")


@given(polygons_of(st.one_of(FAR, st.floats(-1e5, 1e5))), st.integers(1, 60), st.integers(1, 60))
def test_agrees_with_pycocotools(points, height, width):
    theirs = coco().frPyObjects([[float(c) for c in points]], height, width)
    assert masks.frPyObjects([points], height, width) == theirs
    closed = [float(c) for c in points + points[:2]]
    assert masks.frPyObjects([closed], height, width) == coco().frPyObjects(
        [closed], height, width)


@given(st.lists(st.lists(FAR, min_size=4, max_size=4), min_size=1, max_size=3),
       st.integers(1, 60), st.integers(1, 60))
def test_agrees_with_pycocotools_on_boxes(boxes, height, width):
    boxes = [[float(v) for v in box] for box in boxes]
    theirs = coco().frPyObjects(np.array(boxes), height, width)
    assert masks.frPyObjects(boxes, height, width) == theirs
    assert masks.frPyObjects(np.array(boxes), height, width) == theirs
    assert masks.frPyObjects(boxes[0], height, width) == theirs[0]


def test_law_agreement_on_a_steep_edge_of_a_large_image():
    # Long edges of small slope are where a guessed crossing is off and has to be mended.
    rng = np.random.default_rng(3)
    for _ in range(20):
        points = (rng.random(8) * 20000).tolist()
        theirs = coco().frPyObjects([points], 20000, 21)
        assert masks.frPyObjects([points], 20000, 21) == theirs


def test_law_rles_keep_their_size_and_runs():
    runs = {"size": [2, 3], "counts": [1, 2, 0, 0, 3]}
    text = masks.frPyObjects(runs, 50, 60)
    assert text["size"] == [2, 3] and isinstance(text["counts"], bytes)
    assert masks.frPyObjects(text, 50, 60) == text
    assert masks.frPyObjects([runs, text, {**text, "counts": text["counts"].decode()}],
                             50, 60) == [text] * 3


@pytest.mark.parametrize("far", [1e6, 4.3e8, 1e12, 1e300])
def test_contract_far_points_take_no_memory_and_cover_the_image(far):
    around = [-far, -far, -far, far, far, far, far, -far]
    assert rasterize([around], 30, 40).all()
    assert masks.frPyObjects([[-far, -far, 2 * far, 2 * far]], 30, 40)[0] == masks.encode(
        np.ones((30, 40), np.uint8))
    left = [-far, -far, -far, far, 20, far, 20, -far]
    expected = np.zeros((30, 40), np.uint8)
    expected[:, :20] = 1
    np.testing.assert_array_equal(rasterize([left], 30, 40), expected)


def test_contract_points_beyond_the_limit_count_as_at_the_limit():
    limit = 2**35 / 5
    for points in ([0, 0, 1, 7, 12, 1], [3, -1, 1, 9, 0, 2]):
        near, far = [(c if c % 3 else c * limit) for c in points], [
            (c if c % 3 else c * 1e200) for c in points]
        np.testing.assert_array_equal(rasterize([near], 9, 9), rasterize([far], 9, 9))


def test_contract_the_last_column_of_the_widest_image():
    width = 2**32 - 1
    points = [width - 2, 0, width - 2, 1, width, 1, width, 0]
    assert _polygon.counts_from_polygons([points], 1, width).tolist() == [width - 2, 2]


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_contract_images_without_pixels_are_ordinary(size):
    triangle = [0, 0, 5, 0, 5, 5]
    assert rasterize([triangle], *size).shape == size
    assert masks.frPyObjects([triangle], *size) == [{"size": list(size), "counts": b"0"}]
    assert masks.frPyObjects([], *size) == []


def test_contract_no_polygons_draw_nothing():
    assert not rasterize([], 3, 4).any()
    assert _polygon.counts_from_polygons([], 3, 4).tolist() == [12]


@pytest.mark.parametrize("points, error, text", [
    ([0, 0, 1, 0, 1], ValueError, "an even count of coordinates, got 5"),
    ([], ValueError, "at least 3 points, got 0"),
    ([0, 0], ValueError, "at least 3 points, got 1"),
    ([0, 0, 1, float("nan"), 1, 1], ValueError, "finite coordinates, got nan"),
    ([0, 0, 1, float("inf"), 1, 1], ValueError, "finite coordinates, got inf"),
    ([0, 0, 1, 10**400, 1, 1], ValueError, "finite coordinates, got inf"),
    (np.zeros((3, 2)), ValueError, r"be flat, x0 y0 x1 y1 \.\.\., got shape \(3, 2\)"),
    ([[0, 0], [1, 0], [1, 1], [0, 1], [2, 2], [3, 3]], TypeError, "hold numbers, got list"),
    (["0", "0", "1", "0", "1", "1"], TypeError, "hold numbers, got str"),
    (np.zeros(6, np.complex128), TypeError, "hold numbers, got complex128"),
])
def test_contract_malformed_polygons_say_which_rule(points, error, text):
    with pytest.raises(error, match=f"^rasterize: a polygon must .*{text}"):
        rasterize([[0, 0, 1, 0, 1, 1], points], 4, 4)
    with pytest.raises(error, match=f"^frPyObjects: a polygon must .*{text}"):
        masks.frPyObjects([[0, 0, 1, 0, 1, 1], points], 4, 4)


@pytest.mark.parametrize("call, error, text", [
    (lambda: rasterize([0, 0, 1, 0, 1, 1], 4, 4), TypeError, r"did you mean \[polygon\]"),
    (lambda: rasterize("ab", 4, 4), TypeError, "rasterize: polygons must be a list"),
    (lambda: rasterize([], 4.0, 4), TypeError, "whole numbers, got 4.0 and 4"),
    (lambda: rasterize([], -4, 4), ValueError, "must not be negative, got -4 and 4"),
    (lambda: rasterize([], 65536, 65536), ValueError, r"below 2\^32"),
    (lambda: masks.frPyObjects("abc", 4, 4), TypeError, "list, an array or an RLE, got str"),
    (lambda: masks.frPyObjects(["abcd"], 4, 4), TypeError, "polygons, boxes or RLEs, got str"),
    (lambda: masks.frPyObjects([[0, 0, 1, 1], [0, 0, 1]], 4, 4), ValueError,
     r"a box must have 4 numbers, got shape \(3,\)"),
    (lambda: masks.frPyObjects([[0, 0, 1, np.nan]], 4, 4), ValueError, "a box must have finite"),
    (lambda: masks.frPyObjects([["a"] * 4], 4, 4), TypeError, "a box must hold numbers"),
    (lambda: masks.frPyObjects([0, 0, 1], 4, 4), ValueError, "even count of coordinates, got 3"),
    (lambda: masks.frPyObjects([[0, 0, 1, 1], {"size": [1, 1]}], 4, 4), TypeError,
     r"objects of one kind, got \['dict', 'list'\]"),
    (lambda: masks.frPyObjects([{"size": [2, 2], "counts": [5]}], 4, 4), ValueError,
     r"frPyObjects: runs must sum to height \* width = 4"),
])
def test_contract_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_contract_importing_masks_needs_neither_torch_nor_pycocotools(run_python):
    code = ("import sys; sys.modules['torch'] = sys.modules['pycocotools'] = None; "
            "import roikit.masks, numpy as np; "
            "print(roikit.masks.area(roikit.masks.encode(np.ones((2, 3), bool))))")
    assert run_python(code).strip() == "6"
