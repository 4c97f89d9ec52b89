"""DOTA's text files: ``x1 y1 x2 y2 x3 y3 x4 y4 category difficult``, in pixels, after headers that may be missing.

Source: Xia et al. 2018, arXiv:1711.10833, and the data set's page.
"""

from roikit.data.layouts.files import finite, lines_of, number_of
from roikit.data.records import shown

__all__ = ["is_dota", "read_dota"]

_WORDS = (9, 10)  # without and with the difficulty


def is_dota(words):
    """Whether a line seems to be one of DOTA's: eight numbers, then something."""
    return len(words) > 8 and all(number_of(word) is not None for word in words[:8])


def read_dota(folder, pairs):
    """The objects of DOTA's text files.

    Categories are the names that occur, sorted, with ids from 1. A difficult object has ``iscrowd`` 1: it is not
    learnt, and finding it or not does not count, as DOTA's evaluation has it.

    Args:
        folder: of the files; not needed.
        pairs: (image record, path or None).

    Returns:
        list of categories; list of dicts ``image_id``, ``category_id``, ``iscrowd`` and ``obb``.

    Raises:
        ValueError: a line is malformed.
    """
    found = [(record["id"], *_object(line)) for record, path in pairs if path is not None for line in lines_of(path)]
    names = sorted({name for _, _, name, _ in found})
    numbers = {name: number for number, name in enumerate(names, start=1)}
    return ([{"id": number, "name": name} for name, number in numbers.items()],
            [{"image_id": image, "category_id": numbers[name], "iscrowd": difficult, "obb": corners}
             for image, corners, name, difficult in found])


def _object(line):
    """Corners, name and whether it is difficult, 0 or 1."""
    words = line.words
    if len(words) not in _WORDS:
        raise ValueError(f"{line.place}: it must be x1 y1 x2 y2 x3 y3 x4 y4 category difficult, the last of which may "
                         f"be missing, got {len(words)} words: {shown(' '.join(words))}")
    difficult = words[9] if len(words) > 9 else "0"
    if not (difficult.isascii() and difficult.isdigit()):
        raise ValueError(f"{line.place}: difficult must be 0 or a whole number above it, got {shown(difficult)}")
    return finite(line, words[:8]), words[8], int(int(difficult) > 0)
