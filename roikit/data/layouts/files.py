"""Text files of annotations: which there are, the images that they belong to, and their lines."""

import math
import os
from pathlib import Path
from typing import NamedTuple

from roikit.data.findings import counted
from roikit.data.image_folder import listed_images
from roikit.data.layouts.layout import size_in, warn_of
from roikit.data.records import shown

__all__ = ["Line", "finite", "first_line", "images_beside", "lines_of", "number_of", "pair_with_images", "text_files"]

_CLASSES = "classes.txt"  # a list of names that some tools put among the annotations
_HEADERS = ("imagesource:", "gsd:")


class Line(NamedTuple):
    """A line with content.

    Attributes:
        place: the file and the number of the line, for sentences.
        words: what stands between its blanks.
    """

    place: str
    words: list


def text_files(folder):
    """The text files in a folder and the folders in it: relative path without the ending -> path, in their order."""
    root, found = Path(folder), []
    for place, folders, files in os.walk(root):
        folders.sort()
        found += [Path(place, name) for name in files
                  if name.lower().endswith(".txt") and name.lower() != _CLASSES]
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(found, key=lambda p: p.parts)}


def images_beside(folder):
    """The folder of images that belongs to one of text files: ``images`` in place of ``labels`` or ``labelTxt``.

    Raises:
        FileNotFoundError: the path has no such part, or there is no such folder.
    """
    path = Path(os.path.abspath(folder))
    for k in range(len(path.parts) - 1, 0, -1):
        if path.parts[k] == "labels" or path.parts[k].startswith("labelTxt"):
            found = Path(*path.parts[:k], "images", *path.parts[k + 1:])
            if found.is_dir():
                return found
            raise FileNotFoundError(f"there is no folder {found} with the images of {os.fspath(folder)}; name theirs")
    raise FileNotFoundError(f"the folder of the images of {os.fspath(folder)} must be given, for no part of its path "
                            "is 'labels' or 'labelTxt', beside which 'images' would be looked for")


def pair_with_images(files, images):
    """Each image of a folder with the text file that is called as it is.

    Args:
        files: of `text_files`.
        images: folder of the images.

    Returns:
        list of (record, path or None), the records as `listed_images` gives them, with their sizes; images whose
        header cannot be read are left out, with a RoikitWarning.

    Raises:
        OSError: there is no image, or none that can be read.
        ValueError: two are called alike, or a text file has no image.
    """
    records, named, unread = listed_images(images), {}, []
    sized = [record for record in records if "height" in record or size_in(Path(images, record["file_name"]), unread)]
    for record in sized:
        stem = record["file_name"].rpartition(".")[0]
        if stem in named:
            raise ValueError(f"{os.fspath(images)} has the images {named[stem]} and {record['file_name']}, and text "
                             "files of annotations belong to names without the ending")
        named[stem] = record["file_name"]
    stems = {record["file_name"].rpartition(".")[0] for record in records}
    alone = [path for stem, path in files.items() if stem not in stems]
    if alone:
        raise ValueError(f"{counted(len(alone), 'text file')} of annotations without an image of the same name in "
                         f"{os.fspath(images)}: {', '.join(map(str, alone[:3]))}{', ...' if alone[3:] else ''}")
    warn_of(images, {}, unread, sized)
    return [(record, files.get(record["file_name"].rpartition(".")[0])) for record in sized]


def lines_of(path):
    """The lines of a text file that have content and are none of DOTA's headers, as `Line`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not text in UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8: {error}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if words and not words[0].lower().startswith(_HEADERS):
            yield Line(f"{path}, line {number}", words)


def first_line(files):
    """The first line of all; None where no file has one."""
    return next((line for path in files for line in lines_of(path)), None)


def number_of(word):
    """The float that a word is, or None."""
    try:
        return float(word)
    except ValueError:
        return None


def finite(line, words):
    """The floats that some words of a line are.

    Raises:
        ValueError: one is no finite number; the text names the line.
    """
    values = [number_of(word) for word in words]
    for word, value in zip(words, values, strict=True):
        if value is None or not math.isfinite(value):
            raise ValueError(f"{line.place}: its coordinates must be finite numbers, got {shown(word)}")
    return values
