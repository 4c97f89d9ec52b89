"""Times roikit's CPU ops beside every importable peer in one run, and prints one table.

    python -m benchmarks.cpu_table [--threads 2] [--only nms,roi_align] [--torchvision-ops LIBRARY]

The competitors of a work take turns, so that noise hits them alike; a row gives the medians, the ratio of the best peer
to roikit, and the spread (10th to 90th percentile) of each. The last rows give the machine's copy bandwidth and sgemm
rate in the same run. A peer that is not installed is left out. LIBRARY is a shared object that registers torchvision's
operators, for a torchvision whose own binary does not load.
"""

import argparse
import statistics
import time
from contextlib import contextmanager

import numpy as np
import torch

import roikit.ops as ops

from . import _inputs

SECONDS, LEAST_ROUNDS = 2.0, 7


@contextmanager
def _answer_for(library):
    """Lets torchvision's import find its operators already registered from ``library``."""
    load = torch.ops.load_library
    if library:
        load(library)
        torch.ops.load_library = lambda path: None if str(path).split("/")[-1].startswith("_C") else load(path)
    try:
        yield
    finally:
        torch.ops.load_library = load


def import_peers(library):
    peers = {}
    try:
        with _answer_for(library):
            import torchvision
        from torchvision.extension import _has_ops
        if _has_ops():
            peers["torchvision"] = torchvision
    except Exception as reason:
        print(f"# torchvision: {reason}")
    for name in ("detectron2", "pycocotools"):
        try:
            peers[name] = __import__(name)
        except ImportError as reason:
            print(f"# {name}: {reason}")
    return peers


def forward_backward(call, *inputs):
    inputs = [x.detach().requires_grad_(True) for x in inputs]
    gradient = torch.randn(call(*inputs).shape, generator=_inputs.generator(5))

    def run():
        for x in inputs:
            x.grad = None
        call(*inputs).backward(gradient)
        return inputs[0].grad

    return run


def nms_works(tv, d2):
    for n in (1000, 4000, 12000):
        boxes, scores = _inputs.clusters(n)
        yield f"nms {n} thr 0.7", ops.nms, tv and tv.ops.nms, (boxes, scores, 0.7)
    boxes, scores = _inputs.boxes(4000, 8, 64, seed=3), torch.rand(4000, generator=_inputs.generator(9))
    yield "nms 4000 sparse thr 0.5", ops.nms, tv and tv.ops.nms, (boxes, scores, 0.5)
    boxes, scores = _inputs.clusters(5000)
    levels = torch.arange(5).repeat_interleave(1000)
    classes = torch.randint(0, 80, (5000,), generator=_inputs.generator(4))
    yield "batched_nms 5 x 1000", ops.batched_nms, tv and tv.ops.batched_nms, (boxes, scores, levels, 0.7)
    yield "batched_nms 80 classes", ops.batched_nms, tv and tv.ops.batched_nms, (boxes, scores, classes, 0.5)


