"""The works of `benchmarks.guard`, and the processes that run them: NumPy only, one thread.

    python -m benchmarks.guard_works marked              each work once between two marks, for callgrind
    python -m benchmarks.guard_works levels [NAME ...]   how long v4 takes over v3, as JSON
    python -m benchmarks.guard_works copies [NAME ...]   how long a work takes over a copy, as JSON

`benchmarks.guard` starts them with an environment of its own; the marks are calls of getppid, at which callgrind writes
down what it has counted since the last one.
"""

import gc
import json
import math
import os
import resource
import statistics
import sys
import time

import numpy as np

import roikit
import roikit.kernels as kernels
import roikit.masks

from .guard_further import FURTHER, max_backward, pairs, pooling
from .guard_inputs import Work, bell, boxes, clusters, feature_map, in_classes, map_and_rois, rois, uniform

ROUNDS, SECONDS = 60, 0.4  # at most so many rounds, and at most so long a work
LEAST_ROUNDS = 9
LEAST_COPY = 4 << 20
SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def anchors(height, width):
    cell = kernels.cell_anchors((32,), (0.5, 1.0, 2.0))
    return lambda: kernels.grid_anchors(cell, (height, width), 4)


def clip(n):
    b = boxes(n, 16, 512, 900, 1500)
    return lambda: kernels.clip_boxes_to_image(b, (800, 1344))


def encode(n):
    first, second = boxes(n, 16, 512, 800, 1344, 1), boxes(n, 16, 512, 800, 1344, 2)
    return lambda: kernels.encode_boxes(first, second)


def decode(n):
    deltas = bell(n, 4, seed=1) / 5
    b = boxes(n, 16, 512, 800, 1344, 1)
    return lambda: kernels.decode_boxes(deltas, b)


def match(height, width, n):
    grid, truth = anchors(height, width)(), boxes(n, 32, 0.5 * 4 * height, 4 * height, 4 * width, 2)
    return lambda: kernels.match_boxes(grid, truth, 0.7, 0.3)


def nms(n, threshold=0.7):
    b, scores = clusters(n)
    return lambda: kernels.nms(b, scores, threshold)


def batched_nms(n, classes):
    b, scores, index = in_classes(n, classes)
    return lambda: kernels.batched_nms(b, scores, index, 0.7)


def roi_align(channels, height, width, n, last=False, samples=2):
    x, r = map_and_rois(channels, height, width, n, last)
    return lambda: kernels.roi_align(x, r, 7, 1 / 4, samples, True)


def roi_align_backward(channels, height, width, n, last=False, samples=2):
    r, shape = rois(n, 4 * height, 4 * width), (1, channels, height, width)
    gradient = bell(n, 7, 7, channels, seed=5).transpose(0, 3, 1, 2)
    gradient = gradient if last else np.ascontiguousarray(gradient)
    return lambda: kernels.roi_align_backward(gradient, r, shape, 7, 1 / 4, samples, True)


def multiscale(channels, height, width, n):
    maps = [feature_map(channels, height >> i, width >> i, seed=i) for i in range(4)]
    r = rois(n, 4 * height, 4 * width, 16, 600)
    return lambda: kernels.multiscale_roi_align(maps, r, 7, SCALES)


def multiscale_backward(channels, height, width, n):
    shapes, r = [(1, channels, height >> i, width >> i) for i in range(4)], rois(n, 4 * height, 4 * width, 16, 600)
    gradient = bell(n, channels, 7, 7, seed=5)
    return lambda: kernels.multiscale_roi_align_backward(gradient, r, shapes, 7, SCALES)


def soft_masks(n, size=28):
    """float32 (n, size, size) in (0, 1): discs with soft edges."""
    y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j]
    u = uniform(3, n, 1, 1, seed=6)
    middle, radius = 0.4 * u[:2] - 0.2, 0.6 + 0.4 * u[2]
    return np.clip((radius - np.hypot(x - middle[0], y - middle[1])) * 5 + 0.5, 0, 1).astype(np.float32)


def paste(n, height, width, threshold=0.5):
    masks, b = soft_masks(n), boxes(n, 24, height / 2, height, width, 6)
    return lambda: kernels.paste_masks(masks, b, (height, width), threshold=threshold)


def paste_rle(n, height, width):
    masks, b = soft_masks(n), boxes(n, 24, height / 2, height, width, 6)
    return lambda: kernels.paste_masks_rle(masks, b, (height, width))


