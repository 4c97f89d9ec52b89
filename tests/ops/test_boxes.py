"""boxes on tensors: agreement with the reference, gradients, registration, contracts."""

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some


def same(tensor, array):
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert str(tensor.dtype) == f"torch.{array.dtype}"


@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_box_iou_agrees_with_the_reference(data, dtype):
    a, b = data.draw(some.boxes(dtype=dtype)), data.draw(some.boxes(dtype=dtype))
    same(ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)), reference.box_iou(a, b))


@given(boxes=some.boxes(), size=st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_small_functions_agree_with_the_reference(boxes, size):
    tensor = torch.from_numpy(boxes)
    same(ops.box_area(tensor), reference.box_area(boxes))
    same(ops.clip_boxes_to_image(tensor, size), reference.clip_boxes_to_image(boxes, size))
    same(ops.remove_small_boxes(tensor, 2), reference.remove_small_boxes(boxes, 2))
    for formats in (("xyxy", "xywh"), ("xywh", "cxcywh"), ("cxcywh", "xyxy")):
        same(ops.box_convert(tensor, *formats), reference.box_convert(boxes, *formats))


TURNED = ("cxcywhr", "xywhr", "xyxyxyxy")


@given(boxes=some.rotated_boxes(), double=st.booleans(), formats=st.tuples(st.sampled_from(TURNED),
                                                                          st.sampled_from(TURNED)))
def test_rotated_formats_agree_with_the_reference(boxes, double, formats):
    boxes = boxes.astype(np.float64) if double else boxes
    boxes = reference.box_convert(boxes, "cxcywhr", formats[0])
    same(ops.box_convert(torch.from_numpy(boxes), *formats), reference.box_convert(boxes, *formats))


def test_rotated_formats_have_the_bits_of_the_reference_in_large_tensors():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        boxes = rng.uniform([-50, -50, 0, 0, -800], [50, 50, 40, 40, 800], (3000, 5)).astype(dtype)
        boxes[:900, 4] = np.round(boxes[:900, 4] / 45) * 45
        for source in TURNED:
            own = reference.box_convert(boxes, "cxcywhr", source)
            for target in TURNED:
                same(ops.box_convert(torch.from_numpy(own), source, target), reference.box_convert(own, source, target))


@given(masks=some.bitmaps())
def test_boxes_of_masks_agree_with_the_reference(masks):
    for inclusive in (True, False):
        same(ops.masks_to_boxes(torch.from_numpy(masks), inclusive=inclusive),
             reference.masks_to_boxes(masks, inclusive=inclusive))


IOUS = ("box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou")
AWKWARD = [[0, 0, 0, 0], [3, 3, 1, 1], [np.nan, 0, 1, 1], [0, 0, np.inf, 1], [-np.inf, 0, np.inf, 4],
           [0, 0, 1e30, 1e30], [-0.0, 0, -0.0, 2], [0, 0, -0.0, 1], [2, 2, 6, 6]]


@pytest.mark.parametrize("name", IOUS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n, m", [(1, 1), (7, 1), (3, 50), (1100, 3), (2, 257), (5, 1030), (2, 1100), (0, 4), (4, 0),
                                  (540, 52), (3, 34)])
def test_ious_give_the_bits_of_the_kernels_at_every_size(n, m, dtype, name):
    rng = np.random.default_rng(n * m)

    def some_boxes(count):
        corner = rng.integers(0, 40, (count, 2))
        boxes = np.concatenate([corner, corner + rng.integers(-3, 30, (count, 2))], axis=1).astype(dtype)
        where = rng.random(count) < 0.2
        boxes[where] = np.array(AWKWARD, dtype)[rng.integers(0, len(AWKWARD), where.sum())]
        return boxes

    a, b = some_boxes(n), some_boxes(m)
    mine, theirs = getattr(ops, name)(torch.from_numpy(a), torch.from_numpy(b)).numpy(), getattr(kernels, name)(a, b)
    assert mine.tobytes() == theirs.tobytes()  # the sign of 0 included


def test_box_iou_takes_boxes_at_any_address():
    numbers = torch.rand(50, generator=torch.Generator().manual_seed(0)) * 9
    a, b = numbers[1:17].view(4, 4), numbers[19:43].view(6, 4)
    assert torch.equal(ops.box_iou(a, b), ops.box_iou(a.clone(), b.clone()))


