"""Rotated boxes made and moved, on tensors: agreement, gradients, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some


@given(some.bitmaps(max_side=14))
def test_bitmaps_agree_with_the_reference(masks):
    got = ops.min_area_boxes(torch.from_numpy(masks), dtype=torch.float64)
    np.testing.assert_array_equal(got.numpy(), reference.min_area_boxes(masks, dtype=np.float64))
    assert ops.min_area_boxes(torch.from_numpy(masks)).dtype == torch.float32


def test_masks_of_several_blocks_agree_with_the_kernels():
    rng = np.random.default_rng(0)
    masks = rng.random((70, 40, 300)) < rng.random((70, 1, 1)) ** 6
    masks[3] = False
    got = ops.min_area_boxes(torch.from_numpy(masks), dtype=torch.float64)
    np.testing.assert_array_equal(got.numpy(), kernels.min_area_boxes(masks, dtype=np.float64))
    turned = torch.from_numpy(masks).transpose(1, 2)
    np.testing.assert_array_equal(ops.min_area_boxes(turned).numpy(),
                                  kernels.min_area_boxes(np.ascontiguousarray(masks.transpose(0, 2, 1))))


def test_lists_are_those_of_the_kernels():
    masks = [[[0, 0, 4, 1, 3, 5]], {"size": [6, 7], "counts": [8, 3, 4, 2, 25]}, []]
    got = ops.min_area_boxes(masks)
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got.numpy(), kernels.min_area_boxes(masks))
    assert ops.min_area_boxes([]).shape == (0, 5)


def test_registration():
    masks = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0)) < 0.2
    torch.library.opcheck(torch.ops.roikit.min_area_boxes, (masks,))
    torch.library.opcheck(torch.ops.roikit.min_area_boxes, (masks[:0],))


def test_compiled_code_gives_the_same():
    masks = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0)) < 0.2
    compiled = torch.compile(lambda m: ops.min_area_boxes(m), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(masks), ops.min_area_boxes(masks))


@given(some.rotated_boxes(), st.sampled_from([np.float32, np.float64]), st.sampled_from(["horizontal", "vertical"]),
       st.floats(-1000, 1000))
@np.errstate(all="ignore")
def test_flips_and_rotations_agree_with_the_reference(boxes, dtype, direction, degrees):
    boxes = boxes.astype(dtype)
    for got, expected in (
            (ops.flip_boxes_rotated(torch.from_numpy(boxes), (30, 40), direction),
             reference.flip_boxes_rotated(boxes, (30, 40), direction)),
            (ops.rotate_boxes_rotated(torch.from_numpy(boxes), degrees, (3.3, 4)),
             reference.rotate_boxes_rotated(boxes, degrees, (3.3, 4)))):
        np.testing.assert_array_equal(got.numpy(), expected)


def test_gradients():
    boxes = torch.tensor([[3.0, 4, 5, 6, 20], [9, 1, 2, 3, -100]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b: ops.flip_boxes_rotated(b, (9, 9)), boxes)
    assert torch.autograd.gradcheck(lambda b: ops.rotate_boxes_rotated(b, 33, (2, 5)), boxes)


BOXES = torch.zeros(2, 5)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.min_area_boxes(torch.zeros(4, 4, dtype=torch.bool)), ValueError,
     r"min_area_boxes: masks must have shape \(N, H, W\), got \(4, 4\)"),
    (lambda: ops.min_area_boxes(torch.zeros(1, 4, 4)), TypeError, "min_area_boxes: masks must be bool, .* got float32"),
    (lambda: ops.min_area_boxes([3]), TypeError, "min_area_boxes: masks must be an array, or a list of RLE dicts"),
    (lambda: ops.min_area_boxes([], dtype=torch.int32), TypeError, "min_area_boxes: dtype must be float32 or float64"),
    (lambda: ops.flip_boxes_rotated(BOXES[:, :4], (4, 4)), ValueError,
     r"flip_boxes_rotated: boxes must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: ops.flip_boxes_rotated(BOXES, (4, -4)), ValueError,
     "flip_boxes_rotated: size must be two numbers of at least 0, got"),
    (lambda: ops.rotate_boxes_rotated(BOXES, "right", (4, 4)), TypeError,
     "rotate_boxes_rotated: degrees must be a number, got str"),
    (lambda: ops.rotate_boxes_rotated(BOXES, float("inf"), (4, 4)), ValueError,
     "rotate_boxes_rotated: degrees must be finite, got inf"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
