"""The images of a step as a picture: what the network is given, with what it is to learn drawn on it."""

import numpy as np

from roikit.data.keypoints import skeletons_of
from roikit.data.motions import Sample, resized
from roikit.data.rotated import boxes_of_corners, corners_of_boxes, upright_boxes
from roikit.trainer.draw import draw_objects, sample_objects, save_png, side_by_side
from roikit.trainer.draw_pixels import draw_classes
from roikit.trainer.memory import resized_sizes

__all__ = ["batch_picture", "draw_batch"]

ABREAST = 4
# Pixels of a picture's longer side: small images are enlarged to about the first, large ones reduced to the second.
_ABOUT, _LARGEST = 384, 768


def draw_batch(path, *step, **words):
    """Write the picture of a step as a PNG; arguments as for `batch_picture`."""
    save_png(path, batch_picture(*step, **words))


def batch_picture(images, targets, categories, preparation, *, most=8):
    """The first ``most`` images of a step beside and below each other, each with its objects or its classes.

    Values are drawn as they are, so that what is dark to the network is dark; the model's mean and standard deviation
    are not taken off. A title says to what size the model resizes an image.

    Args:
        images: (3, H, W) float tensors in [0, 1].
        targets: as data sets give them.
        categories: of a checkpoint.
        preparation: the model's ``ImageConfig``.

    Returns:
        (h, w, 3) uint8.
    """
    step = list(zip(images, targets, strict=True))[:most]
    pictures = [_drawn(image, target, categories) for image, target in step]
    titles = [_title(image, target, preparation) for image, target in step]
    rows = [side_by_side(pictures[k:k + ABREAST], titles[k:k + ABREAST]) for k in range(0, len(pictures), ABREAST)]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)
                           for row in rows])


def _title(image, target, preparation):
    size = tuple(image.shape[-2:])
    taken = sorted({tuple(resized_sizes(preparation, [size], shortest)[0].astype(int))
                    for shortest in preparation.min_size} - {size})
    words = ["x".join(map(str, size[::-1]))]
    if taken:
        words[0] += " as " + " to ".join("x".join(map(str, each[::-1])) for each in taken[:1] + taken[1:][-1:])
    if "labels" in target:
        words.append(f"{len(target['labels'])} objects")
    return f"image {target['image_id']}: {', '.join(words)}"


def _drawn(image, target, categories):
    sample = _sample(image, target)
    if max(sample.size) > _LARGEST:
        factor = _LARGEST / max(sample.size)
        sample = resized(sample, *(max(1, round(side * factor)) for side in sample.size))
    if "labels" not in target:
        return draw_classes(sample.image, sample.semantic, [c["name"] for c in categories], about=_ABOUT)
    turned = None if sample.corners is None else boxes_of_corners(sample.corners)
    names = {c["id"]: c["name"] for c in categories}
    return draw_objects(sample.image, sample_objects(sample, list(names), turned), names, about=_ABOUT,
                        skeletons=skeletons_of(categories))


def _sample(image, target):
    """An image and a target as a Sample, which can be made smaller."""
    found = {key: value.cpu().numpy() if hasattr(value, "cpu") else value for key, value in target.items()}
    boxes = found.get("boxes", np.zeros((0, 4))).astype(np.float64)
    corners = corners_of_boxes(boxes) if boxes.shape[1] == 5 else None
    if corners is not None:
        boxes = upright_boxes(boxes)
    pixels = image.cpu().numpy().transpose(1, 2, 0).clip(0, 1) * 255 + 0.5
    return Sample(pixels.astype(np.uint8), boxes, found.get("labels", np.zeros(0, np.int64)), np.zeros(len(boxes)),
                  found.get("masks"), np.zeros((0, 4)), found.get("keypoints"), semantic=found.get("semantic"),
                  corners=corners)
