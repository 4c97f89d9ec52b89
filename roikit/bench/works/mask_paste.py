"""Works of mask paste: masks into images of 800 x 1333, as images and as runs."""

import numpy as np

import roikit.masks
import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, plain, size_of

__all__ = ["works"]

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


def works(peers, device):
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
