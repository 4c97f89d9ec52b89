"""Works on boxes: nms, boxes, matching, box_codec, anchors."""

from functools import partial

import torch

import roikit.ops as ops

from . import inputs
from .work import Cost, Work, made, only, plain, size_of

STRIDES, SIZES = (4, 8, 16, 32, 64), (32, 64, 128, 256, 512)
PAIR = 13  # operations for the IoU of two boxes
# (boxes, centres, of --quick and the CPU, the CPU's goal)
CLUSTERS = ((1000, 100, True, 20), (4000, 100, True, 25), (12000, 100, True, 25), (100_000, 1000, False, None))
BATCHES = ((5000, True), (50_000, False))
PAIRS = ((1000, 1000, True, 15), (200_000, 50, True, 8), (3000, 3000, False, None), (2_000_000, 50, False, None))
TIMES_ANCHORS = (1, 10)  # how often the anchors of the FPN


def everywhere(standard):
    """The larger works are for a GPU; a peer on the CPU would take minutes."""
    return {"devices": ("cpu", "cuda") if standard else ("cuda",), "quick": standard}


def goals(cpu=None, cuda=None, cuda_floor=None):
    out = {"cpu": ("ratio", cpu)} if cpu else {}
    if cuda or cuda_floor:
        out["cuda"] = ("ratio", cuda) if cuda else ("floor", cuda_floor)
    return out


def kept_pairs(b, scores, *rest):
    """Cost of nms without culling: each kept box meets every later one, of its class."""
    kept, classes = rest[-1], rest[0] if len(rest) > 1 else torch.zeros(len(scores), device=scores.device)
    order = scores.argsort(descending=True, stable=True)
    is_kept = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    is_kept[kept] = True
    pairs = 0
    for c in classes.unique():
        mine = order[classes[order] == c]
        later = torch.arange(len(mine) - 1, -1, -1, device=mine.device)
        pairs += int(later[is_kept[mine]].sum())
    return Cost(size_of([b, scores, *rest[:-1]]), size_of(kept), PAIR * pairs)


def nms_peers(peers, threshold):
    tv, mm = peers.get("torchvision"), peers.get("mmcv")
    return only(torchvision=tv and plain(lambda b, s: tv.ops.nms(b, s, threshold)),
                mmcv=mm and plain(lambda b, s: mm.ops.nms(b, s, threshold)))


