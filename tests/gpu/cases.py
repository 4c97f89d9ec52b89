"""One call of every op, forward and backward, on inputs that are made on any device from a seed.

The tests of this folder run them on streams, in graphs, at odd addresses and under compute-sanitizer; `conftest.py`
hands them out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from roikit import ops

SIZE = (37, 53)
SCALES = [1 / 2, 1 / 4, 1 / 8]


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        name: of the op, and what of it.
        make: seed -> the inputs, tensors in the host's memory.
        call: inputs -> a tensor, or a list of tensors and of what else the op gives.
        fixed: the size of the result does not depend on the data, so that a CUDA graph can hold it.
        exact: the result has the same bits on every device and in every run.
    """

    name: str
    make: Callable
    call: Callable
    fixed: bool = True
    exact: bool = True

    def inputs(self, device, seed=0):
        """The inputs on the device, leaves where they need a gradient."""
        return [on(x, device) for x in self.make(seed)]


def on(x, device):
    return x.detach().to(device).requires_grad_(x.requires_grad)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def boxes(n, seed, most=24.0):
    """Boxes around the image, some of them partly outside it."""
    g = generator(seed)
    corner = torch.rand(n, 2, generator=g) * 48 - 6
    return torch.cat([corner, corner + 0.5 + torch.rand(n, 2, generator=g) * most], 1)


def rois(n, images, seed):
    index = torch.randint(0, images, (n, 1), generator=generator(seed + 1)).float()
    return torch.cat([index, boxes(n, seed)], 1)


def scores(n, seed):
    return (torch.rand(n, generator=generator(seed + 2)) * 64).round() / 64  # with ties


def maps(shape, seed, dtype=torch.float32, last=False):
    form = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(*shape, generator=generator(seed + 3)).to(dtype)
    return x.contiguous(memory_format=form).requires_grad_()


def gradient_of(call):
    """The gradient of ``call(*maps, rois)``; the last input is the gradient of the output, rois come before it."""
    def backward(*inputs):
        *given, grad = inputs
        leaves = [x for x in given if x.requires_grad]
        return list(torch.autograd.grad(call(*given), leaves, grad))
    return backward


def _one_map(channels, dtype=torch.float32, last=False):
    return lambda seed: (maps((2, channels, 19, 27), seed, dtype, last), rois(40, 2, seed))


def _with_gradient(make, cells, channels):
    """``make`` and the gradient of (40, channels, cells, cells), in the dtype and the format of the first map."""
    def both(seed):
        x, *rest = make(seed)
        grad = torch.randn(40, channels, cells, cells, generator=generator(seed + 4)).to(x.dtype)
        last = not x.is_contiguous()
        return x, *rest, grad.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    return both


def _with_ps_gradient(make):
    """``make`` and the gradient of (40, 2, 2, 3), in the dtype of the map."""
    return lambda seed: (*make(seed), torch.randn(40, 2, 2, 3, generator=generator(seed + 4)).to(make(seed)[0].dtype))


def _pyramid(last=False):
    return lambda seed: (*(maps((2, 12, 32 >> i, 40 >> i), seed + i, last=last) for i in range(3)), rois(40, 2, seed))


def align(x, boxes):
    return ops.roi_align(x, boxes, 5, 0.5, 2, True)


def adaptive(x, boxes):
    return ops.roi_align(x, boxes, 3, 0.5)


def align_max(x, boxes):
    return ops.roi_align(x, boxes, 5, 0.5, 2, True, reduce="max")


def pool(x, boxes):
    return ops.roi_pool(x, boxes, 4, 0.5)


def ps_align(x, boxes):
    return ops.ps_roi_align(x, boxes, (2, 3), 0.5)


def ps_pool(x, boxes):
    return ops.ps_roi_pool(x, boxes, (2, 3), 0.5)


def rotated(x, boxes):
    degrees = 30 * (torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype) % 13)[:, None]
    sides = boxes[:, 3:] - boxes[:, 1:3]
    return ops.roi_align_rotated(x, torch.cat([boxes[:, :1], boxes[:, 1:3] + sides / 2, sides, degrees], 1), 4, 0.5)


def warp(x, boxes):
    return ops.roi_warp(x, boxes, 4, 0.5)


def warp_mean(x, boxes):
    return ops.roi_warp(x, boxes, 4, 0.5, reduce="mean")


def multiscale(*inputs):
    return ops.multiscale_roi_align(inputs[:3], inputs[3], 3, SCALES, canonical_scale=12, canonical_level=2)


def multiscale_max(*inputs):
    return ops.multiscale_roi_align(inputs[:3], inputs[3], 3, SCALES, canonical_scale=12, canonical_level=2,
                                    reduce="max")


def _paste(rule, threshold):
    return Case(f"paste_masks {rule} {'soft' if threshold is None else 'bool'}", _masks_and_boxes,
                lambda m, b: ops.paste_masks(m, b, SIZE, threshold=threshold, rule=rule))


def _masks_and_boxes(seed):
    return torch.rand(21, 14, 14, generator=generator(seed)), boxes(21, seed)


