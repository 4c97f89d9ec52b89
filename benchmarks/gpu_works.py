"""The works of `gpu_table`: the standard ones and ten times larger, for roikit and for torchvision.

A section is a generator of works, given torchvision (or None) and the device. A work makes its inputs on a device; its
rivals are functions that take one copy of these and return the call to be timed, so that what need not be timed is done
before.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

import roikit.masks
import roikit.ops as ops

from . import _inputs

STRIDES, SIZES = (4, 8, 16, 32, 64), (32, 64, 128, 256, 512)


@dataclass
class Work:
    """
    Attributes:
        name: the row's first column.
        make: device -> the inputs, a tuple of tensors.
        ours, theirs: inputs -> the call to be timed; theirs may be None.
        full: one of the works that --quick leaves out.
        goal: the ratio, or with ``of_bandwidth`` the share of the copy bandwidth, that the project set itself.
        extra: bytes that must move besides the inputs, read once, and the result, written once.
        host: the result is in the host's memory: timed by the wall clock.
        note: what the row's reader must know of the rivals.
    """

    name: str
    make: Callable
    ours: Callable
    theirs: Callable | None = None
    full: bool = False
    goal: float | None = None
    of_bandwidth: bool = False
    extra: int = 0
    host: bool = False
    note: str = ""


def plain(fn):
    """A rival that has nothing to prepare."""
    return fn and (lambda *inputs: partial(fn, *inputs))


def made(*tensors):
    """``make`` for tensors that exist on the host."""
    return lambda device: tuple(t.to(device) for t in tensors)


def nms_works(tv, device):
    for n, centres in ((1000, 100), (4000, 100), (12000, 100), (100_000, 1000)):
        boxes, scores = _inputs.clusters(n, centres)
        yield Work(f"nms {n} thr 0.7", made(boxes, scores), plain(lambda b, s: ops.nms(b, s, 0.7)),
                   plain(tv and (lambda b, s: tv.ops.nms(b, s, 0.7))), n > 12000, 2)
    for n in (5000, 50_000):
        boxes, scores = _inputs.clusters(n, n // 50)
        levels = torch.arange(5).repeat_interleave(n // 5)
        classes = torch.randint(0, 80, (n,), generator=_inputs.generator(4))
        for label, idxs, threshold, goal in (("5 levels", levels, 0.7, None), ("80 classes", classes, 0.5, 5)):
            def batched(library, b, s, i, threshold=threshold):
                return library.batched_nms(b, s, i, threshold)

            yield Work(f"batched_nms {n} in {label}", made(boxes, scores, idxs), plain(partial(batched, ops)),
                       plain(tv and partial(batched, tv.ops)), n > 5000, goal)


def box_works(tv, device):
    anchors, truth = _inputs.anchors(), _inputs.boxes(50, 32, 400, seed=2)
    many = _inputs.boxes(len(anchors), 32, 400, seed=2)
    deltas = 0.2 * torch.randn(len(anchors), 4, generator=_inputs.generator(1))
    theirs = _their_boxes(tv) if tv else {}
    for times in (1, 10):
        n, large = len(anchors) * times, times > 1
        goal = {"goal": 0.5, "of_bandwidth": True} if large else {}
        a = anchors.repeat(times, 1)
        yield Work(f"match {n} x 50", made(a, truth), plain(lambda a, t: ops.match_boxes(a, t, 0.7, 0.3)),
                   plain(theirs.get("match")), large, 10)
        yield Work(f"encode {n}", made(many.repeat(times, 1), a), plain(ops.encode_boxes),
                   plain(theirs.get("encode")), large, **goal)
        yield Work(f"decode {n}", made(deltas.repeat(times, 1), a), plain(ops.decode_boxes),
                   plain(theirs.get("decode")), large, **goal)
        side = times**0.5
        height, width = round(_inputs.HEIGHT * side), round(_inputs.WIDTH * side)
        shapes = [(-(-height // s), -(-width // s)) for s in STRIDES]
        n = 3 * sum(h * w for h, w in shapes)
        yield Work(f"anchors {n}", lambda device: tuple(
            ops.cell_anchors((size,), (0.5, 1.0, 2.0), rounded=True, device=device) for size in SIZES),
            plain(lambda *cells, shapes=shapes: [ops.grid_anchors(cell, shape, stride) for cell, shape, stride
                                                 in zip(cells, shapes, STRIDES, strict=True)]),
            tv and theirs["anchors"](shapes, height, width), large, **goal)
    for n, m, large in ((1000, 1000, False), (200_000, 50, False), (3000, 3000, True), (2_000_000, 50, True)):
        first = _inputs.boxes(n, seed=1) if n == m else anchors.repeat(8, 1)[:n]
        goal = {"goal": 0.5, "of_bandwidth": True} if n >= 200_000 else {}
        yield Work(f"box_iou {n} x {m}", made(first, _inputs.boxes(m, 32, 400, seed=2)), plain(ops.box_iou),
                   plain(tv and tv.ops.box_iou), large, **goal)


def _their_boxes(tv):
    from torchvision.models.detection._utils import BoxCoder, Matcher
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    coder, rule = BoxCoder((1.0, 1.0, 1.0, 1.0)), Matcher(0.7, 0.3, allow_low_quality_matches=True)

    def anchors(shapes, height, width):
        def prepare(*cells):
            grid = AnchorGenerator(tuple((size,) for size in SIZES), ((0.5, 1.0, 2.0),) * 5)
            device = cells[0].device
            maps = [torch.empty(1, 1, *shape, device=device) for shape in shapes]
            images = ImageList(torch.empty(1, 3, height, width, device=device), [(height, width)])
            return partial(grid, images, maps)
        return prepare

    return {"match": lambda a, t: rule(tv.ops.box_iou(t, a)), "encode": coder.encode_single,
            "decode": coder.decode_single, "anchors": anchors}


def with_backward(call):
    """Forward and backward of ``call(*maps, rois)``; the inputs are the output's gradient, the maps, the RoIs."""
    return lambda gradient, *inputs: torch.autograd.grad(call(*inputs), inputs[:-1], gradient)