def test_half_boxes_are_cast_to_float32():
    for dtype in (torch.float16, torch.bfloat16):
        boxes = torch.tensor([[0, 0, 3, 3], [1, 1, 4, 4]], dtype=dtype)
        assert torch.equal(ops.box_iou(boxes, boxes), ops.box_iou(boxes.float(), boxes.float()))
        assert ops.box_area(boxes).dtype == torch.float32


def overlapping(n, seed):
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=g, dtype=torch.float64) * 4
    return torch.cat([corner, corner + 2 + torch.rand(n, 2, generator=g, dtype=torch.float64)], 1).requires_grad_()


def test_gradients():
    a, b = overlapping(4, 0), overlapping(3, 1)
    assert torch.autograd.gradcheck(ops.box_iou, (a, b))
    assert torch.autograd.gradcheck(ops.box_area, (a,))
    assert torch.autograd.gradcheck(lambda x: ops.box_convert(x, "xyxy", "cxcywh"), (a,))
    assert torch.autograd.gradcheck(lambda x: ops.clip_boxes_to_image(x, (5, 5)), (a,))


@pytest.mark.parametrize("source", TURNED)
@pytest.mark.parametrize("target", TURNED)
def test_gradients_of_rotated_formats(source, target):
    boxes = torch.tensor([[9, 5, 8, 4, 30], [2, 3, 5, 7, 0], [1, 1, 2, 3, 135], [4, 4, 3, 9, -90]]).double()
    own = ops.box_convert(boxes, "cxcywhr", source).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ops.box_convert(x, source, target), (own,))
    point = ops.box_convert(boxes * 0 + 3, "cxcywhr", source).requires_grad_()
    point.data[:] = 3 if source == "xyxyxyxy" else point.data
    ops.box_convert(point, source, target).sum().backward()
    assert point.grad.isfinite().all()


@pytest.mark.parametrize("apart", [3, 9])
def test_gradients_of_the_relatives(apart):
    a, b = overlapping(4, 0), overlapping(3, 1)
    b = (b.detach() + torch.tensor([0, 0, 0.7, apart], dtype=torch.float64)).requires_grad_()  # of other shapes, too
    assert torch.autograd.gradcheck(ops.generalized_box_iou, (a, b))
    assert torch.autograd.gradcheck(ops.distance_box_iou, (a, b))
    assert torch.autograd.gradcheck(ops.generalized_box_iou, (a, (b.detach() + apart).requires_grad_()))
    assert torch.autograd.gradcheck(ops.distance_box_iou, (a, (b.detach() + apart).requires_grad_()))


def complete_formula(a, b, eps=1e-7):
    """The complete IoU with alpha held constant, for autograd."""
    a, b = a[:, None], b[None]
    size = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    inter, (area_a, area_b) = size.prod(-1), ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    iou = inter / (area_a + area_b - inter)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    away = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4 / (hull.square().sum(-1) + eps)
    angles = [torch.atan((x[..., 2] - x[..., 0]) / (x[..., 3] - x[..., 1])) for x in (a, b)]
    v = 4 / torch.pi**2 * (angles[0] - angles[1]) ** 2
    return iou - away - (v / (1 - iou + v + eps)).detach() * v


