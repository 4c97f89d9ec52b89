"""roikit.masks.rle: laws, agreement with the specification and with pycocotools, contracts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, masks
from roikit.reference import rle as reference

ORDERS = {
    "column-major": np.asfortranarray,
    "row-major": np.ascontiguousarray,
    "masks first": lambda m: np.ascontiguousarray(m.transpose(2, 0, 1)).transpose(1, 2, 0),
    "cropped columns": lambda m: np.asfortranarray(np.pad(m, ((1, 2), (0, 0), (0, 0))))[1:-2],
    "cropped rows": lambda m: np.pad(m, ((0, 0), (1, 2), (0, 0)))[:, 1:-2],
    "reversed": lambda m: np.ascontiguousarray(m[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "every other": lambda m: np.repeat(np.repeat(m, 2, axis=0), 2, axis=1)[::2, ::2],
}


@st.composite
def stacks(draw):
    """uint8 (H, W, N) of 0 and 1: noise, or blocks with long runs; tall ones cross wide words."""
    height, width = draw(st.sampled_from([0, 1, 2, 7, 8, 9, 70, 150])), draw(st.integers(0, 12))
    if draw(st.booleans()):
        height, width = width, height
    seed, density = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 0.03, 0.5, 1.0]))
    rng = np.random.default_rng(seed)
    shape = (height, width, draw(st.integers(0, 4)))
    if draw(st.booleans()):
        return (rng.random(shape) < density).astype(np.uint8)
    coarse = rng.random((height // 5 + 1, width // 5 + 1, shape[2])) < density
    return np.kron(coarse, np.ones((5, 5, 1), np.uint8))[:height, :width].astype(np.uint8)


@st.composite
def run_lists(draw):
    """Runs of one to four masks of one size, runs of length 0 anywhere, and that size."""
    height, width = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    lists = []
    for _ in range(draw(st.integers(1, 4))):
        cuts = sorted(draw(st.lists(st.integers(0, height * width), max_size=8)))
        lists.append(np.diff([0, *cuts, height * width]).tolist())
    return lists, height, width


def plain(counts, height, width):
    return {"size": [height, width], "counts": counts}


@given(stacks())
def test_law_decode_undoes_encode(stack):
    rles = masks.encode(stack)
    if len(rles):
        decoded = masks.decode(rles)
        np.testing.assert_array_equal(decoded, stack)
        assert decoded.dtype == np.uint8 and decoded.flags.f_contiguous
        np.testing.assert_array_equal(masks.decode(masks.encode(stack[:, :, 0])), stack[:, :, 0])
    else:
        assert rles == []


@given(stacks())
def test_law_memory_order_and_dtype_do_not_matter(stack):
    expected = masks.encode(np.asfortranarray(stack))
    for name, order in ORDERS.items():
        arranged = order(stack)
        np.testing.assert_array_equal(arranged, stack, err_msg=name)
        assert masks.encode(arranged) == expected, name
        assert masks.encode(order(stack.astype(bool))) == expected, name


@given(stacks(), st.integers(0, 2**32 - 1))
def test_law_any_value_but_0_is_foreground(stack, seed):
    values = np.random.default_rng(seed).integers(1, 256, stack.shape).astype(np.uint8)
    for order in ORDERS.values():
        assert masks.encode(order(stack * values)) == masks.encode(stack)


@given(stacks())
def test_law_area_and_box_are_the_bitmaps(stack):
    rles = masks.encode(stack)
    areas, boxes = masks.area(rles), masks.toBbox(rles)
    assert areas.dtype == np.uint32 and boxes.dtype == np.float64
    np.testing.assert_array_equal(areas, stack.sum((0, 1)))
    assert boxes.shape == (stack.shape[2], 4)
    for i, (x, y, w, h) in enumerate(boxes.astype(int)):
        mask = stack[:, :, i]
        assert mask[y:y + h, x:x + w].sum() == mask.sum()
        assert (w > 0) == (h > 0) == mask.any()
        if w:
            edges = mask[y, x:x + w], mask[y + h - 1, x:x + w], mask[y:y + h, x], mask[
                y:y + h, x + w - 1]
            assert all(edge.any() for edge in edges)


@given(stacks())
def test_law_merge_is_union_and_intersection(stack):
    rles = masks.encode(stack)
    if rles:
        for intersect, join in ((0, np.max), (1, np.min)):
            assert masks.merge(rles, intersect) == masks.encode(join(stack, axis=2))


@given(stacks(), st.integers(0, 255))
def test_law_iou_is_the_bitmaps(stack, bits):
    rles, n = masks.encode(stack), stack.shape[2]
    crowd = [bits >> i & 1 for i in range(n)]
    ious = masks.iou(rles, rles, crowd)
    assert ious.shape == (n, n) and ious.dtype == np.float64 and ious.flags.f_contiguous
    flat = stack.reshape(stack.shape[0] * stack.shape[1], n).astype(np.int64)
    common, areas = flat.T @ flat, flat.sum(0)
    union = np.where(crowd, areas[:, None], areas[:, None] + areas - common)
    expected = np.divide(common, union, out=np.zeros((n, n)), where=common > 0)
    np.testing.assert_array_equal(ious, expected)


@given(run_lists())
def test_core_agrees_with_reference(case):
    lists, height, width = case
    rles = [plain(counts, height, width) for counts in lists]
    size = (height, width)
    for counts, one in zip(lists, rles, strict=True):
        np.testing.assert_array_equal(_rle.counts_of(one), counts)
        text = _rle.string_from_counts(np.array(counts, np.uint32))
        assert text == reference.string_from_counts(counts)
        np.testing.assert_array_equal(_rle.counts_from_string(text, *size), counts)
        np.testing.assert_array_equal(masks.decode(one), reference.decode(counts, *size))
        assert masks.area(one) == reference.area(counts, *size)
        assert masks.toBbox(one).tolist() == reference.to_bbox(counts, *size)
    for crowd in (0, 1):
        ious = masks.iou(rles, rles, [crowd] * len(rles))
        expected = [[reference.iou(a, b, *size, crowd) for b in lists] for a in lists]
        np.testing.assert_array_equal(ious, expected)
    for intersect in (0, 1):
        merged = _rle.counts_of(masks.merge(rles, intersect))
        expected = reference.decode(reference.merge(lists, *size, intersect), *size)
        np.testing.assert_array_equal(reference.decode(merged, *size), expected)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=6))
def test_core_agrees_with_reference_on_strings_of_any_runs(counts):
    flat = np.array(counts + counts[:2], np.uint32)
    offsets = np.array([0, len(counts), len(flat)], np.int64)
    expected = [reference.string_from_counts(part) for part in (counts, counts[:2])]
    assert _rle.strings_from_counts(flat, offsets) == expected


@given(st.one_of(st.binary(max_size=12),
                 st.lists(st.integers(44, 115), max_size=12).map(bytes),
                 st.lists(st.integers(48, 63), max_size=12).map(bytes)),
       st.integers(0, 20), st.integers(0, 20))
def test_core_agrees_with_reference_on_any_bytes(text, height, width):
    try:
        expected = reference.counts_from_string(text, height, width)
    except ValueError as broken:
        with pytest.raises(ValueError, match=str(broken).split("*")[0].rstrip()):
            _rle.counts_from_string(text, height, width)
        with pytest.raises(ValueError, match="^decode: "):
            masks.decode(plain(text, height, width))
    else:
        np.testing.assert_array_equal(_rle.counts_from_string(text, height, width), expected)
        masks.decode(plain(text, height, width))


def coco():
    return pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")


@given(stacks())
def test_agrees_with_pycocotools(stack):
    peer = coco()
    theirs = peer.encode(np.asfortranarray(stack))
    assert masks.encode(stack) == theirs
    if not theirs:
        return
    n = len(theirs)
    for ours, expected in (
        (masks.decode(theirs), peer.decode(theirs)),
        (masks.area(theirs), peer.area(theirs)),
        (masks.toBbox(theirs), peer.toBbox(theirs)),
        (masks.iou(theirs, theirs, [0] * n), peer.iou(theirs, theirs, [0] * n)),
        (masks.iou(theirs, theirs, [1] * n), peer.iou(theirs, theirs, [1] * n)),
    ):
        np.testing.assert_array_equal(ours, expected)
        assert ours.dtype == expected.dtype
    for intersect in (0, 1):
        assert masks.merge(theirs, intersect) == peer.merge(theirs, intersect)
        assert masks.merge(theirs[:1], intersect) == theirs[0]
    assert masks.area(theirs[0]) == peer.area(theirs[0])
    assert masks.toBbox(theirs[0]).tolist() == peer.toBbox(theirs[0]).tolist()


@given(run_lists())
def test_agrees_with_pycocotools_on_runs_of_length_0(case):
    peer = coco()
    lists, height, width = case
    pixels = height * width
    objects = [plain(counts, height, width) for counts in lists]
    rles = masks.frPyObjects(objects, height, width)
    assert rles == peer.frPyObjects(objects, height, width)
    # pycocotools writes beyond its memory when such runs outnumber the pixels. When two of them
    # meet it stops early, loses the rest of the image, and never returns from merging a third.
    if sum(map(len, lists)) <= pixels + 1:
        for intersect in (0, 1):
            for k in range(1, len(rles) + 1):
                theirs = peer.merge(rles[:k], intersect)
                if not _whole(theirs, pixels):
                    break
                assert masks.merge(rles[:k], intersect) == theirs


def _whole(one, pixels):
    try:
        reference.counts_from_string(one["counts"], 1, pixels)
    except ValueError:
        return False
    return True


BOXES = st.lists(st.lists(st.integers(-40, 40).map(lambda v: v / 4), min_size=4, max_size=4),
                 min_size=1, max_size=4)


@given(BOXES, BOXES, st.integers(0, 15))
def test_agrees_with_pycocotools_on_boxes(dt, gt, bits):
    peer = coco()
    crowd = [bits >> i & 1 for i in range(len(gt))]
    ours = masks.iou(dt, gt, crowd)
    np.testing.assert_array_equal(ours, peer.iou(dt, gt, crowd))
    np.testing.assert_array_equal(ours, masks.iou(np.array(dt), np.array(gt), np.array(crowd)))


def test_contract_nothing_gives_nothing():
    assert masks.encode(np.zeros((3, 4, 0), np.uint8)) == []
    assert masks.decode([]).shape == (0, 0, 0)
    assert masks.area([]).shape == (0,) and masks.area([]).dtype == np.uint32
    assert masks.toBbox([]).shape == (0, 4)
    assert masks.merge([]) == {"size": [0, 0], "counts": b""}
    box = [[0, 0, 1, 1]]
    for dt, gt in (([], []), (box, []), ([], box), (np.zeros((0, 4)), box)):
        ious = masks.iou(dt, gt, [0] * len(gt))
        assert ious.shape == (len(dt), len(gt)) and ious.dtype == np.float64


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_contract_images_without_pixels_are_ordinary(shape):
    one = masks.encode(np.zeros(shape, np.uint8))
    assert one == {"size": list(shape), "counts": b"0"}
    assert masks.decode(one).shape == shape and masks.area(one) == 0
    assert masks.toBbox(one).tolist() == [0, 0, 0, 0]
    assert masks.merge([one, one]) == one and masks.iou([one], [one], [0]) == 0


def test_contract_empty_foreground_runs_give_no_box():
    assert masks.toBbox(plain([20, 0], 5, 4)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("box", [
    [np.nan, 0, 10, 10], [0, 0, np.inf, 10], [0, 0, 10, -10], [0, 0, 0, 10],
    [0, 0, 1e-200, 1e-200], [0, 0, 1e200, 1e200]])
def test_contract_odd_boxes_have_iou_0(box):
    other = [[0, 0, 10, 10]]
    assert masks.iou([box], other, [0]) == 0
    assert masks.iou(other, [box], [1]) in (0, 1)  # over the detection's area
    assert masks.iou([box], [box], [0]) in (0, 1)


GOOD = {"size": [2, 3], "counts": b"6"}


@pytest.mark.parametrize("one, text", [
    (plain(b"0p", 2, 3), r"characters 48\.\.111 only, got 112 at position 1"),
    (plain("0é", 2, 3), r"characters 48\.\.111 only, got 195 at position 1"),
    (plain(b"0\x00", 2, 3), r"characters 48\.\.111 only, got 0 at position 1"),
    (plain(b"2P", 2, 3), r"whole numbers, got a string cut within run 1"),
    (plain(b"PPPPPPP0", 2, 3), r"at most 7 characters, got a longer one at position 7"),
    (plain(b"O", 2, 3), r"runs must not be negative, got -1 as run 0"),
    (plain([7, -1], 2, 3), r"runs must not be negative, got -1 as run 1"),
    (plain([1, 6, 1], 2, 3), r"runs must sum to height \* width = 6, got more with run 1"),
    (plain([3, -1, 4], 2, 3), r"runs must not be negative, got -1 as run 1"),
    (plain(b"33333", 2, 3), r"runs must sum to height \* width = 6, got more with run 2"),
    (plain([3, 2], 2, 3), r"runs must sum to height \* width = 6, got a sum of 5"),
    (plain("5", 2, 3), r"runs must sum to height \* width = 6, got a sum of 5"),
    (plain([2**70], 2, 3), r"runs must sum to height \* width = 6, got more with run 0"),
    (plain(b"6", 65536, 65536), r"height \* width must be below 2\^32, got 65536 \* 65536"),
    (plain(b"", 0, 2**40), r"height \* width must be below 2\^32"),
    (plain(b"6", -2, -3), r"height and width must not be negative, got -2 and -3"),
    ({"size": [2, 3]}, r"must have 'size' and 'counts', got \['size'\]"),
    ({"size": [2, 3, 1], "counts": b"6"}, r"size must be \(height, width\)"),
    (plain(np.zeros((2, 2), int), 2, 3), r"counts must be one-dimensional, got shape \(2, 2\)"),
])
@pytest.mark.parametrize("op", ["decode", "area", "toBbox", "merge", "iou"])
def test_contract_malformed_rles_say_which_rule(op, one, text):
    with pytest.raises(ValueError, match=f"^{op}: .*{text}"):
        _call(op, [GOOD, one])


@pytest.mark.parametrize("one, text", [
    ("6", "an RLE must be a dict, got str"),
    (plain(3, 2, 3), "counts must be str, bytes or a list of whole numbers, got int"),
    (plain([3.0, 3.0], 2, 3), "a list of whole numbers, got float as run 0"),
    (plain(np.array([6.0]), 2, 3), "a list of whole numbers, got float as run 0"),
    (plain(b"6", 2.0, 3), "height and width must be whole numbers, got 2.0 and 3"),
    ({"size": "23", "counts": b"6"}, r"size must be \(height, width\), got str"),
])
@pytest.mark.parametrize("op", ["decode", "area", "toBbox", "merge"])
def test_contract_rles_of_the_wrong_kind(op, one, text):
    with pytest.raises(TypeError, match=f"^{op}: .*{text}"):
        _call(op, [GOOD, one])


def _call(op, rles):
    return masks.iou(rles, rles, [0, 0]) if op == "iou" else getattr(masks, op)(rles)


@pytest.mark.parametrize("op", ["decode", "merge", "iou"])
def test_contract_masks_of_two_sizes(op):
    with pytest.raises(ValueError, match=rf"^{op}: all masks must have one size, "
                                         r"got \[2, 3\] and \[3, 2\]"):
        _call(op, [GOOD, plain(b"6", 3, 2)])


@pytest.mark.parametrize("call, error, text", [
    (lambda: masks.encode(np.zeros((2, 2), np.int64)), TypeError, "bool or uint8, got int64"),
    (lambda: masks.encode(np.zeros(2, np.uint8)), ValueError, r"\(H, W, N\), got \(2,\)"),
    (lambda: masks.decode("6"), TypeError, "an RLE or a list of RLEs, got str"),
    (lambda: masks.merge(GOOD), TypeError, "rleObjs must be a list of RLEs, got dict"),
    (lambda: masks.iou([GOOD], [GOOD], []), ValueError, r"for each of 1 .*got shape \(0,\)"),
    (lambda: masks.iou([GOOD], [[0, 0, 1, 1]], [0]), TypeError, "both be RLEs or both be boxes"),
    (lambda: masks.iou(GOOD, [GOOD], [0]), TypeError, "dt must be a list .*got dict"),
    (lambda: masks.iou([3], [GOOD], [0]), TypeError, r"dt must hold RLEs or boxes.*\['int'\]"),
    (lambda: masks.iou([[1, 2]], [[1, 2, 3, 4]], [0]), ValueError, r"4 numbers, got lengths \[2\]"),
    (lambda: masks.iou(np.zeros(4), [[1, 2, 3, 4]], [0]), ValueError, r"\(N, 4\), got \(4,\)"),
    (lambda: masks.iou([["a"] * 4], [[1, 2, 3, 4]], [0]), TypeError, "dt must hold numbers"),
])
def test_contract_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_contract_offsets_are_checked():
    counts = np.array([1, 2], np.uint32)
    for offsets in ([], [0, 1], [1, 2], [0, 3, 2]):
        with pytest.raises(ValueError, match="strings_from_counts: offsets must"):
            _rle.strings_from_counts(counts, np.array(offsets, np.int64))