def ellipses(n, height, width):
    """uint8 (n, height, width): an ellipse in each of n boxes; and the boxes."""
    b = boxes(n, height / 16, height / 2, height, width, 7)
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([(((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 < 0.25)
                     for x1, y1, x2, y2 in b]).astype(np.uint8), b


def stars(b, corners=60):
    """A polygon with ``corners`` vertices within each box, as COCO's lists."""
    out = []
    for (x1, y1, x2, y2), u in zip(b.tolist(), uniform(len(b), 2, corners, seed=8), strict=True):
        angle, radius = 2 * math.pi * np.sort(u[0]), 0.3 + 0.2 * u[1]
        x, y = (x1 + x2) / 2 + (x2 - x1) * radius * np.cos(angle), (y1 + y2) / 2 + (y2 - y1) * radius * np.sin(angle)
        out.append([np.stack([x, y], 1).ravel().tolist()])
    return out


def targets(form, n, height, width, count, cells=28):
    bitmaps, b = ellipses(n, height, width)
    masks = {"bitmaps": lambda: bitmaps, "rle": lambda: roikit.masks.encode(bitmaps.transpose(1, 2, 0)),
             "polygons": lambda: stars(b)}[form]()
    which = np.arange(count) % n
    return lambda: kernels.mask_targets(masks, b[which], which, cells, image_size=(height, width))


def rle_encode(n, height, width):
    images = np.asfortranarray(ellipses(n, height, width)[0].transpose(1, 2, 0))
    return lambda: roikit.masks.encode(images)


def encoded(n, height, width):
    return roikit.masks.encode(ellipses(n, height, width)[0].transpose(1, 2, 0))


def rle_decode(n, height, width):
    rles = encoded(n, height, width)
    return lambda: roikit.masks.decode(rles)


def rle_iou(n, height, width):
    rles = encoded(n, height, width)
    return lambda: roikit.masks.iou(rles, rles, [0] * n)


def polygon(n, height, width):
    shapes = sum(stars(boxes(n, height / 8, height / 2, height, width, 7)), [])
    return lambda: roikit.masks.frPyObjects(shapes, height, width)


WORKS = {
    "anchors": Work(anchors, (100, 168), (400, 672), 7, 1700),
    "clip": Work(clip, (10_000,), (500_000,), 120, 5000, counted=False, levels=False),
    "box_iou": Work(pairs("box_iou"), (300, 300), (2000, 2000), 7, 1500),
    "encode": Work(encode, (10_000,), (500_000,), 18, 1500),
    "decode": Work(decode, (10_000,), (500_000,), 22, 1500),
    "match_boxes": Work(match, (40, 67, 50), (200, 336, 50), 56, 1700),
    "nms": Work(nms, (3000,), (12_000,), 17, 1200),
    "batched_nms": Work(batched_nms, (3000, 5), (12_000, 5), 20, 1200),
    "roi_pool": Work(pooling("roi_pool"), (32, 50, 84, 50), (64, 100, 168, 800), 60, 1700),
    "roi_pool backward": Work(max_backward("roi_pool"), (32, 50, 84, 50), (64, 100, 168, 400), 40, 1700),
    "roi_pool sparse backward": Work(max_backward("roi_pool"), (32, 100, 168, 2), (64, 200, 336, 4), 4, 1500),
    "roi_align": Work(roi_align, (32, 50, 84, 50), (64, 100, 168, 800), 50, 1900),
    "roi_align channels_last": Work(roi_align, (32, 50, 84, 50, True), (64, 100, 168, 800, True), 45, 1900),
    "roi_align adaptive": Work(roi_align, (32, 50, 84, 50, False, 0), (64, 100, 168, 800, False, 0), 65, 1900),
    "roi_align backward": Work(roi_align_backward, (32, 50, 84, 50), (64, 100, 168, 400), 120, 1900),
    "roi_align channels_last backward": Work(roi_align_backward, (32, 50, 84, 50, True), (64, 100, 168, 400, True),
                                             110, 1900),
    # few RoIs on a large map: writing the zeros is most of the work
    "roi_align sparse backward": Work(roi_align_backward, (32, 100, 168, 2), (64, 200, 336, 4), 7, 1900),
    "roi_align adaptive backward": Work(roi_align_backward, (32, 50, 84, 50, False, 0),
                                        (64, 100, 168, 400, False, 0), 130, 1900),
    "multiscale_roi_align": Work(multiscale, (32, 100, 168, 50), (64, 200, 336, 400), 160, 2400),
    "multiscale_roi_align backward": Work(multiscale_backward, (32, 100, 168, 50), (64, 200, 336, 400), 30, 3700),
    "paste_masks": Work(paste, (10, 200, 336), (20, 800, 1333), 4.5, 2200),
    "paste_masks soft": Work(paste, (10, 200, 336, None), (10, 800, 1333, None), 3, 3000),
    "paste_masks_rle": Work(paste_rle, (10, 200, 336), (100, 800, 1333), 30, 1100),
    "mask_targets bitmaps": Work(targets, ("bitmaps", 5, 200, 336, 32), ("bitmaps", 20, 800, 1333, 128), 28, 1200),
    "mask_targets rle": Work(targets, ("rle", 5, 200, 336, 32), ("rle", 20, 800, 1333, 128), 32, 1200),
    "mask_targets polygons": Work(targets, ("polygons", 5, 200, 336, 32), ("polygons", 20, 800, 1333, 128), 36, 1200),
    "rle encode": Work(rle_encode, (10, 400, 672), (20, 800, 1333), 12, 1100, levels=False),
    "rle decode": Work(rle_decode, (10, 400, 672), (20, 800, 1333), 2, 1700, levels=False),
    "rle iou": Work(rle_iou, (20, 200, 336), (50, 800, 1333), 9.5, 1100, levels=False),
    "polygon": Work(polygon, (20, 200, 336), (50, 800, 1333), 13, 1100, levels=False),
    **FURTHER,
}


def marked():
    """Runs each counted work between two marks. What runs once only, as the import of a module, has run before."""
    for work in WORKS.values():
        if work.counted:
            call = work.make(*work.small)
            call()
            os.getppid()
            call()
            os.getppid()
    if "torch" in sys.modules:
        raise RuntimeError("guard_works: the NumPy floor has imported torch")


def seconds(call):
    """Processor time, the kernel's for page faults included: waiting for a processor that others use is not counted."""
    begun = time.thread_time()
    result = call()
    taken = time.thread_time() - begun
    del result  # freeing is not timed
    return taken


def rounds(first, second, most=ROUNDS):
    """The seconds of the two calls, which take turns: pairs, a round each."""
    first(), second()
    begun, pairs = time.perf_counter(), []
    while len(pairs) < most and (len(pairs) < LEAST_ROUNDS or time.perf_counter() - begun < SECONDS):
        if len(pairs) % 2:
            b = seconds(second)
            pairs.append((seconds(first), b))
        else:
            pairs.append((seconds(first), seconds(second)))
    return pairs


def over_v3(work):
    """Time at v4 over time at v3, the median of the rounds' ratios."""
    call = work.make(*work.small)

    def at(level):
        def run():
            with roikit.simd(level):
                return call()
        return run

    ratios = [v4 / v3 for v4, v3 in rounds(at("v4"), at("v3"), 5 * ROUNDS)]
    return {"time of v4 over v3": statistics.median(ratios)}


def faults_of(call):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    result = call()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del result
    return faults


def size_of(result):
    if isinstance(result, np.ndarray):
        return result.nbytes
    return sum(map(size_of, result)) if isinstance(result, (list, tuple)) else 0


def over_copy(work):
    """The least time of the work over the least time of copying as many bytes as its result has, 4 MiB at least; and
    the least number of page faults of a call.

    The copy's blocks are there before; the work's result is fresh memory.
    """
    call = work.make(*work.large)
    source = np.ones(max(LEAST_COPY, size_of(call())), np.uint8)
    target = source.copy()
    pairs = rounds(call, lambda: np.copyto(target, source))
    faults = min(faults_of(call) for _ in range(3))
    return {"time over a copy": min(own for own, _ in pairs) / min(copy for _, copy in pairs), "page faults": faults}


def main(words):
    gc.disable()
    mode, names = words[0], words[1:] or list(WORKS)
    if mode == "marked":
        return marked()
    measure = {"levels": over_v3, "copies": over_copy}[mode]
    print(json.dumps({name: measure(WORKS[name]) for name in names if mode == "copies" or WORKS[name].levels}))


if __name__ == "__main__":
    main(sys.argv[1:])
