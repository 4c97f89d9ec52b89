"""Mask assembly on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops
from roikit.reference import mask_assembly as reference
from roikit.testing import strategies as some


@st.composite
def cases(draw):
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    boxes = draw(some.boxes(dtype=dtype, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    count, cells = draw(st.sampled_from([1, 3, 9])), (draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    return np.maximum(rng.normal(size=(count, *cells)), 0).astype(np.float32), np.tanh(
        rng.normal(size=(len(boxes), count))).astype(np.float32), boxes


@given(case=cases(), size=st.tuples(st.integers(0, 20), st.integers(0, 20)),
       threshold=st.sampled_from([None, 0.5, 1 / 3, 0.0]), part=st.sampled_from([None, 0.5, 0.9]))
def test_assembly_agrees_with_the_reference(case, size, threshold, part):
    extent = None if part is None else tuple(part * n for n in case[0].shape[1:])
    expected = reference.assemble_masks(*case, size, extent=extent, threshold=threshold)
    tensors = [torch.from_numpy(x) for x in case]
    got = ops.assemble_masks(*tensors, size, extent=extent, threshold=threshold)
    assert str(got.dtype) == f"torch.{expected.dtype}"
    np.testing.assert_array_equal(got.numpy(), expected)
    if threshold is not None:
        runs = ops.assemble_masks_rle(*tensors, size, extent=extent, threshold=threshold)
        assert runs == kernels.assemble_masks_rle(*case, size, extent=extent, threshold=threshold)


def awkward(cells, height, width, dtype):
    """Boxes that meet an image's borders, fill it, or miss it, as NumPy arrays."""
    boxes = np.array([
        [-5, -5, width + 5, height + 5], [0, 0, width, height], [0, 0, width, 4], [3, -2, width - 4, height + 2],
        [width - 7.5, height - 9, width, height], [0, 0, 1, 1], [width - 1, height - 1, width, height],
        [-40, 5.25, 17, 31], [5, 3, 45, height + 9], [8, -9, 9, height + 9], [-3e8, -3e8, 3e8, 3e8],
        [width + 99, 0, width + 199, 9], [9, 9, 4, 4], [np.nan, 0, 9, 9], [0, 0, np.inf, 9], [4, 4, 4, 4]], dtype)
    rng = np.random.default_rng(sum(cells))
    y, x = np.mgrid[:cells[0], :cells[1]]
    prototypes = np.maximum(np.stack([np.sin(x / 3), np.cos(y / 4), np.sin((x + y) / 5), x * 0 + 1.0]), 0)
    own = rng.uniform(-3, 3, (len(boxes), 4))
    own[[0, 2, 8]] = 2  # inside everywhere
    own[4] = -2
    return prototypes.astype(dtype), own.astype(dtype), boxes


@pytest.mark.parametrize("cells, size, extent, dtype", [
    ((17, 76), (70, 301), None, np.float32), ((1, 1), (33, 128), None, np.float32), ((65, 40), (65, 258), (60.5, 39.25),
                                                                                  np.float64),
    ((60, 70), (20, 31), None, np.float32)])
def test_larger_images_agree_with_the_cpu_kernels(cells, size, extent, dtype):
    case = awkward(cells, *size, dtype)
    tensors = [torch.from_numpy(x) for x in case]
    for limit in (None, 0.5):
        got = ops.assemble_masks(*tensors, size, extent=extent, threshold=limit)
        np.testing.assert_array_equal(got.numpy(),
                                      kernels.assemble_masks(*case, size, extent=extent, threshold=limit))
    runs = ops.assemble_masks_rle(*tensors, size, extent=extent)
    assert runs == kernels.assemble_masks_rle(*case, size, extent=extent)


@pytest.mark.parametrize("size", [(0, 7), (7, 0), (6, 7)])
def test_no_masks_and_no_pixels(size):
    case = torch.ones(2, 4, 4), torch.ones(0, 2), torch.ones(0, 4)
    assert ops.assemble_masks_rle(*case, size) == [] and ops.assemble_masks(*case, size).shape == (0, *size)
    case = torch.ones(2, 4, 4), torch.ones(3, 2), torch.tensor([[0.0, 0, 9, 9]] * 3)
    assert ops.assemble_masks_rle(*case, size) == kernels.assemble_masks_rle(*(x.numpy() for x in case), size)
    assert ops.assemble_masks(*case, size).all() and ops.assemble_masks(*case, size).shape == (3, *size)