def _bitmaps(seed):
    g = generator(seed)
    return (torch.rand(5, *SIZE, generator=g) < 0.6, boxes(33, seed),
            torch.randint(0, 5, (33,), generator=g))


def _pairs(seed):
    return boxes(700, seed), boxes(90, seed + 9)


def _codec(seed):
    return boxes(1500, seed), boxes(1500, seed + 9)


def _candidates(n):
    return lambda seed: (boxes(n, seed), scores(n, seed))


def turned(b, seed):
    """Rotated boxes with the centres and sides of upright ones."""
    degrees = torch.randint(-6, 7, (len(b), 1), generator=generator(seed + 7)) * 30.0
    return torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2], degrees], 1)


def _classes(seed):
    return boxes(2100, seed), scores(2100, seed), torch.randint(-1, 5, (2100,), generator=generator(seed))


def _leaves(make):
    return lambda seed: [x.requires_grad_() if x.is_floating_point() else x for x in make(seed)]


def _codec_gradient(op):
    def both(first, anchors):
        result = op(first, anchors, (10.0, 10.0, 5.0, 5.0))
        return list(torch.autograd.grad(result.square().sum(), [first, anchors]))
    return both


def _iou_gradient(op):
    return lambda a, b: list(torch.autograd.grad(op(a, b).square().sum(), [a, b]))