def test_gradient_of_complete_iou_holds_alpha_constant():
    a, b = overlapping(4, 0), overlapping(3, 1)
    b = (b.detach() * torch.tensor([1, 1, 1.1, 1.8], dtype=torch.float64)).requires_grad_()
    ours, theirs = ops.complete_box_iou(a, b), complete_formula(a, b)
    torch.testing.assert_close(ours, theirs)
    weights = torch.rand(ours.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for x, y in zip(*(torch.autograd.grad((out * weights).sum(), (a, b)) for out in (ours, theirs)), strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("name", IOUS)
def test_gradient_of_awkward_boxes_is_finite(name):
    awkward = torch.tensor([[0, 0, 0, 0], [3, 3, 1, 1], [float("nan"), 0, 1, 1], [0, 0, float("inf"), 1],
                            [0, 0, 1e30, 1e30], [0, 0, 2, 2]], requires_grad=True)
    getattr(ops, name)(awkward, awkward).sum().backward()
    assert torch.isfinite(awkward.grad).all()


@pytest.mark.parametrize("name", IOUS)
def test_a_box_that_is_not_finite_leaves_the_gradients_of_others_alone(name):
    a, b = overlapping(3, 0), overlapping(2, 1).detach()
    alone = torch.autograd.grad(getattr(ops, name)(a, b).sum(), a)[0]
    spoilt = torch.cat([b, b.new_tensor([[float("nan"), 0, 1, 1], [0, 0, float("inf"), 1]])])
    torch.testing.assert_close(torch.autograd.grad(getattr(ops, name)(a, spoilt).sum(), a)[0], alone)


@pytest.mark.parametrize("name", IOUS)
def test_gradient_flows_through_compiled_code(name):
    a, b = overlapping(4, 0), overlapping(3, 1)
    op = getattr(ops, name)
    eager = torch.autograd.grad(op(a, b).sum(), (a, b))
    compiled = torch.autograd.grad(torch.compile(op, fullgraph=True)(a, b).sum(), (a, b))
    for x, y in zip(eager, compiled, strict=True):
        torch.testing.assert_close(x, y)


def test_registration():
    torch.library.opcheck(torch.ops.roikit.box_iou, (overlapping(4, 0), overlapping(3, 1)))
    torch.library.opcheck(torch.ops.roikit.box_iou, (torch.empty(0, 4), torch.rand(3, 4)))
    torch.library.opcheck(torch.ops.roikit.generalized_box_iou, (overlapping(4, 0), overlapping(3, 1)))
    for op in (torch.ops.roikit.distance_box_iou, torch.ops.roikit.complete_box_iou):
        torch.library.opcheck(op, (overlapping(4, 0), overlapping(3, 1), 1e-7))


def test_small_functions_compile():
    a = overlapping(4, 0).detach()

    def all_of_them(x):
        corners = ops.box_convert(torch.cat([x, x[:, :1]], 1), "cxcywhr", "xyxyxyxy")
        turned = ops.box_convert(corners, "xyxyxyxy", "xywhr")
        return (turned, ops.box_area(x), ops.box_convert(x, "xyxy", "xywh"), ops.clip_boxes_to_image(x, (3, 4)),
                ops.remove_small_boxes(x, 2.5))

    for x, y in zip(all_of_them(a), torch.compile(all_of_them, fullgraph=True)(a), strict=True):
        assert torch.equal(x, y)


@pytest.mark.skipif(importlib.util.find_spec("roikit._cuda") is None, reason="built without CUDA")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_cuda_module_imports_without_a_device_and_a_call_says_so():
    from roikit import _core, _cuda
    from roikit.errors import CudaError

    view = _core.View(np.zeros((2, 4), np.float32))
    with pytest.raises(CudaError, match="^box_iou: "):
        _cuda.box_iou(view, view, _core.View(np.zeros((2, 2), np.float32)), _core.Launch())


BOX = torch.zeros(2, 4)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.box_iou(torch.zeros(4, 2), BOX), ValueError,
     r"box_iou: boxes1 must have shape \(N, 4\), got \(4, 2\)\. Did you mean boxes1\.T\?"),
    (lambda: ops.box_iou(BOX, BOX[0]), ValueError, r"box_iou: boxes2 must have shape \(N, 4\), got \(4,\)"),
    (lambda: ops.box_iou(BOX.long(), BOX), TypeError,
     "box_iou: boxes1 must be float16, bfloat16, float32 or float64, got int64"),
    (lambda: ops.box_iou([[0, 0, 1, 1]], BOX), TypeError, "box_iou: boxes1 must be an array or a tensor, got list"),
    (lambda: ops.box_iou(BOX, BOX.to("meta")), ValueError,
     "box_iou: boxes1 and boxes2 must be on the same device, got .* and meta"),
    (lambda: ops.box_convert(BOX, "ltrb", "xyxy"), ValueError, "box_convert: in_fmt must be one of"),
    (lambda: ops.box_convert(BOX, "xyxyxyxy", "xyxy"), ValueError, "box_convert: in_fmt and out_fmt must both be"),
    (lambda: ops.box_convert(BOX, "xyxyxyxy", "xywhr"), ValueError, r"boxes must have shape \(N, 8\), got \(2, 4\)"),
    (lambda: ops.clip_boxes_to_image(BOX, (1, 2, 3)), TypeError, "clip_boxes_to_image: size must be a whole number"),
    (lambda: ops.distance_box_iou(BOX, BOX, float("inf")), ValueError,
     "distance_box_iou: eps must be finite and at least 0, got inf"),
    (lambda: ops.complete_box_iou(BOX, BOX.long()), TypeError, "complete_box_iou: boxes2 must be .*, got int64"),
    (lambda: ops.masks_to_boxes(BOX), ValueError, r"masks_to_boxes: masks must have shape \(N, H, W\), got \(2, 4\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