def box_works(tv, d2):
    anchors = _inputs.anchors()
    truth = _inputs.boxes(50, 32, 400, seed=2)
    square = _inputs.boxes(1000, seed=1), _inputs.boxes(1000, seed=2)
    tall = anchors[:200000].contiguous(), truth
    yield "box_iou 1000x1000", ops.box_iou, tv and tv.ops.box_iou, square
    yield "box_iou 200000x50", ops.box_iou, tv and tv.ops.box_iou, tall
    many = _inputs.boxes(len(anchors), 32, 400, seed=2)
    deltas = 0.2 * torch.randn(len(anchors), 4, generator=_inputs.generator(1))
    coder = matcher = generate = None
    if tv:
        from torchvision.models.detection._utils import BoxCoder, Matcher
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.image_list import ImageList
        coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        rule = Matcher(0.7, 0.3, allow_low_quality_matches=True)
        def matcher(anchors, truth, high, low):
            return rule(tv.ops.box_iou(truth, anchors))
        maps = [torch.empty(1, 1, -(-_inputs.HEIGHT // s), -(-_inputs.WIDTH // s)) for s in (4, 8, 16, 32, 64)]
        grid = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
        images = ImageList(torch.empty(1, 3, _inputs.HEIGHT, _inputs.WIDTH), [(_inputs.HEIGHT, _inputs.WIDTH)])
        def generate():
            return grid(images, maps)
    yield "match 268569 x 50", ops.match_boxes, matcher, (anchors, truth, 0.7, 0.3)
    yield "encode 268569", ops.encode_boxes, coder and coder.encode_single, (many, anchors)
    yield "decode 268569", ops.decode_boxes, coder and coder.decode_single, (deltas, anchors)
    yield "clip 268569", ops.clip_boxes_to_image, tv and tv.ops.clip_boxes_to_image, (
        anchors, (_inputs.HEIGHT, _inputs.WIDTH))
    cells = [ops.cell_anchors((size,), (0.5, 1.0, 2.0), rounded=True) for size in (32, 64, 128, 256, 512)]

    def our_anchors():
        return [ops.grid_anchors(cell, (-(-_inputs.HEIGHT // s), -(-_inputs.WIDTH // s)), s)
                for cell, s in zip(cells, (4, 8, 16, 32, 64), strict=True)]

    yield "anchors 268569", our_anchors, generate, ()


def roi_works(tv, d2):
    x4, c4 = _inputs.feature_map(256, 200, 336), _inputs.feature_map(1024, 50, 84, 1)
    cases = (("1000 rois 7x7 s2", x4, _inputs.rois(1000, 16, 224), 7, 0.25, 2),
             ("1000 rois 7x7 adaptive", x4, _inputs.rois(1000, 16, 224), 7, 0.25, 0),
             ("C4 300 rois 14x14 s2", c4, _inputs.rois(300, 32, 512, 2), 14, 1 / 16, 2),
             ("channels_last 1000 rois 7x7 s2", x4.contiguous(memory_format=torch.channels_last),
              _inputs.rois(1000, 16, 224), 7, 0.25, 2))
    for label, x, rois, size, scale, samples in cases:
        def align(library, x, rois=rois, size=size, scale=scale, samples=samples):
            return library.roi_align(x, rois, size, scale, samples, True)

        yield from _both(f"roi_align {label}", align, tv, x)
    for label, x, rois, size, scale, _ in (cases[0], cases[2]):
        def pool(library, x, rois=rois, size=size, scale=scale):
            return library.roi_pool(x, rois, size, scale)

        yield from _both(f"roi_pool {label.rsplit(' ', 1)[0]}", pool, tv, x)
    maps, boxes = _inputs.pyramid(), _inputs.boxes(1000, 16, 800, 4)
    theirs = None
    if tv:
        pooler = tv.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
        def theirs(*maps):
            return pooler({str(i): m for i, m in enumerate(maps)}, [boxes], [(_inputs.HEIGHT, _inputs.WIDTH)])

    def ours(*maps):
        return ops.multiscale_roi_align(list(maps), [boxes], 7, [1 / 4, 1 / 8, 1 / 16, 1 / 32])

    yield "multiscale 4 levels fwd", ours, theirs, tuple(maps)
    yield "multiscale 4 levels fwd+bwd", forward_backward(ours, *maps), theirs and forward_backward(theirs, *maps), ()


def _both(label, call, tv, x):
    def ours(x):
        return call(ops, x)

    theirs = tv and (lambda x: call(tv.ops, x))
    yield f"{label} fwd", ours, theirs, (x,)
    yield f"{label} fwd+bwd", forward_backward(ours, x), theirs and forward_backward(theirs, x), ()


def mask_works(tv, d2):
    probabilities = _inputs.mask_probabilities(100)
    boxes, size = _inputs.boxes(100, 24, 500, 6, height=800, width=1333), (800, 1333)
    soft = target = paste2 = None
    if tv:
        from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
        def soft(m, b, s):
            return paste_masks_in_image(m[:, None], b, s)
        target = project_masks_on_boxes
    if d2:
        from detectron2.layers import paste_masks_in_image as paste2

    def encoded(paste):
        from pycocotools import mask as coco

        def run(m, b, s):
            return [coco.encode(np.array(k.reshape(*s, 1), dtype=np.uint8, order="F"))[0] for k in paste(m, b, s)]
        return run

    yield "paste_masks bool, 100", ops.paste_masks, paste2 or soft, (probabilities, boxes, size)
    yield "paste_masks soft, 100", lambda m, b, s: ops.paste_masks(m, b, s, threshold=None), soft, (
        probabilities, boxes, size)
    best = paste2 or (soft and (lambda m, b, s: soft(m, b, s) > 0.5))
    yield "paste_masks_rle, 100", ops.paste_masks_rle, best and encoded(best), (probabilities, boxes, size)
    objects = _inputs.boxes(20, 48, 500, 11, height=800, width=1333)
    bitmaps = torch.zeros(20, 800, 1333, dtype=torch.uint8)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, objects.int().tolist(), strict=True):
        bitmap[y1:y2, x1:x2] = 1
    g = _inputs.generator(12)
    which = torch.randint(0, 20, (128,), generator=g)
    rois = objects[which] + 8 * torch.randn(128, 4, generator=g)
    yield "mask_targets 128 rois", lambda m, b, i: ops.mask_targets(m, b, i, 28), target and (
        lambda m, b, i: target(m, b, i, 28)), (bitmaps, rois, which)


SECTIONS = {"nms": nms_works, "boxes": box_works, "roi": roi_works, "masks": mask_works}


def take_turns(competitors):
    """Seconds of each competitor's runs; ``competitors`` maps a name to a call."""
    times = {name: [] for name in competitors}
    for call in competitors.values():
        call()
    began = time.perf_counter()
    while len(times["roikit"]) < LEAST_ROUNDS or time.perf_counter() - began < SECONDS:
        for name, call in competitors.items():
            start = time.perf_counter()
            result = call()
            times[name].append(time.perf_counter() - start)
            del result
    return times


def machine():
    a, b = torch.zeros(64 << 20), torch.zeros(64 << 20)
    m = torch.randn(2048, 2048)
    times = take_turns({"roikit": lambda: a.copy_(b), "sgemm": lambda: m @ m})
    yield f"copy of 256 MiB {(a.numel() * 4) / statistics.median(times['roikit']) / 1e9:.1f} GB/s"
    yield f"sgemm 2048 {2 * 2048**3 / statistics.median(times['sgemm']) / 1e9:.0f} GFLOP/s"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--torchvision-ops")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    peers = import_peers(chosen.torchvision_ops)
    print(f"{'work':44}{'roikit ms':>10}{'p10-p90':>18}{'peer ms':>10}{'p10-p90':>18}{'ratio':>8}")
    for section in chosen.only.split(","):
        for work, ours, theirs, arguments in SECTIONS[section](peers.get("torchvision"), peers.get("detectron2")):
            rivals = {"roikit": lambda f=ours, a=arguments: f(*a)}
            if theirs:
                rivals["peer"] = lambda f=theirs, a=arguments: f(*a)
            row = f"{work:44}"
            medians = {}
            for name, seconds in take_turns(rivals).items():
                q = statistics.quantiles(seconds, n=10)
                medians[name] = statistics.median(seconds)
                row += f"{medians[name] * 1e3:10.3f}{f'{q[0] * 1e3:.3f}-{q[-1] * 1e3:.3f}':>18}"
            print(row + (f"{medians['peer'] / medians['roikit']:8.1f}" if theirs else ""), flush=True)
    for line in machine():
        print(line)


if __name__ == "__main__":
    main()