def _convolution(channels, dtype, groups=1, last=False):
    """Map, offset, weight, bias, mask, and the gradient of the output."""
    def make(seed):
        g = generator(seed + 5)
        x = maps((2, channels, 19, 27), seed, dtype, last)
        rest = [2 * torch.randn(2, 36, 19, 27, generator=g), torch.randn(22, channels // groups, 3, 3, generator=g) / 9,
                torch.randn(22, generator=g), torch.rand(2, 18, 19, 27, generator=g)]
        return x, *(t.to(dtype).requires_grad_() for t in rest), torch.randn(2, 22, 19, 27, generator=g).to(dtype)
    return make


def convolve(x, offset, weight, bias, mask):
    return ops.deform_conv2d(x, offset, weight, bias, 1, 1, 1, mask)


def _convolution_cases():
    for channels, dtype, groups, last in ((34, torch.float32, 1, False), (44, torch.float32, 2, True),
                                          (6, torch.float64, 1, False), (20, torch.float16, 1, False),
                                          (20, torch.bfloat16, 2, False)):
        make = _convolution(channels, dtype, groups, last)
        kind = f"{channels} {str(dtype).removeprefix('torch.')}{' channels_last' if last else ''}"
        yield Case(f"deform_conv2d {kind}", make, lambda *given: convolve(*given[:5]), exact=False)
        yield Case(f"deform_conv2d backward {kind}", make, gradient_of(convolve), exact=False)


def _roi_cases():
    for channels, dtype, last in ((19, torch.float32, False), (16, torch.float32, True), (3, torch.float64, False),
                                  (16, torch.float16, False), (24, torch.bfloat16, True), (7, torch.float16, True)):
        make = _one_map(channels, dtype, last)
        kind = f"{channels} {str(dtype).removeprefix('torch.')}{' channels_last' if last else ''}"
        for name, call, cells in (("roi_align", align, 5), ("roi_align adaptive", adaptive, 3),
                                  ("roi_align max", align_max, 5), ("roi_pool", pool, 4)):
            yield Case(f"{name} {kind}", make, call, exact=name in ("roi_align max", "roi_pool"))
            yield Case(f"{name} backward {kind}", _with_gradient(make, cells, channels), gradient_of(call), exact=False)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        make, kind = _one_map(12, dtype), str(dtype).removeprefix("torch.")
        for name, call in (("ps_roi_align", ps_align), ("ps_roi_pool", ps_pool)):
            yield Case(f"{name} {kind}", make, call)
            yield Case(f"{name} backward {kind}", _with_ps_gradient(make), gradient_of(call), exact=False)
        yield Case(f"roi_align_rotated {kind}", make, rotated, exact=False)
        yield Case(f"roi_align_rotated backward {kind}", _with_gradient(make, 4, 12), gradient_of(rotated), exact=False)
        for name, call in (("roi_warp", warp), ("roi_warp mean", warp_mean)):
            yield Case(f"{name} {kind}", make, call)
            yield Case(f"{name} backward {kind}", _with_gradient(make, 4, 12), gradient_of(call), exact=False)
    for last in (False, True):
        kind = " channels_last" if last else ""
        yield Case(f"multiscale{kind}", _pyramid(last), multiscale, exact=False)
        yield Case(f"multiscale backward{kind}", _with_gradient(_pyramid(last), 3, 12), gradient_of(multiscale),
                   exact=False)
        yield Case(f"multiscale max{kind}", _pyramid(last), multiscale_max)
        yield Case(f"multiscale max backward{kind}", _with_gradient(_pyramid(last), 3, 12), gradient_of(multiscale_max),
                   exact=False)


CASES = [
    Case("box_iou", _pairs, ops.box_iou),
    Case("box_iou backward", _leaves(_pairs), _iou_gradient(ops.box_iou), exact=False),
    Case("generalized_box_iou", _pairs, ops.generalized_box_iou),
    Case("generalized_box_iou backward", _leaves(_pairs), _iou_gradient(ops.generalized_box_iou), exact=False),
    Case("distance_box_iou", _pairs, ops.distance_box_iou),
    Case("distance_box_iou backward", _leaves(_pairs), _iou_gradient(ops.distance_box_iou), exact=False),
    Case("complete_box_iou", _pairs, ops.complete_box_iou),
    Case("complete_box_iou backward", _leaves(_pairs), _iou_gradient(ops.complete_box_iou), exact=False),
    Case("box_area", lambda seed: [boxes(700, seed)], ops.box_area),
    Case("clip_boxes_to_image", lambda seed: [boxes(700, seed)], lambda b: ops.clip_boxes_to_image(b, SIZE)),
    Case("encode_boxes", _codec, ops.encode_boxes),
    Case("encode_boxes backward", _leaves(_codec), _codec_gradient(ops.encode_boxes), exact=False),
    Case("decode_boxes", lambda seed: (torch.randn(1500, 12, generator=generator(seed)), boxes(1500, seed)),
         ops.decode_boxes),
    Case("decode_boxes backward",
         _leaves(lambda seed: (torch.randn(1500, 12, generator=generator(seed)), boxes(1500, seed))),
         _codec_gradient(ops.decode_boxes), exact=False),
    Case("grid_anchors", lambda seed: [boxes(3, seed)], lambda cell: ops.grid_anchors(cell, SIZE, (4, 8), offset=0.5)),
    Case("match_boxes", _pairs, lambda a, b: list(ops.match_boxes(a, b, 0.6, 0.3))),
    Case("nms", _candidates(2300), lambda b, s: ops.nms(b, s, 0.5), fixed=False),
    Case("batched_nms", _classes, lambda b, s, i: ops.batched_nms(b, s, i, 0.5), fixed=False),
    Case("soft_nms", _candidates(2300), lambda b, s: list(ops.soft_nms(b, s, method="gaussian")), fixed=False),
    Case("fast_nms", _classes, lambda b, s, i: ops.fast_nms(b, s, i, 0.5), fixed=False),
    Case("matrix_nms", _classes, lambda b, s, i: list(ops.matrix_nms(b, s, i)), fixed=False),
    Case("nms_padded", _candidates(2300), lambda b, s: list(ops.nms_padded(b, s, 0.5, 200))),
    Case("box_iou_rotated", lambda seed: [turned(b, seed) for b in _pairs(seed)], ops.box_iou_rotated),
    Case("nms_rotated", lambda seed: (turned(boxes(1300, seed), seed), scores(1300, seed)),
         lambda b, s: ops.nms_rotated(b, s, 0.3), fixed=False),
    Case("batched_nms_rotated", lambda seed: (turned(_classes(seed)[0], seed), *_classes(seed)[1:]),
         lambda b, s, i: ops.batched_nms_rotated(b, s, i, 0.3), fixed=False),
    _paste("continuous", 0.5),
    _paste("integer", 0.5),
    _paste("continuous", None),
    Case("paste_masks_rle", _masks_and_boxes, lambda m, b: [ops.paste_masks_rle(m, b, SIZE)], fixed=False),
    Case("mask_targets soft", _bitmaps, lambda m, b, i: ops.mask_targets(m, b, i, 7)),
    Case("mask_targets binary", _bitmaps, lambda m, b, i: ops.mask_targets(m, b, i, 7, rule="binary")),
    Case("encode_keypoints", lambda seed: (torch.rand(30, 9, 3, generator=generator(seed)) * 60, boxes(30, seed)),
         lambda p, b: list(ops.encode_keypoints(p, b, 14))),
    Case("decode_keypoints", lambda seed: (torch.randn(30, 3, 14, 11, generator=generator(seed)), boxes(30, seed)),
         lambda m, b: list(ops.decode_keypoints(m, b))),
    *_roi_cases(),
    *_convolution_cases(),
]


def on_host(result):
    """A result as a list of what can be compared: detached tensors in the host's memory, and anything else."""
    result = result if isinstance(result, (list, tuple)) else [result]
    return [x.detach().cpu() if isinstance(x, torch.Tensor) else x for x in result]


def assert_same(case, result, expected):
    """``result`` is ``expected``: bit by bit for an exact case, else within rounding; both as `on_host` gives them."""
    assert len(result) == len(expected), case.name
    for mine, theirs in zip(result, expected, strict=True):
        if not isinstance(theirs, torch.Tensor):
            assert mine == theirs, case.name
        elif case.exact:
            assert mine.dtype == theirs.dtype and torch.equal(mine, theirs), case.name
        else:
            loose = {torch.float16: 1e-2, torch.bfloat16: 8e-2}.get(theirs.dtype, 1e-4)
            torch.testing.assert_close(mine, theirs, rtol=loose, atol=loose, equal_nan=True, msg=lambda text:
                                       f"{case.name}: {text}")
