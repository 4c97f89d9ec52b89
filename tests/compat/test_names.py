"""roikit.compat.torchvision beside torchvision.ops: the same names, arguments, defaults, dtypes and values."""

import inspect

import pytest
import torch

import roikit.compat.torchvision as compat
from roikit import ops
from roikit.data.rotated import boxes_of_corners, corners_of_boxes

BACKBONE = "a building block of backbones, which pools and compares no regions"
LEFT_OUT = {
    "Conv2dNormActivation": BACKBONE,
    "Conv3dNormActivation": BACKBONE,
    "DropBlock2d": BACKBONE,
    "DropBlock3d": BACKBONE,
    "FeaturePyramidNetwork": "roikit.models.FeaturePyramidNetwork has other arguments, and the same state",
    "MLP": BACKBONE,
    "Permute": BACKBONE,
    "SqueezeExcitation": BACKBONE,
    "StochasticDepth": BACKBONE,
    "drop_block2d": BACKBONE,
    "drop_block3d": BACKBONE,
    "stochastic_depth": BACKBONE,
}
NAMES = sorted(set(compat.__all__) - {"install", "uninstall"})
PAIRWISE = ("box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32,
          torch.int64]


def draw(count, dtype=torch.float32, seed=0, fmt="xyxy", lead=()):
    """Boxes (*lead, count, K) with sides of at least 1, in small numbers that half precision holds."""
    g = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 30, (*lead, count, 2), generator=g).double()
    size = torch.randint(1, 25, (*lead, count, 2), generator=g).double()
    boxes = {"xyxy": [corner, corner + size], "xywh": [corner, size], "cxcywh": [corner, size]}.get(fmt)
    if boxes is None:
        turn = torch.randint(-170, 170, (*lead, count, 1), generator=g).double()
        boxes = [corner, size, turn]
    return torch.cat(boxes, dim=-1).to(dtype)


def test_every_name_of_torchvision_ops_is_here_or_left_out_for_a_reason(torchvision):
    assert sorted(torchvision.ops.__all__) == sorted([*NAMES, *LEFT_OUT])


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults_are_torchvisions(torchvision, name):
    def listed(module):
        thing = getattr(module, name)
        thing = thing.__init__ if inspect.isclass(thing) else thing
        return [(p.name, p.kind, p.default) for p in inspect.signature(thing).parameters.values()]

    theirs, ours = listed(torchvision.ops), listed(compat)
    assert ours[: len(theirs)] == theirs
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for _, kind, _ in ours[len(theirs):])


def test_the_names_need_no_torchvision(run_python):
    run_python("""
import sys
sys.modules["torchvision"] = None
import torch
import roikit.compat.torchvision as tv
assert tv.box_iou(torch.tensor([[0, 0, 4, 4]]), torch.tensor([[0, 0, 4, 2]])).item() == 0.5
assert tv.nms(torch.tensor([[0.0, 0, 4, 4]]), torch.ones(1), 0.5).tolist() == [0]
""")


@pytest.mark.parametrize("lead", [(), (2,), (0, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRWISE)
def test_overlaps_of_any_dtype_and_leading_axes(torchvision, name, dtype, lead):
    a, b = draw(7, dtype, 0, lead=lead), draw(5, dtype, 1)
    expected, found = (getattr(module, name)(a, b) for module in (torchvision.ops, compat))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("one", "other"), [((2, 0), (2, 5)), ((2, 5), (2, 0)), ((0, 3, 0), (0,)), ((2, 1, 4), (3, 0))])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int16])
@pytest.mark.parametrize("name", PAIRWISE)
def test_overlaps_of_no_boxes(torchvision, name, dtype, one, other):
    a, b = (draw(shape[-1], dtype, lead=shape[:-1]) for shape in (one, other))
    expected, found = (getattr(module, name)(a, b) for module in (torchvision.ops, compat))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("one", "other"), [(torch.float32, torch.float64), (torch.int32, torch.float16),
                                            (torch.float64, torch.int64), (torch.float16, torch.float32),
                                            (torch.int16, torch.int64)])
@pytest.mark.parametrize("name", PAIRWISE)
def test_overlaps_of_two_dtypes(torchvision, name, one, other):
    a, b = draw(7, one, 0, lead=(2, 1)), draw(5, other, 1, lead=(3,))
    expected, found = (getattr(module, name)(a, b) for module in (torchvision.ops, compat))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fmt", ["xywh", "cxcywh", "cxcywhr", "xywhr", "xyxyxyxy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_iou_in_other_formats(torchvision, fmt, dtype):
    if fmt == "xyxyxyxy":
        a, b = (torchvision.ops.box_convert(draw(n, dtype, n, "cxcywhr"), "cxcywhr", fmt) for n in (7, 5))
    else:
        a, b = draw(7, dtype, 0, fmt), draw(5, dtype, 1, fmt)
    expected = torchvision.ops.box_iou(a, b, fmt=fmt)
    torch.testing.assert_close(compat.box_iou(a, b, fmt), expected, rtol=1e-5, atol=1e-5)


