"""The images of a folder: all of them, and where one is that an annotation file names in another way."""

import os
from pathlib import Path

from roikit.data.images import open_image

__all__ = ["IMAGE_ENDINGS", "ImageFolder", "listed_images"]

# Formats of pictures that lie in folders of data sets.
IMAGE_ENDINGS = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))


def listed_images(folder):
    """A record of each picture in a folder and the folders in it, in the order of their paths, with ids from 1.

    Returns:
        list of dicts ``id``, ``file_name`` (relative, "/" between its parts), ``height``, ``width``; a file whose
        header cannot be read has neither of the last two.

    Raises:
        FileNotFoundError: there is no such folder, or no picture in it.
    """
    root, names = Path(folder), []
    for path, folders, files in os.walk(root):
        folders.sort()
        names += [Path(path, name).relative_to(root) for name in files if Path(name).suffix.lower() in IMAGE_ENDINGS]
    if not names:
        raise FileNotFoundError(f"{folder} has no images ({', '.join(sorted(IMAGE_ENDINGS))})" if root.is_dir() else
                                f"there is no folder {folder}")
    records = []
    for number, name in enumerate(sorted(names, key=lambda n: n.parts), start=1):
        record = {"id": number, "file_name": name.as_posix()}
        try:
            header = open_image(root / name)
            record |= {"height": header.height, "width": header.width}
        except (OSError, ValueError):
            pass  # the doctor names it, and the data set does when it is asked for
        records.append(record)
    return records


class ImageFolder:
    """A folder of images, its names read once."""

    def __init__(self, folder):
        self.path = Path(folder)
        self._names = {}

    def other_reading(self, name):
        """Say where the file is that ``path / name`` is not.

        Looked at are backslashes as separators, the last part of the name alone, the folder above, and other cases of
        the letters.

        Args:
            name: the ``file_name`` of an image record.

        Returns:
            str, where the file is and what to do; None where it is not found.
        """
        slashed = name.replace("\\", "/")
        last = slashed.rpartition("/")[2]
        if slashed != name and self._holds(slashed):
            return f"{slashed!r} is there: write / for \\ in file_name"
        if last != name and self._holds(last):
            above = self.path.absolute().parent
            instead = f", or give {above} as the folder" if os.path.isfile(above / name) else ""
            return f"{last!r} is there: take the folders out of file_name{instead}"
        for candidate in (slashed, last):
            found = self._in_another_case(candidate)
            if found is not None:
                return f"{found!r} is there: write the name in the case of the file's"
        return None

    def _holds(self, name):
        return os.path.isfile(self.path / name)  # which is False, too, for what can be no path

    def _in_another_case(self, name):
        """The name of a file in the folder that is ``name`` but for the case of its letters, or None."""
        found = []
        for part in name.split("/"):
            actual = self._listed("/".join(found)).get(part.casefold())
            if actual is None:
                return None
            found.append(actual)
        path = "/".join(found)
        return path if path != name and self._holds(path) else None

    def _listed(self, below):
        """The names in a folder below this one, by their casefolded forms."""
        if below not in self._names:
            try:
                self._names[below] = {name.casefold(): name for name in os.listdir(self.path / below)}
            except (OSError, ValueError):
                self._names[below] = {}
        return self._names[below]
