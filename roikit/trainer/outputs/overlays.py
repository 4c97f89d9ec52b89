"""Overlays: each picture with what was found drawn on it."""

import numpy as np

from roikit import masks as rle
from roikit.trainer.draw import display_image, save_png

__all__ = ["LARGEST", "shrunk", "write_overlay"]

LARGEST = 8192  # pixels of the longer side; larger pictures are drawn smaller by a whole factor


def write_overlay(folder, prediction, looked):
    """Write the overlay of a `Looked` into a folder."""
    path, picture, output, found = folder / looked.name, looked.picture, looked.output, looked.found
    path.parent.mkdir(parents=True, exist_ok=True)
    factor = -(-max(picture.size) // LARGEST) if "boxes" in output else 1  # maps of classes are as large as the picture
    if factor > 1:
        image, found = shrunk(picture, found, factor)
    else:
        image = picture.whole()
    save_png(path, prediction.picture(display_image(image), output, found))


def shrunk(picture, objects, factor):
    """A picture and its objects, smaller by a whole factor: every so-manieth pixel.

    Args:
        picture: `roikit.data.pictures.Picture`, read in bands.
        objects: COCO results with masks as RLEs.

    Returns:
        (ceil(H / factor), ceil(W / factor), 3) array, and a list of results.
    """
    height, width = picture.size
    bands = [picture.read(y, 0, min(factor * 256, height - y), width)[::factor, ::factor]
             for y in range(0, height, factor * 256)]
    return np.concatenate(bands), [_smaller(item, factor, -(-height // factor), -(-width // factor))
                                   for item in objects]


def _smaller(item, factor, height, width):
    item = {**item, "bbox": [v / factor for v in item["bbox"]]}
    if item.get("rbox"):
        item["rbox"] = [*(v / factor for v in item["rbox"][:4]), item["rbox"][4]]
    if item.get("keypoints"):
        item["keypoints"] = [v if k % 3 == 2 else v / factor for k, v in enumerate(item["keypoints"])]
    if item.get("segmentation"):
        y, x, pixels = rle.frames.window(item["segmentation"])
        small = rle.encode(np.asfortranarray(pixels[-y % factor::factor, -x % factor::factor], np.uint8))
        item["segmentation"] = rle.frames.shift([small], -(-y // factor), -(-x // factor), height, width)[0]
    return item