def backward_alone(call, deterministic=False, fill=False):
    """A rival: the graph is made once, and its backward is timed."""
    def prepare(gradient, *inputs):
        output = call(*inputs)

        def run():
            if not deterministic:
                return torch.autograd.grad(output, inputs[:-1], gradient, retain_graph=True)
            with deterministic_mode(fill):
                return torch.autograd.grad(output, inputs[:-1], gradient, retain_graph=True)
        return run
    return prepare


@contextmanager
def deterministic_mode(fill):
    """torch's deterministic mode; ``fill``: with its filling of fresh memory, which is not part of an algorithm."""
    before, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def _maps_and_rois(shapes, images, rois, size, dtype, last):
    """``make`` for the gradient of the output, the maps as leaves, and RoIs (K, 5) of all images."""
    def make(device):
        g = torch.Generator(device).manual_seed(0)
        form = torch.channels_last if last else torch.contiguous_format
        maps = [torch.randn(images, *shape, device=device, generator=g).to(dtype).contiguous(memory_format=form)
                .requires_grad_() for shape in shapes]
        gradient = torch.randn(len(rois), shapes[0][0], size, size, device=device, generator=g).to(dtype)
        return gradient.contiguous(memory_format=form), *maps, rois.to(device)
    return make


def _takes(tv, dtype, device):
    """Whether torchvision's roi_align has a kernel for the dtype."""
    try:
        tv.ops.roi_align(torch.ones(1, 1, 4, 4, device=device, dtype=dtype),
                         torch.zeros(1, 5, device=device, dtype=dtype), 1)
        return True
    except (RuntimeError, NotImplementedError):
        return False


def _pooling(name, call, tv, device, shapes, sizes, goal, dtypes=(torch.float32, torch.bfloat16), last=True):
    """Rows of an op ``call(library, *maps, rois)``: forward, both, the deterministic backward beside the fast one."""
    channels = shapes[0][0]
    for images, rois, size in sizes:
        for dtype, form in [(d, False) for d in dtypes] + [(dtypes[0], True)] * (last and images == 1):
            make = _maps_and_rois(shapes, images, rois, size, dtype, form)
            ours, other = partial(call, ops), dtype
            note = ""
            if tv and not _takes(tv, dtype, device):
                other, note = torch.float16, "peer in float16, boxes too"
            label = (f"{name} {len(rois)} rois {str(dtype).removeprefix('torch.')}"
                     f"{' channels_last' if form else ''}")
            output = len(rois) * channels * size * size * dtype.itemsize

            def theirs(prepare, other=other):
                if tv is None:
                    return None

                def convert(*inputs):
                    maps = [x.detach().to(other).requires_grad_(x.requires_grad) for x in inputs[:-1]]
                    return prepare(*maps, inputs[-1].to(other))
                return convert

            large = images > 1
            yield Work(f"{label} fwd", make, lambda g, *x, f=ours: _forward(f, x),
                       theirs(lambda g, *x: _forward(partial(call, tv.ops), x)), large, goal, note=note,
                       extra=-output)  # the gradient is among the inputs and is not read
            yield Work(f"{label} fwd+bwd", make, plain(with_backward(ours)),
                       theirs(plain(with_backward(partial(call, tv.ops)))) if tv else None, large, goal, note=note,
                       extra=output)
            if dtype == torch.float32 and not form:
                yield Work(f"{label} bwd, deterministic", make, backward_alone(ours, True), backward_alone(ours),
                           large, 1 / 1.5, note="peer: roikit's fast backward")
                yield Work(f"{label} bwd, deterministic, filled", make, backward_alone(ours, True, True),
                           backward_alone(ours), True, note="peer: roikit's fast backward; torch fills fresh memory")