def test_rotated_boxes_turn_as_the_corners_of_box_convert_say():
    """Counter-clockwise where y points down: (cos, -sin) along the width."""
    box = torch.tensor([[10.0, 20.0, 8.0, 4.0, 30.0]], dtype=torch.float64)
    corners = compat.box_convert(box, "cxcywhr", "xyxyxyxy").reshape(4, 2)
    torch.testing.assert_close(corners[1] - corners[0], torch.tensor([8 * 3**0.5 / 2, -4.0], dtype=torch.float64))
    torch.testing.assert_close(corners.mean(0), box[0, :2])
    inside = torch.cat([corners.mean(0) + (corners[1] - corners[0]) / 4, torch.tensor([4.0, 4.0, 30.0])])[None]
    assert compat.box_iou(box, inside, "cxcywhr").item() == pytest.approx(0.5, abs=1e-9)


def test_the_corners_of_roikits_rotated_boxes_are_torchvisions(torchvision):
    """Those that data sets and pictures use, and those that the overlap has, in torchvision's order."""
    boxes = draw(40, torch.float64, fmt="cxcywhr")
    theirs = torchvision.ops.box_convert(boxes, "cxcywhr", "xyxyxyxy")
    own = torch.from_numpy(corners_of_boxes(boxes.numpy())).reshape(-1, 8)
    torch.testing.assert_close(own, theirs, rtol=0, atol=1e-9)
    torch.testing.assert_close(ops.box_convert(boxes, "cxcywhr", "xyxyxyxy"), theirs, rtol=0, atol=1e-9)
    back = torch.from_numpy(boxes_of_corners(theirs.reshape(-1, 4, 2).numpy()))
    expected = torchvision.ops.box_convert(theirs, "xyxyxyxy", "cxcywhr")
    assert ops.box_iou_rotated(back, expected).diagonal().min() > 1 - 1e-6


