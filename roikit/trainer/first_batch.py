"""The images of a step as a picture: what the network is given, with what it is to learn drawn on it."""

import numpy as np

from roikit.data.keypoints import skeletons_of
from roikit.trainer.draw import draw_objects, save_png, side_by_side
from roikit.trainer.draw_pixels import draw_classes
from roikit.trainer.memory import resized_sizes

__all__ = ["batch_picture", "draw_batch"]

ABREAST = 4
_ABOUT = 384  # pixels of an image's longer side


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
    pixels = (image.cpu().numpy().transpose(1, 2, 0).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    if "labels" not in target:
        return draw_classes(pixels, target["semantic"].cpu().numpy(), [c["name"] for c in categories], about=_ABOUT)
    names = {c["id"]: c["name"] for c in categories}
    objects = _objects({key: value.cpu().numpy() if hasattr(value, "cpu") else value for key, value in target.items()},
                       categories)
    return draw_objects(pixels, objects, names, about=_ABOUT, skeletons=skeletons_of(categories))


def _objects(target, categories):
    """A target's objects as COCO annotations."""
    objects = []
    for k, (label, box) in enumerate(zip(target["labels"], target["boxes"].tolist(), strict=True)):
        item = {"category_id": categories[int(label) - 1]["id"]}
        if len(box) == 5:
            item |= {"rbox": box, "bbox": [box[0] - box[2] / 2, box[1] - box[3] / 2, box[2], box[3]]}
        else:
            item["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        if "masks" in target:
            mask = target["masks"][k]
            item["segmentation"] = mask if isinstance(mask, dict) else [ring.tolist() for ring in mask]
        if "keypoints" in target:
            item["keypoints"] = target["keypoints"][k].reshape(-1).tolist()
        objects.append(item)
    return objects
