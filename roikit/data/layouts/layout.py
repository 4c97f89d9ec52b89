"""What a layout is made of, and what is known of a folder before any file of it is read."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from roikit.data.findings import counted, os_sentence
from roikit.data.images import open_image
from roikit.errors import RoikitWarning

__all__ = ["Layout", "files_below", "pictures_near", "size_in", "warn_of"]

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


def size_in(picture, unread):
    """``height`` and ``width`` of a picture, as a dict; None where its header cannot be read.

    Args:
        picture: path of the file.
        unread: list that learns the exception, an OSError or ValueError, which names the file.
    """
    try:
        header = open_image(picture)
    except (OSError, ValueError) as error:
        unread.append(error)
        return None
    return {"height": header.height, "width": header.width}


def warn_of(name, passed, unread=(), found=True):
    """Tell how many things of a folder were passed over.

    Args:
        name: of the folder or file.
        passed: what, such as "mask" or "mask without a pixel", -> how many.
        unread: of `size_in`, of the images that are left out.
        found: whether an image is left.

    Raises:
        OSError, ValueError: the first of `unread`, where none is.
    """
    if unread and not found:
        raise unread[0]
    told = []
    for what, number in sorted(passed.items()):
        thing, without, rest = what.partition(" without ")
        told += [counted(number, thing) + without + rest] if number else []
    if unread:
        first = os_sentence(unread[0])
        told.append(f"{counted(len(unread), 'image')} that cannot be read and whose size nothing else tells, of which "
                    f"the first: {first}")
    if told:
        warnings.warn(f"{os.fspath(name)}: passed over {', '.join(told)}", RoikitWarning, stacklevel=3)