def some_parts(n=6, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(n, 2, generator=g) * 20 - 4
    boxes = torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=g) * 20], 1)
    return (torch.rand(5, 9, 7, generator=g).to(dtype), (torch.rand(n, 5, generator=g) * 2 - 1).to(dtype),
            boxes.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_cast_to_float32(dtype):
    parts = some_parts(dtype=dtype)
    for threshold in (None, 0.5):
        got = ops.assemble_masks(*parts, (24, 24), threshold=threshold)
        assert torch.equal(got, ops.assemble_masks(*(x.float() for x in parts), (24, 24), threshold=threshold))


@pytest.mark.parametrize("threshold, dtype", [(0.5, torch.bool), (None, torch.float32)])
def test_the_result_is_an_ordinary_tensor_without_gradient(threshold, dtype):
    prototypes, coefficients, boxes = some_parts()
    out = ops.assemble_masks(prototypes.requires_grad_(), coefficients, boxes, (24, 30), threshold=threshold)
    assert out.shape == (6, 24, 30) and out.dtype == dtype and not out.requires_grad
    assert out.is_contiguous() and out.fill_(1).all()
    assert len(ops.assemble_masks_rle(prototypes, coefficients, boxes, (24, 30))) == 6


def test_the_result_does_not_depend_on_the_number_of_threads(device):
    if device != "cpu":
        pytest.skip("torch's threads are the CPU's")
    prototypes, coefficients, boxes = some_parts(40)
    boxes, before = boxes * 20, torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append((ops.assemble_masks(prototypes, coefficients, boxes, (500, 500), threshold=None),
                            ops.assemble_masks_rle(prototypes, coefficients, boxes, (500, 500))))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]


@pytest.mark.parametrize("threshold", [0.5, None])
def test_registration(threshold):
    prototypes, coefficients, boxes = some_parts()
    op = torch.ops.roikit.assemble_masks
    torch.library.opcheck(op, (prototypes, coefficients, boxes, 9.0, 6.5, 20, 24, threshold))
    torch.library.opcheck(op, (prototypes, coefficients[:0], boxes[:0], 9.0, 7.0, 20, 24, threshold))


def test_compiled_code_gives_the_same():
    parts = some_parts()

    def both(*parts):
        return ops.assemble_masks(*parts, (20, 24)), ops.assemble_masks(*parts, (20, 24), threshold=None)

    for x, y in zip(both(*parts), torch.compile(both, fullgraph=True)(*parts), strict=True):
        assert torch.equal(x, y)


MAPS, OWN, BOXES = torch.zeros(3, 4, 4), torch.zeros(2, 3), torch.zeros(2, 4)


@pytest.mark.parametrize("op", ["assemble_masks", "assemble_masks_rle"])
@pytest.mark.parametrize("arguments, named, kind, text", [
    ((MAPS[0], OWN, BOXES, (4, 4)), {}, ValueError, r"prototypes must have shape \(K, h, w\), got \(4, 4\)"),
    ((MAPS.int(), OWN, BOXES, (4, 4)), {}, TypeError,
     "prototypes must be float16, bfloat16, float32 or float64, got int32"),
    (([[0.5]], OWN, BOXES, (4, 4)), {}, TypeError, "prototypes must be an array or a tensor, got list"),
    ((MAPS, OWN.T, BOXES, (4, 4)), {}, ValueError,
     r"coefficients must have shape \(N, 3\), got \(3, 2\)\. Did you mean coefficients\.T\?"),
    ((MAPS, OWN, BOXES[:1], (4, 4)), {}, ValueError,
     r"boxes must have one row for each of the coefficients \(2\), got 1"),
    ((MAPS, OWN, BOXES.to("meta"), (4, 4)), {}, ValueError,
     "prototypes and coefficients and boxes must be on the same device|must be on the same device"),
    ((MAPS, OWN, BOXES, (4, -4)), {}, ValueError, "image_size must be at least 0, got -4"),
    ((MAPS, OWN, BOXES, (4, 4)), {"threshold": -1}, ValueError, "threshold must be finite and at least 0, got -1"),
    ((MAPS, OWN, BOXES, (4, 4)), {"extent": (5, 4)}, ValueError,
     r"extent must be above 0 and at most the prototypes' \(4, 4\), got \(5, 4\)"),
])
def test_contract(op, arguments, named, kind, text):
    with pytest.raises(kind, match=text) as error:
        getattr(ops, op)(*arguments, **named)
    assert str(error.value).startswith(f"{op}: ")


def test_contract_of_runs():
    with pytest.raises(TypeError, match="assemble_masks_rle: threshold must be a number, got NoneType"):
        ops.assemble_masks_rle(MAPS, OWN, BOXES, (4, 4), threshold=None)
    with pytest.raises(ValueError, match=r"assemble_masks_rle: height \* width must be below 2\^32, got 65536"):
        ops.assemble_masks_rle(MAPS, OWN, BOXES, (65536, 65536))