def nms_works(peers, device):
    tv, d2, mm = (peers.get(name) for name in ("torchvision", "detectron2", "mmcv"))
    counts = f"{PAIR} operations for each kept box and later box of its class; the sorting is left out"

    def cost(given, kept):
        return kept_pairs(*given, kept)

    def single(name, b, s, threshold, **more):
        return Work("nms", name, made(b, s), plain(lambda b, s: ops.nms(b, s, threshold)),
                    nms_peers(peers, threshold), cost, counts, **more)

    for n, centres, standard, goal in CLUSTERS:
        b, s = inputs.clusters(n, centres)
        yield single(f"nms {n} thr 0.7", b, s, 0.7, goals=goals(goal, 2), **everywhere(standard))
    scores = torch.rand(4000, generator=inputs.generator(9))
    yield single("nms 4000 sparse thr 0.5", inputs.boxes(4000, 8, 64, seed=3), scores, 0.5, goals=goals(25))
    if d2:
        from detectron2.layers import batched_nms as d2_batched
    for n, standard in BATCHES:
        b, s = inputs.clusters(n, n // 50)
        levels = torch.arange(5).repeat_interleave(n // 5)
        classes = torch.randint(0, 80, (n,), generator=inputs.generator(4))
        for label, index, threshold, goal in (("5 levels", levels, 0.7, goals(10)),
                                              ("80 classes", classes, 0.5, goals(8, 5))):
            def batched(function, b, s, i, threshold=threshold):
                return function(b, s, i, threshold)

            rule = {"type": "nms", "iou_threshold": threshold}
            yield Work("nms", f"batched_nms {n} in {label}", made(b, s, index),
                       plain(partial(batched, ops.batched_nms)),
                       only(torchvision=tv and plain(partial(batched, tv.ops.batched_nms)),
                            detectron2=d2 and plain(partial(batched, d2_batched)),
                            mmcv=mm and plain(lambda b, s, i, rule=rule: mm.ops.batched_nms(b, s, i, dict(rule)))),
                       cost, counts, goal, **everywhere(standard))


def iou_peers(peers):
    tv, d2, mm = (peers.get(name) for name in ("torchvision", "detectron2", "mmcv"))
    if d2:
        from detectron2.structures import Boxes, pairwise_iou
    return only(torchvision=tv and plain(tv.ops.box_iou),
                detectron2=d2 and (lambda a, b: partial(pairwise_iou, Boxes(a), Boxes(b))),
                mmcv=mm and plain(mm.ops.bbox_overlaps))


def box_works(peers, device):
    tv = peers.get("torchvision")
    for n, m, standard, goal in PAIRS:
        if n == m:
            first, second = inputs.boxes(n, seed=1), inputs.boxes(m, seed=2)
        else:
            first = inputs.anchors().repeat(-(-n // 268_569), 1)[:n].contiguous()
            second = inputs.boxes(m, 32, 400, seed=2)
        yield Work("boxes", f"box_iou {n} x {m}", made(first, second), plain(ops.box_iou),
                   iou_peers(peers), lambda given, out: Cost(size_of(given), size_of(out), PAIR * out.numel()),
                   f"boxes read, matrix written; {PAIR} operations a pair",
                   goals(goal, cuda_floor=2 if n >= 200_000 else None), **everywhere(standard))
    for name in ("generalized_box_iou", "distance_box_iou", "complete_box_iou"):
        yield Work("boxes", f"{name} 1000 x 1000", made(inputs.boxes(1000, seed=1), inputs.boxes(1000, seed=2)),
                   plain(getattr(ops, name)), only(torchvision=tv and plain(getattr(tv.ops, name))),
                   lambda given, out: Cost(size_of(given), size_of(out)), "boxes read, matrix written",
                   **everywhere(True))
    size = inputs.HEIGHT, inputs.WIDTH
    yield Work("boxes", "clip 268569 to image", made(inputs.anchors()),
               plain(lambda a: ops.clip_boxes_to_image(a, size)),
               only(torchvision=tv and plain(lambda a: tv.ops.clip_boxes_to_image(a, size))))


def matching_peers(peers):
    """The matcher of each peer that has one, after the matrix of IoUs that it wants."""
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    theirs = {}
    if tv:
        from torchvision.models.detection._utils import Matcher
        rule = Matcher(0.7, 0.3, allow_low_quality_matches=True)
        theirs["torchvision"] = plain(lambda a, t: rule(tv.ops.box_iou(t, a)))
    if d2:
        from detectron2.modeling.matcher import Matcher as Matcher2
        from detectron2.structures import Boxes, pairwise_iou
        rule2 = Matcher2([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)
        theirs["detectron2"] = lambda a, t: partial(lambda a, t: rule2(pairwise_iou(t, a)), Boxes(a), Boxes(t))
    return theirs


def matching_works(peers, device):
    theirs = matching_peers(peers)
    for times in TIMES_ANCHORS:
        anchors = inputs.anchors().repeat(times, 1)
        yield Work("matching", f"match {len(anchors)} x 50", made(anchors, inputs.boxes(50, 32, 400, seed=2)),
                   plain(lambda a, t: ops.match_boxes(a, t, 0.7, 0.3)), theirs,
                   lambda given, out: Cost(size_of(given), size_of(out), PAIR * len(given[0]) * len(given[1])),
                   f"boxes read, matches written, no matrix; {PAIR} operations a pair", goals(60, 10),
                   **everywhere(times == 1))


def codec_works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    if tv:
        from torchvision.models.detection._utils import BoxCoder
        coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    if d2:
        from detectron2.modeling.box_regression import Box2BoxTransform
        transform = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    for times in TIMES_ANCHORS:
        one = inputs.anchors()
        n = len(one) * times
        truth, a = inputs.boxes(len(one), 32, 400, seed=2).repeat(times, 1), one.repeat(times, 1)
        deltas = (0.2 * torch.randn(len(one), 4, generator=inputs.generator(1))).repeat(times, 1)
        goal = goals(2, cuda_floor=None if times == 1 else 2)
        yield Work("box_codec", f"encode {n}", made(truth, a), plain(ops.encode_boxes),
                   only(torchvision=tv and plain(coder.encode_single),
                        detectron2=d2 and plain(lambda t, a: transform.get_deltas(a, t))),
                   goals=goal, **everywhere(times == 1))
        yield Work("box_codec", f"decode {n}", made(deltas, a), plain(ops.decode_boxes),
                   only(torchvision=tv and plain(coder.decode_single),
                        detectron2=d2 and plain(transform.apply_deltas)),
                   goals=goal, **everywhere(times == 1))


def anchor_works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    if tv:
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.image_list import ImageList
    if d2:
        from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
    for times in TIMES_ANCHORS:
        height, width = round(inputs.HEIGHT * times**0.5), round(inputs.WIDTH * times**0.5)
        shapes = [(-(-height // s), -(-width // s)) for s in STRIDES]

        def cells(device):
            return tuple(ops.cell_anchors((size,), (0.5, 1.0, 2.0), rounded=True, device=device) for size in SIZES)

        def ours(*cells, shapes=shapes):
            return [ops.grid_anchors(*level) for level in zip(cells, shapes, STRIDES, strict=True)]

        def torchvision(*cells, shapes=shapes, height=height, width=width):
            grid, device = AnchorGenerator(tuple((s,) for s in SIZES), ((0.5, 1.0, 2.0),) * 5), cells[0].device
            maps = [torch.empty(1, 1, *shape, device=device) for shape in shapes]
            return partial(grid, ImageList(torch.empty(1, 3, height, width, device=device), [(height, width)]), maps)

        def detectron2(*cells, shapes=shapes):
            grid = DefaultAnchorGenerator(sizes=[[s] for s in SIZES], aspect_ratios=[[0.5, 1.0, 2.0]],
                                          strides=list(STRIDES)).to(cells[0].device)
            return partial(grid, [torch.empty(1, 1, *shape, device=cells[0].device) for shape in shapes])

        yield Work("anchors", f"anchors {3 * sum(h * w for h, w in shapes)}", cells, plain(ours),
                   only(torchvision=tv and torchvision, detectron2=d2 and detectron2), counts="anchors written once",
                   goals=goals(2, cuda_floor=None if times == 1 else 2), note="torchvision joins the levels",
                   **everywhere(times == 1))
