"""mask_assembly: hand-worked values, laws and awkward input of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference import rle
from roikit.reference.mask_assembly import covered_cells, pixel_taps
from roikit.testing import strategies as some

NAN, INF = np.nan, np.inf


def assemble(prototypes, coefficients, box, size, **options):
    return reference.assemble_masks(np.array(prototypes, np.float32), np.array([coefficients], np.float32),
                                    np.array([box], np.float32), size, **options)[0]


@st.composite
def assemblies(draw, dtype=np.float32, awkward=True):
    """Prototypes, coefficients, boxes and the size of an image."""
    boxes = draw(some.boxes(dtype=dtype, max_size=4, **({} if awkward else {"kinds": some.FINITE})))
    count, rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    prototypes = np.maximum(rng.normal(size=(count, rows, columns)), 0).astype(dtype)
    coefficients = np.tanh(rng.normal(size=(len(boxes), count))).astype(dtype)
    return prototypes, coefficients, boxes, (draw(st.integers(0, 12)), draw(st.integers(0, 12)))


def test_values_by_hand():
    # Two prototypes, one cell a pixel: the sigmoid of their combination, in the box and one cell around it.
    maps = np.zeros((2, 5, 5))
    maps[0], maps[1, 2, 2] = 1, 4
    soft = assemble(maps, [0, 1], [2, 2, 3, 3], (5, 5), threshold=None)
    inside = np.zeros((5, 5), bool)
    inside[1:4, 1:4] = True
    np.testing.assert_array_equal(soft > 0, inside)
    assert soft[1, 1] == 0.5 and soft[2, 2] == pytest.approx(1 / (1 + np.exp(-4)), rel=1e-6)


def test_a_cell_of_the_margin_begins_where_the_box_does_less_one():
    assert covered_cells(np.float32(2.5), np.float32(3), np.float32(1), 6).tolist() == [0, 0, 1, 1, 0, 0]
    assert covered_cells(np.float32(1), np.float32(1), np.float32(1), 6).tolist() == [1, 1, 0, 0, 0, 0]
    assert covered_cells(np.float32(0), np.float32(9), np.float32(0.5), 6).tolist() == [1] * 6
    assert not covered_cells(np.float32(3), np.float32(2), np.float32(1), 6).any()


def test_pixels_lie_between_the_centres_of_cells():
    cell, part = pixel_taps(np.float32(0.5), 3, 6)
    assert cell.tolist() == [0, 0, 0, 1, 1, 2] and part.tolist() == [0, 0.25, 0.75, 0.25, 0.75, 0]
    cell, part = pixel_taps(np.float32(2), 6, 3)
    assert cell.tolist() == [0, 2, 4] and part.tolist() == [0.5, 0.5, 0.5]


def test_where_no_prototype_fires_a_pixel_is_outside():
    assert not assemble(np.zeros((3, 4, 4)), [1, -1, 1], [0, 0, 8, 8], (8, 8)).any()
    assert assemble(np.zeros((3, 4, 4)), [1, -1, 1], [0, 0, 8, 8], (8, 8), threshold=0.4999).all()


@given(assemblies(awkward=False))
def test_law_without_a_box_in_the_way_it_is_the_resized_sigmoid(case):
    torch = pytest.importorskip("torch")
    prototypes, coefficients, boxes, size = case
    if 0 in size:
        return
    boxes[:] = [0, 0, size[1], size[0]]
    logits = np.einsum("nk,khw->nhw", coefficients.astype(np.float64), prototypes.astype(np.float64))
    maps = torch.from_numpy(1 / (1 + np.exp(-logits)))[:, None]
    expected = torch.nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)[:, 0].numpy()
    soft = reference.assemble_masks(prototypes, coefficients, boxes, size, threshold=None)
    np.testing.assert_allclose(soft, expected, rtol=0, atol=1e-5)


@given(assemblies(), st.sampled_from([0.0, 0.3, 0.5, 0.7]))
def test_law_the_mask_is_what_is_above_the_threshold(case, threshold):
    soft = reference.assemble_masks(*case, threshold=None)
    hard = reference.assemble_masks(*case, threshold=threshold)
    assert soft.dtype == np.float32 and hard.dtype == bool and soft.shape == hard.shape == (len(case[2]), *case[3])
    np.testing.assert_array_equal(hard, soft > np.float32(threshold))
    assert ((soft >= 0) & (soft <= 1)).all()


@given(assemblies())
def test_law_cells_of_padding_that_go_on_change_nothing(case):
    """Where an image ends inside the outer half of its last cell, the next one is mixed in, here of the same value."""
    prototypes, coefficients, boxes, size = case
    framed = np.pad(prototypes, ((0, 0), (0, 2), (0, 3)), mode="edge")
    boxes = np.tile(np.array([0, 0, 99, 99], np.float32), (len(boxes), 1))
    plain = reference.assemble_masks(prototypes, coefficients, boxes, size, threshold=None)
    padded = reference.assemble_masks(framed, coefficients, boxes, size, extent=prototypes.shape[1:], threshold=None)
    np.testing.assert_allclose(padded, plain, rtol=0, atol=1e-6)


@given(assemblies(dtype=np.float16, awkward=False))
def test_law_half_is_cast_to_float32(case):
    half = reference.assemble_masks(*case, threshold=None)
    single = reference.assemble_masks(*(x.astype(np.float32) for x in case[:3]), case[3], threshold=None)
    assert half.dtype == np.float32
    np.testing.assert_array_equal(half, single)


@given(assemblies())
def test_law_the_rle_is_that_of_the_bitmap(case):
    masks, runs = reference.assemble_masks(*case), reference.assemble_masks_rle(*case)
    assert len(masks) == len(runs)
    for mask, one in zip(masks, runs, strict=True):
        assert one["size"] == list(case[3])
        np.testing.assert_array_equal(rle.decode(rle.counts_from_string(one["counts"], *case[3]), *case[3]), mask)


@pytest.mark.parametrize("box", [(NAN, 0, 3, 3), (0, 0, INF, 3), (0, -INF, 3, 3), (3, 0, 2, 3), (0, 3, 3, 2),
                                 (90, 90, 99, 99), (-99, -99, -90, -90)])
def test_boxes_that_are_none_or_outside_have_no_mask(box):
    assert not assemble(np.ones((1, 4, 4)), [1], box, (8, 8), threshold=None).any()


def test_a_nan_coefficient_is_outside_everywhere():
    soft = assemble(np.ones((1, 4, 4)), [NAN], [0, 0, 8, 8], (8, 8), threshold=None)
    assert np.isnan(soft).all() and not assemble(np.ones((1, 4, 4)), [NAN], [0, 0, 8, 8], (8, 8), threshold=0).any()


@pytest.mark.parametrize("cells, size", [((0, 3), (4, 5)), ((3, 0), (4, 5)), ((3, 3), (0, 5)), ((3, 3), (4, 0))])
def test_nothing_of_something_keeps_its_shape(cells, size):
    masks = reference.assemble_masks(np.ones((2, *cells)), np.ones((1, 2)), np.array([[0.0, 0, 9, 9]]), size)
    assert masks.shape == (1, *size) and not masks.any()


def test_contract_wrong_arguments_say_so():
    maps, own, boxes = np.ones((2, 3, 3)), np.ones((1, 2)), np.ones((1, 4))
    for arguments, options, text in (
            ((maps[0], own, boxes), {}, r"prototypes must have shape \(K, h, w\), got \(3, 3\)"),
            ((maps, own[:, :1], boxes), {}, r"coefficients must have shape \(N, 2\), got \(1, 1\)"),
            ((maps, own, np.ones((2, 4))), {}, r"boxes must have one row for each of the coefficients \(1\), got 2"),
            ((maps, own, boxes), {"threshold": -1}, "threshold must be at least 0, or None, got -1"),
            ((maps, own, boxes), {"extent": (4, 3)}, r"extent must be above 0 and at most the prototypes' \(3, 3\)")):
        with pytest.raises(ValueError, match=f"assemble_masks: {text}"):
            reference.assemble_masks(*arguments, (4, 4), **options)
    with pytest.raises(ValueError, match="assemble_masks_rle: threshold must be at least 0, got None"):
        reference.assemble_masks_rle(maps, own, boxes, (4, 4), threshold=None)