def _forward(call, inputs):
    inputs = [x.detach() for x in inputs]
    return lambda: call(*inputs)


def roi_works(tv, device):
    few = _inputs.rois(1000, 16, 224)
    many = _inputs.rois(8000, 16, 224, images=8)

    def align(library, x, rois):
        return library.roi_align(x, rois, 7, 0.25, 2, True)

    def pool(library, x, rois):
        return library.roi_pool(x, rois, 7, 0.25)

    shape = (256, _inputs.HEIGHT // 4, _inputs.WIDTH // 4)
    yield from _pooling("roi_align", align, tv, device, [shape], [(1, few, 7), (8, many, 7)], 2)
    yield from _pooling("roi_pool", pool, tv, device, [shape], [(1, few, 7), (8, many, 7)], None,
                        (torch.float32,), False)


def multiscale_works(tv, device):
    scales, size = [1 / s for s in STRIDES[:4]], (_inputs.HEIGHT, _inputs.WIDTH)
    shapes = [(256, _inputs.HEIGHT // s, _inputs.WIDTH // s) for s in STRIDES[:4]]
    pooler = tv and tv.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)

    def align(library, *inputs):
        maps, rois = list(inputs[:-1]), inputs[-1]
        if library is ops:
            return ops.multiscale_roi_align(maps, rois, 7, scales)
        images = maps[0].shape[0]  # the RoIs come image by image, as many of each
        lists = list(rois[:, 1:].reshape(images, -1, 4).unbind())
        return pooler({str(i): m for i, m in enumerate(maps)}, lists, [size] * images)

    def rois(images):
        index = torch.arange(images).repeat_interleave(1000).float()
        return torch.cat([index[:, None], _inputs.boxes(1000 * images, 16, 800, 4)], 1)

    yield from _pooling("multiscale", align, tv, device, shapes, [(1, rois(1), 7), (8, rois(8), 7)], 3)


def mask_works(tv, device):
    size = (800, 1333)
    paste = project = None
    if tv:
        from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

        def paste(m, b):
            return paste_masks_in_image(m[:, None], b, size)

        def project(m, b, i):
            return project_masks_on_boxes(m, b, i, 28)
    encode, how = _encoder()
    for n in (100, 1000):
        inputs = made(_inputs.mask_probabilities(n), _inputs.boxes(n, 24, 500, 6, height=size[0], width=size[1]))
        yield Work(f"paste_masks_rle {n}", inputs, plain(lambda m, b: ops.paste_masks_rle(m, b, size)),
                   plain(paste and (lambda m, b: encode((paste(m, b) > 0.5)[:, 0]))), n > 100, 20, host=True,
                   note=how)
        goal = {"goal": 0.5, "of_bandwidth": True} if n > 100 else {}
        yield Work(f"paste_masks bool {n}", inputs, plain(lambda m, b: ops.paste_masks(m, b, size)),
                   plain(paste and (lambda m, b: (paste(m, b) > 0.5)[:, 0])), n > 100, **goal)
    for count, rois in ((20, 128), (200, 1280)):
        bitmaps, boxes, which = _objects(count, rois, size)
        touched = rois * 28 * 28 * 4  # the result; what is read of the bitmaps depends on the boxes
        yield Work(f"mask_targets {rois} rois of {count} bitmaps", made(bitmaps, boxes, which),
                   plain(lambda m, b, i: ops.mask_targets(m, b, i, 28)), plain(project), rois > 128,
                   extra=-bitmaps.numel() + touched)


def _objects(count, rois, size):
    objects = _inputs.boxes(count, 48, 500, 11, height=size[0], width=size[1])
    bitmaps = torch.zeros(count, *size, dtype=torch.uint8)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, objects.int().tolist(), strict=True):
        bitmap[y1:y2, x1:x2] = 1
    g = _inputs.generator(12)
    which = torch.randint(0, count, (rois,), generator=g)
    return bitmaps, objects[which] + 8 * torch.randn(rois, 4, generator=g), which


def _encoder():
    """The peer's way from bool images on the device to COCO strings, and its name."""
    try:
        from pycocotools import mask as coco
    except ImportError:
        return (lambda images: roikit.masks.encode(images.cpu().numpy().transpose(1, 2, 0)),
                "peer: torchvision's paste, copy, roikit.masks.encode (no pycocotools here)")
    return (lambda images: [coco.encode(np.asfortranarray(m.numpy().astype(np.uint8)[:, :, None]))[0]
                            for m in images.cpu()],
            "peer: torchvision's paste, copy, pycocotools")


SECTIONS = {"nms": nms_works, "boxes": box_works, "roi": roi_works, "multiscale": multiscale_works,
            "masks": mask_works}
