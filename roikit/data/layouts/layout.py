"""What a layout is made of, and what is known of a folder before any file of it is read."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from roikit.data.findings import counted
from roikit.errors import RoikitWarning

__all__ = ["Layout", "files_below", "pictures_near", "warn_of"]

_BESIDE = ("images", "JPEGImages", "imgs", "img", "data", "obj_train_data")


class Layout(NamedTuple):
    """A way in which annotations lie in files.

    Attributes:
        name: of the layout, for sentences.
        find: (path, the files below it) -> the path that ``images`` and ``read`` take; None where it is none of these.
        images: that path -> the folder of its images. Raises FileNotFoundError where it is not to be found.
        read: (that path, folder of the images) -> what a COCO file would hold.
        is_sized: whether the files tell names and sizes of the images, so that ``read`` does without them.
    """

    name: str
    find: Callable
    images: Callable
    read: Callable
    is_sized: bool = False


def files_below(path):
    """The files in a folder and the folders in it, hidden ones left out, in their order; none of a file."""
    found = []
    for place, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        found += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    return found


def pictures_near(folder, names):
    """The folder of some images: of those beside annotations the first that holds one of them.

    Looked at are the folder itself, ``images`` and the like in it and beside it, and the folder above.

    Args:
        folder: of the annotations.
        names: of some of the images, relative, as the annotations call them.

    Raises:
        FileNotFoundError: none of them holds one.
    """
    folder = Path(os.path.abspath(folder))
    places = [folder, *(folder / name for name in _BESIDE), *(folder.parent / name for name in _BESIDE), folder.parent]
    for place in places:
        if any(name and os.path.isfile(place / name) for name in names):
            return place
    raise FileNotFoundError(f"the images of {folder} are not beside it ({', '.join(map(str, names[:1])) or 'none'} was "
                            "looked for); name their folder")


def warn_of(name, passed):
    """Tell how many things of a folder were passed over.

    Args:
        name: of the folder or file.
        passed: what, such as "mask" or "mask without a pixel", -> how many.
    """
    told = []
    for what, number in sorted(passed.items()):
        thing, without, rest = what.partition(" without ")
        told += [counted(number, thing) + without + rest] if number else []
    if told:
        warnings.warn(f"{os.fspath(name)}: passed over {', '.join(told)}", RoikitWarning, stacklevel=3)
