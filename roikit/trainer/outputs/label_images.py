"""Label images: each pixel has the number of its object."""

import numpy as np

from roikit import masks as rle
from roikit.data.rotated import corners_of_boxes
from roikit.errors import naming
from roikit.trainer.extras import extra

__all__ = ["label_image", "write_label_image"]


def write_label_image(folder, looked):
    """Write the label image of a `Looked`, a 16-bit grey PNG, into a folder."""
    path = folder / looked.name
    labels = label_image(looked.found, *looked.picture.size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        extra("PIL.Image", "writing label images").fromarray(labels).save(path)


def label_image(found, height, width):
    """The number of the object at each pixel.

    Args:
        found: COCO results of one image; the object of place k, from 0, has the number k + 1. Of two at one pixel the
            one with the higher score is seen, of equals the first. An object without a mask fills its box.

    Returns:
        (height, width) uint16, 0 where there is no object.

    Raises:
        ValueError: there are more objects than 65,535.
    """
    if len(found) > 65_535:
        raise ValueError(f"predict: a label image holds 65,535 objects at most, got {len(found)}")
    labels = np.zeros((height, width), np.uint16)
    for k in sorted(range(len(found)), key=lambda k: (found[k].get("score", 1.0), -k)):
        y, x, pixels = rle.frames.window(_shape(found[k], height, width))
        labels[y:y + pixels.shape[0], x:x + pixels.shape[1]][pixels] = k + 1
    return labels


def _shape(item, height, width):
    """The RLE of a result's mask, or of its box where it has none."""
    if item.get("segmentation"):
        return item["segmentation"]
    if item.get("rbox"):
        corners = corners_of_boxes(item["rbox"])[0].reshape(-1).tolist()
        return rle.frPyObjects([corners], height, width)[0]
    return rle.frPyObjects([item["bbox"]], height, width)[0]
