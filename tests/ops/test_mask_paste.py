"""Mask paste on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops
from roikit.errors import BackendError
from roikit.reference import mask_paste as reference
from roikit.testing import strategies as some

RULES = ("continuous", "integer")


@st.composite
def cases(draw):
    boxes = draw(some.boxes(dtype=draw(st.sampled_from([np.float16, np.float32, np.float64])), max_size=4))
    return draw(some.soft_masks(len(boxes))), boxes


@given(case=cases(), size=st.tuples(st.integers(0, 20), st.integers(0, 20)), rule=st.sampled_from(RULES),
       threshold=st.sampled_from([None, 0.5, 1 / 3, 1.0]))
def test_paste_agrees_with_the_reference(case, size, rule, threshold):
    expected = reference.paste_masks(*case, size, threshold=threshold, rule=rule)
    masks, boxes = map(torch.from_numpy, case)
    got = ops.paste_masks(masks, boxes, size, threshold=threshold, rule=rule)
    assert str(got.dtype) == f"torch.{expected.dtype}"
    np.testing.assert_array_equal(got.numpy(), expected)
    if threshold is not None:
        runs = ops.paste_masks_rle(masks, boxes, size, threshold=threshold, rule=rule)
        assert runs == kernels.paste_masks_rle(*case, size, threshold=threshold, rule=rule)


def some_masks(n=6, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(n, 2, generator=g) * 20 - 4
    boxes = torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=g) * 20], 1)
    return torch.rand(n, 1, 7, 7, generator=g).to(dtype), boxes.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_masks_and_boxes_are_cast_to_float32(dtype):
    masks, boxes = some_masks(dtype=dtype)
    for threshold in (None, 0.5):
        got = ops.paste_masks(masks, boxes, (24, 24), threshold=threshold)
        assert torch.equal(got, ops.paste_masks(masks.float(), boxes.float(), (24, 24), threshold=threshold))


@pytest.mark.parametrize("threshold, dtype", [(0.5, torch.bool), (None, torch.float32)])
def test_the_result_is_an_ordinary_tensor_without_gradient(threshold, dtype):
    masks, boxes = some_masks()
    out = ops.paste_masks(masks.requires_grad_(), boxes, (24, 30), threshold=threshold)
    assert out.shape == (6, 24, 30) and out.dtype == dtype and not out.requires_grad
    assert out.is_contiguous() and out.fill_(1).all()
    assert len(ops.paste_masks_rle(masks, boxes, (24, 30))) == 6


def test_the_result_does_not_depend_on_the_number_of_threads():
    masks, boxes = some_masks(40)
    boxes, before = boxes * 20, torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append((ops.paste_masks(masks, boxes, (500, 500), threshold=None),
                            ops.paste_masks_rle(masks, boxes, (500, 500))))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("threshold", [0.5, None])
def test_registration(rule, threshold):
    masks, boxes = some_masks()
    torch.library.opcheck(torch.ops.roikit.paste_masks, (masks[:, 0], boxes, 20, 24, threshold, rule))
    torch.library.opcheck(torch.ops.roikit.paste_masks, (masks[:0, 0], boxes[:0], 20, 24, threshold, rule))


def test_compiled_code_gives_the_same():
    masks, boxes = some_masks()

    def both(masks, boxes):
        return (ops.paste_masks(masks, boxes, (20, 24)),
                ops.paste_masks(masks, boxes, (20, 24), threshold=None, rule="integer"))

    for x, y in zip(both(masks, boxes), torch.compile(both, fullgraph=True)(masks, boxes), strict=True):
        assert torch.equal(x, y)


MASKS, BOXES = torch.zeros(2, 3, 3), torch.zeros(2, 4)


@pytest.mark.parametrize("op", ["paste_masks", "paste_masks_rle"])
@pytest.mark.parametrize("arguments, named, kind, text", [
    ((MASKS[0], BOXES, (4, 4)), {}, ValueError,
     r"masks must have shape \(N, M, M\) or \(N, 1, M, M\), got \(3, 3\)"),
    ((MASKS.int(), BOXES, (4, 4)), {}, TypeError, "masks must be float16, bfloat16, float32 or float64, got int32"),
    (([[0.5]], BOXES, (4, 4)), {}, TypeError, "masks must be an array or a tensor, got list"),
    ((MASKS, BOXES[:1], (4, 4)), {}, ValueError, r"boxes must have one row a mask \(2\), got 1"),
    ((MASKS, BOXES.T, (4, 4)), {}, ValueError,
     r"boxes must have shape \(N, 4\), got \(4, 2\)\. Did you mean boxes\.T\?"),
    ((MASKS, BOXES.to("meta"), (4, 4)), {}, ValueError,
     "masks and boxes must be on the same device, got .* and meta"),
    ((MASKS, BOXES, (4, 4)), {"rule": "exact"}, ValueError, "rule must be one of 'continuous', 'integer', got 'exact'"),
    ((MASKS, BOXES, (4, -4)), {}, ValueError, "image_size must be at least 0, got -4"),
    ((MASKS, BOXES, (4, 4)), {"threshold": 0.0}, ValueError, r"threshold must be above 0, got 0\.0"),
    ((MASKS, BOXES, (4, 4)), {"threshold": 1e-60}, ValueError, "threshold must be above 0, got 1e-60"),
    ((MASKS, BOXES, (4, 4)), {"threshold": "half"}, TypeError, "threshold must be a number, got str"),
])
def test_contract(op, arguments, named, kind, text):
    with pytest.raises(kind, match=f"{op}: {text}"):
        getattr(ops, op)(*arguments, **named)


def test_contract_of_runs():
    with pytest.raises(TypeError, match="paste_masks_rle: threshold must be a number, got NoneType"):
        ops.paste_masks_rle(MASKS, BOXES, (4, 4), threshold=None)
    with pytest.raises(ValueError, match=r"paste_masks_rle: height \* width must be below 2\^32, got 65536 \* 65536"):
        ops.paste_masks_rle(MASKS, BOXES, (65536, 65536))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("op", ["paste_masks", "paste_masks_rle"])
def test_contract_of_cuda_tensors(op):
    with pytest.raises(BackendError, match=f"{op}: the tensors are on cuda:0"):
        getattr(ops, op)(MASKS.cuda(), BOXES.cuda(), (4, 4))
