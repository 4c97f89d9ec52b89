"""VOC's label images: SegmentationObject, where a value is an object, and SegmentationClass, where it is a class."""

from pathlib import Path

import numpy as np

from roikit.data.images import read_image, read_values
from roikit.data.layouts.content import mask_at, places_of

__all__ = ["VOC_CLASSES", "object_masks"]

VOC_CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
               "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")
_VOID = 255  # the border between objects


def object_masks(root, stem, record):
    """The objects that the label image of an image shows.

    Args:
        root: folder of the data set.
        stem: path of the image without its ending, relative to the folder of the images.
        record: of the image, with its height and width.

    Returns:
        value -> (RLE, name of the class or None); empty where there is no label image. VOC's values are
        the numbers of the objects in the XML file, from 1; of other tools they are any.

    Raises:
        OSError: it cannot be read.
        ValueError: it is of another size than the image.
    """
    path = _file(root, "SegmentationObject", stem)
    if path is None:
        return {}
    values = read_values(path)
    if values.shape != (record["height"], record["width"]):
        raise ValueError(f"{path} must be {record['width']}x{record['height']} as its image is, got "
                         f"{values.shape[1]}x{values.shape[0]}")
    names, found = _names(root, stem, values.shape), dict(places_of(values))
    if max(found, default=0) == _VOID and _VOID - 1 not in found:
        del found[_VOID]
    return {value: (mask_at(places, *values.shape), names(places)) for value, places in found.items()}


def _file(root, folder, stem):
    """The label image of an image, in the folders that the image is in, or in none; None where there is none."""
    places = (Path(root, folder, f"{name}.png") for name in (stem, Path(stem).name))
    return next((place for place in places if place.is_file()), None)


def _names(root, stem, shape):
    """A function that names the class that most of some pixels have."""
    path = _file(root, "SegmentationClass", stem)
    if path is None:
        return lambda places: None
    colours = _label_map(root)
    if colours is None:
        classes = read_values(path)
        table = {value: name for value, name in enumerate(VOC_CLASSES, start=1)}
    else:
        pixels = read_image(path).astype(np.int64)
        classes = (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
        table = colours
    if classes.shape != shape:
        raise ValueError(f"{path} must be as large as the label image of the objects, {shape[1]}x{shape[0]}, got "
                         f"{classes.shape[1]}x{classes.shape[0]}")

    def name(places):
        found, counts = np.unique(classes.reshape(-1)[places], return_counts=True)
        value = int(found[counts.argmax()])
        return table.get(value, str(value))

    return name


def _label_map(root):
    """Colour as one number -> name, of the file ``labelmap.txt`` that tools put beside; None without it."""
    path = Path(root, "labelmap.txt")
    if not path.is_file():
        return None
    found = {}
    for line in path.read_text("utf-8-sig").splitlines():
        name, _, rest = line.partition(":")
        colour = rest.partition(":")[0].split(",")
        if line.startswith("#") or len(colour) != 3 or not all(part.strip().isdecimal() for part in colour):
            continue
        red, green, blue = (int(part) for part in colour)
        found[(red << 16) + (green << 8) + blue] = name.strip()
    return found
