"""Images that are there twice: the same file, the same content, or nearly the same picture."""

import hashlib
import os
from collections import defaultdict

import numpy as np

from roikit.data.images import read_image
from roikit.data.remote import local_path

__all__ = ["nearly_alike", "same_content"]

# A file's first and last bytes tell most files of one size apart.
_ENDS = 65536
# Pictures are compared as grey ones of so many pixels a side, by the cosine of what is left of them without their mean.
_SIDE = 32
_ALIKE = 0.995
# The standard deviation of grey values below which a picture shows nothing to compare, of 255.
_FLAT = 3.0


def same_content(paths):
    """Groups of files of the same bytes.

    Args:
        paths: list of paths; those that cannot be read are passed over.

    Returns:
        list of lists of numbers, the places in ``paths`` of two or more files each, in ascending order.
    """
    groups = _groups(range(len(paths)), lambda place: os.path.getsize(local_path(paths[place])))
    for digest in (_ends, _whole):
        groups = [found for group in groups
                  for found in _groups(group, lambda place, digest=digest: digest(paths[place]))]
    return sorted(groups)


def _groups(places, key):
    found = defaultdict(list)
    for place in places:
        try:
            found[key(place)].append(place)
        except (OSError, ValueError):  # of a name that can be no file's, too
            pass  # whoever asks for the image is told
    return [group for group in found.values() if len(group) > 1]


def _ends(path):
    with open(path, "rb") as file:
        first = file.read(_ENDS)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _ENDS, 0))
        return hashlib.blake2b(first + file.read(_ENDS)).digest()


def _whole(path):
    digest = hashlib.blake2b()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.digest()


def nearly_alike(paths):
    """Pairs of pictures that look alike, such as frames of one video or a picture and its copy of another quality.

    Args:
        paths: list of paths; those that cannot be decoded, and pictures of one grey, are passed over.

    Returns:
        list of (i, j), places in ``paths`` with i < j, in ascending order.
    """
    prints, places = [], []
    for place, path in enumerate(paths):
        try:
            small = _small(read_image(path))
        except (OSError, ValueError):
            continue
        if small.std() >= _FLAT:
            small = small - small.mean()
            prints.append(small.reshape(-1) / np.linalg.norm(small))
            places.append(place)
    if not prints:
        return []
    prints, found = np.array(prints, np.float32), []
    for first in range(0, len(prints), 1024):
        close = prints[first:first + 1024] @ prints.T >= _ALIKE
        found += [(places[first + i], places[j]) for i, j in zip(*np.nonzero(close), strict=True) if first + i < j]
    return sorted(found)


def _small(image):
    """The image as float grey values of 32 x 32, each the mean of its part, in 0..255."""
    grey = image.mean(2, dtype=np.float64) * (255 / (65535 if image.dtype == np.uint16 else 255))
    if image.dtype == np.float32:
        grey = grey * 255
    for axis in (0, 1):
        length = grey.shape[axis]
        starts = np.arange(_SIDE) * length // _SIDE
        sizes = np.maximum(np.diff(np.append(starts, length)), 1)
        grey = np.add.reduceat(grey, starts, axis) / sizes.reshape((-1, 1) if axis == 0 else (1, -1))
    return grey
