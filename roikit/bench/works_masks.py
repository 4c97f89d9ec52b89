"""Works on masks: mask_paste, mask_target, rle, polygon."""

from functools import cache, partial

import numpy as np

import roikit.masks
import roikit.ops as ops

from . import inputs
from .work import Cost, Work, made, only, plain, size_of

SIZE = (800, 1333)
CELLS = 28


def coco_encoder(coco):
    """Bool images to COCO strings, by pycocotools or, where it is not here, by roikit.masks; and what to say of it."""
    if coco:
        def encode(images):
            return [coco.encode(np.array(m[:, :, None], np.uint8, order="F"))[0] for m in images.cpu().numpy()]
        return encode, "peers' images encoded by pycocotools"
    return (lambda images: roikit.masks.encode(images.cpu().numpy().transpose(1, 2, 0)),
            "peers' images encoded by roikit.masks, without pycocotools")


def paste_peers(peers, size):
    """name -> rival, to float images, to bool images, to COCO strings; and what to say of the last."""
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    soft, hard = {}, {}
    if tv:
        from torchvision.models.detection.roi_heads import paste_masks_in_image
        soft["torchvision"] = lambda m, b: paste_masks_in_image(m[:, None], b, size)
        hard["torchvision"] = lambda m, b: (paste_masks_in_image(m[:, None], b, size) > 0.5)[:, 0]
    if d2:
        from detectron2.layers import paste_masks_in_image as paste2
        hard["detectron2"] = lambda m, b: paste2(m, b, size, 0.5)
    encode, how = coco_encoder(peers.get("pycocotools"))

    def encoded(paste):
        return lambda m, b: encode(paste(m, b))

    runs = {name: encoded(paste) for name, paste in hard.items()}
    return *({name: plain(call) for name, call in calls.items()} for calls in (soft, hard, runs)), how


def paste_works(peers, device):
    soft, hard, runs, how = paste_peers(peers, SIZE)

    def inside(given, out):
        b = given[1]
        pixels = float(((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])).sum())
        return Cost(size_of(given), 0, int(8 * pixels))

    for n in (100, 1000):
        place = {"devices": ("cpu", "cuda") if n == 100 else ("cuda",), "quick": n == 100}
        given = made(inputs.mask_probabilities(n, CELLS), inputs.boxes(n, 24, 500, 6, height=SIZE[0], width=SIZE[1]))
        yield Work("mask_paste", f"paste_masks_rle {n}", given, plain(lambda m, b: ops.paste_masks_rle(m, b, SIZE)),
                   runs, inside,
                   "8 operations for each pixel inside a box, no image", {"cpu": ("ratio", 50), "cuda": ("ratio", 20)},
                   host=True, note=how, **place)
        yield Work("mask_paste", f"paste_masks bool {n}", given, plain(lambda m, b: ops.paste_masks(m, b, SIZE)),
                   hard, counts="masks read, images written",
                   goals={"cpu": ("ratio", 8)} | ({"cuda": ("floor", 2)} if n > 100 else {}), **place)
    boxes = inputs.boxes(100, 24, 500, 6, height=SIZE[0], width=SIZE[1])
    yield Work("mask_paste", "paste_masks soft 100", made(inputs.mask_probabilities(100, CELLS), boxes),
               plain(lambda m, b: ops.paste_masks(m, b, SIZE, threshold=None)),
               soft, counts="masks read, float images written",
               devices=("cpu",))


def target_works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    if tv:
        from torchvision.models.detection.roi_heads import project_masks_on_boxes
    if d2:
        from detectron2.structures import BitMasks, PolygonMasks

    def sampled(given, out):
        return Cost(4 * out.numel(), size_of(out), 8 * out.numel())

    def targets(masks, boxes, which):
        return ops.mask_targets(masks, boxes, which, CELLS, image_size=SIZE)

    for count, rois in ((20, 128), (200, 1280)):
        objects = inputs.boxes(count, 48, 500, 11, height=SIZE[0], width=SIZE[1])
        boxes, which = inputs.jittered(objects, rois, *SIZE)

        def make(device, objects=objects, boxes=boxes, which=which):
            return tuple(t.to(device) for t in (inputs.ellipses(objects, *SIZE), boxes, which))

        yield Work("mask_target", f"mask_targets {rois} rois of {count} bitmaps", make, plain(targets),
                   only(torchvision=tv and plain(lambda m, b, i: project_masks_on_boxes(m, b, i, CELLS)),
                        detectron2=d2 and (lambda m, b, i: partial(
                            lambda m, b, i: m[i].crop_and_resize(b, CELLS), BitMasks(m), b, i))),
                   sampled, "four bytes of bitmap read and 8 operations a value of the output, which is written",
                   {"cpu": ("ratio", 20)}, ("cpu", "cuda") if rois == 128 else ("cuda",), rois == 128)
    objects = inputs.boxes(20, 48, 500, 11, height=SIZE[0], width=SIZE[1])
    boxes, which = inputs.jittered(objects, 128, *SIZE)
    rng = np.random.default_rng(0)
    polygons = [[inputs.star(box, rng)] for box in objects.tolist()]
    arrays = [[np.array(p) for p in one] for one in polygons]
    yield Work("mask_target", "mask_targets 128 rois of 20 polygons", made(polygons, boxes, which), plain(targets),
               only(detectron2=d2 and (lambda m, b, i: partial(
                   lambda m, b, i: m[i].crop_and_resize(b, CELLS), PolygonMasks(arrays), b, i))),
               None, "none: the work depends on the polygons' edges", devices=("cpu",))


def rle_works(peers, device):
    coco = peers.get("pycocotools")
    count = 100
    crowd = [0] * count

    @cache
    def images():
        bitmaps = inputs.ellipses(inputs.boxes(count, 24, 500, 6, height=SIZE[0], width=SIZE[1]), *SIZE)
        return np.asfortranarray(bitmaps.numpy().transpose(1, 2, 0))

    @cache
    def runs():
        return roikit.masks.encode(images())

    one = {"devices": ("cpu",), "host": True, "goals": {"cpu": ("ratio", 2)}, "note": "one thread"}

    def rivals(call):
        return plain(partial(call, roikit.masks)), only(pycocotools=coco and plain(partial(call, coco)))

    yield Work("rle", "rle encode 100 of 800x1333", lambda device: (images(),),
               *rivals(lambda library, m: library.encode(m)), lambda given, out: Cost(images().nbytes),
               "pixels read", **one)
    yield Work("rle", "rle decode 100 of 800x1333", lambda device: (runs(),),
               *rivals(lambda library, r: library.decode(r)), lambda given, out: Cost(0, images().nbytes),
               "pixels written", **one)
    yield Work("rle", "rle iou 100 x 100", lambda device: (runs(),),
               *rivals(lambda library, r: library.iou(r, r, crowd)), None,
               "none: it walks the runs of the pairs whose boxes meet", **one)


def polygon_works(peers, device):
    coco = peers.get("pycocotools")
    rng = np.random.default_rng(0)
    boxes = inputs.boxes(100, 24, 500, 6, height=SIZE[0], width=SIZE[1])
    polygons = [inputs.star(box, rng) for box in boxes.tolist()]

    def to_runs(library):
        return plain(lambda p: library.frPyObjects(p, *SIZE))

    yield Work("polygon", "polygon to rle 100 of 800x1333", made(polygons), to_runs(roikit.masks),
               only(pycocotools=coco and to_runs(coco)), None, "none: the work depends on the polygons' edges",
               devices=("cpu",), host=True, note="one thread")