@pytest.mark.parametrize("lead", [(), (2,), (0, 3)])
@pytest.mark.parametrize("fmt", ["xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint8])
def test_areas(torchvision, dtype, fmt, lead):
    boxes = draw(7, dtype, fmt=fmt, lead=lead)
    torch.testing.assert_close(compat.box_area(boxes, fmt), torchvision.ops.box_area(boxes, fmt), rtol=0, atol=0)


@pytest.mark.parametrize("lead", [(), (2,), (0, 3)])
@pytest.mark.parametrize(("formats", "dtype"), [
    *((("xyxy", "xywh", "cxcywh"), dtype) for dtype in DTYPES),
    *((("xywhr", "cxcywhr", "xyxyxyxy"), dtype) for dtype in DTYPES if dtype not in (torch.bfloat16, torch.int8))])
def test_conversions(torchvision, formats, dtype, lead):
    for source in formats:
        boxes = draw(7, dtype, fmt=source, lead=lead)
        if source == "xyxyxyxy":
            boxes = compat.box_convert(draw(7, torch.float64, fmt="xywhr", lead=lead), "xywhr", source).to(dtype)
        for target in formats:
            expected, found = (m.box_convert(boxes, source, target) for m in (torchvision.ops, compat))
            if formats[0] == "xywhr":  # angles and roots: torchvision rounds each step of half, this the result
                coarse = 0.2 if dtype == torch.float16 else 1e-4 if dtype.is_floating_point else 1
                torch.testing.assert_close(found, expected, rtol=2e-3 if dtype == torch.float16 else 0, atol=coarse)
            else:
                torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_formats_that_do_not_go_together_are_errors():
    with pytest.raises(NotImplementedError, match="both be upright or both rotated"):
        compat.box_convert(draw(1), "xyxy", "xywhr")
    with pytest.raises(ValueError, match="in_fmt must be one of"):
        compat.box_convert(draw(1), "yxyx", "xyxy")
    with pytest.raises(ValueError, match="fmt must be one of"):
        compat.box_area(draw(1), "xyxyxyxy")
    with pytest.raises(ValueError, match="fmt must be one of"):
        compat.box_iou(draw(1), draw(1), "yxyx")


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_and_small_boxes(torchvision, dtype):
    boxes = draw(40, dtype)
    for module in (compat, torchvision.ops):
        assert module.clip_boxes_to_image(boxes[None], (20, 33)).dtype == dtype
    both = [m.clip_boxes_to_image(boxes[None], (20, 33)) for m in (compat, torchvision.ops)]
    torch.testing.assert_close(*both, rtol=0, atol=0)
    both = [m.remove_small_boxes(boxes, 9) for m in (compat, torchvision.ops)]
    assert torch.equal(*both) and 0 < len(both[0]) < 40


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0), (2, 0, 4)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_boxes_without_an_entry_of_any_shape_suppress_nothing(torchvision, dtype, shape):
    both = [m.batched_nms(torch.empty(shape, dtype=dtype), None, None, None) for m in (compat, torchvision.ops)]
    torch.testing.assert_close(*both)


def test_masks_to_boxes(torchvision):
    masks = torch.zeros(3, 9, 11, dtype=torch.uint8)
    masks[0, 2:5, 3:9] = 1
    masks[1, 8, 10] = 1
    for dtype in (torch.uint8, torch.bool, torch.float16, torch.float64, torch.int64):
        both = [m.masks_to_boxes(masks.to(dtype)) for m in (compat, torchvision.ops)]
        torch.testing.assert_close(*both)
    for shape in ((0,), (0, 9, 11), (0, 4)):
        torch.testing.assert_close(*[m.masks_to_boxes(torch.empty(shape)) for m in (compat, torchvision.ops)])
    assert compat.masks_to_boxes(masks, inclusive=False)[1].tolist() == [10, 8, 11, 9]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", ["generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss"])
def test_losses_of_boxes(torchvision, name, reduction):
    a, b = (draw(7, seed=0) + 0.375).requires_grad_(), draw(7, torch.int64, 1)  # no side of one on a side of the other
    losses = [getattr(m, name)(a, b, reduction) for m in (compat, torchvision.ops)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*[torch.autograd.grad(x.sum(), a)[0] for x in losses], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lead", [((), ()), ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), (2, 1)), ((0, 3), (0, 3))])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", ["generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss"])
def test_losses_of_boxes_with_leading_axes(torchvision, name, reduction, lead):
    a, b = ((draw(1, lead=shape, seed=i) + 0.375 * i)[..., 0, :].requires_grad_() for i, shape in enumerate(lead))
    losses = [getattr(m, name)(a, b, reduction=reduction) for m in (compat, torchvision.ops)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(x.sum(), (a, b)) for x in losses]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_focal_loss(torchvision, reduction):
    logits, targets = torch.linspace(-8, 8, 30), (torch.arange(30) % 3 == 0).float()
    losses = [m.sigmoid_focal_loss(logits, targets, 0.3, 1.5, reduction) for m in (compat, torchvision.ops)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)


def test_suppression_by_class(torchvision):
    """torchvision's own by offsets, and by class for many boxes."""
    g = torch.Generator().manual_seed(3)
    for count in (300, 1500):
        corner = torch.rand(count, 2, generator=g) * 60
        boxes = torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=g) * 20], 1)
        scores, classes = torch.rand(count, generator=g), torch.randint(0, 4, (count,), generator=g)
        for idxs in (classes, classes.float()):
            kept = [m.batched_nms(boxes, scores, idxs, 0.4) for m in (compat, torchvision.ops)]
            assert torch.equal(*kept) and len(kept[0]) < count


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"], ["a", "b", "absent"], ["b"]])
@pytest.mark.parametrize("size", [3, (3, 2), [2, 3]])
def test_multiscale_roi_align_takes_the_maps_that_are_there(torchvision, names, size):
    g = torch.Generator().manual_seed(0)
    maps = {"a": torch.rand(2, 4, 32, 40, generator=g), "unused": torch.rand(2, 4, 24, 20, generator=g),
            "b": torch.rand(2, 4, 16, 20, generator=g)}
    boxes = [draw(6, seed=1) * 3, draw(4, seed=2)]
    pools = [m.MultiScaleRoIAlign(names, size, 2, canonical_scale=30, canonical_level=3)
             for m in (compat, torchvision.ops)]
    assert pools[0].output_size == pools[1].output_size
    found, expected = (pool(maps, boxes, [(128, 160), (120, 150)]) for pool in pools)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "arguments"), [
    ("DeformConv2d", {"kernel_size": 3}),
    ("DeformConv2d", {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1, "dilation": 2, "groups": 2}),
    ("DeformConv2d", {"kernel_size": 1, "bias": False}),
    ("MultiScaleRoIAlign", {"featmap_names": ["0", "1"], "output_size": 7, "sampling_ratio": 2}),
    ("MultiScaleRoIAlign", {"featmap_names": ["0"], "output_size": [7, 5], "sampling_ratio": -1}),
])
def test_modules_print_as_torchvisions(torchvision, name, arguments):
    channels = (6, 4) if name == "DeformConv2d" else ()
    ours, theirs = (repr(getattr(m, name)(*channels, **arguments)) for m in (compat, torchvision.ops))
    assert ours == theirs


def test_modules_hold_what_torchvisions_hold(torchvision):
    x = torch.rand(1, 8, 9, 9)
    rois = torch.tensor([[0, 1.0, 2.0, 7.0, 8.0]])
    for name, arguments in (("RoIAlign", (3, 0.5, 2, True)), ("RoIPool", ((3, 2), 0.5)), ("PSRoIAlign", (2, 0.5, 2)),
                            ("PSRoIPool", (2, 0.5))):
        ours, theirs = (getattr(m, name)(*arguments) for m in (compat, torchvision.ops))
        assert repr(ours) == repr(theirs)
        assert torch.equal(ours(x, rois), theirs(x, rois))
    ours, theirs = (m.FrozenBatchNorm2d(8) for m in (compat, torchvision.ops))
    assert repr(ours) == repr(theirs) and compat.misc.FrozenBatchNorm2d is compat.FrozenBatchNorm2d
    theirs.load_state_dict({name: torch.rand(8) for name in ours.state_dict()})
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
