"""What was found as annotations in another layout: YOLO's text files, labelme's JSON files."""

import contextlib
import os
import threading
import warnings
from collections import Counter

from roikit.data.findings import counted
from roikit.data.records import names_of
from roikit.data.writers import WRITERS, check_layout, yolo
from roikit.errors import RoikitWarning

__all__ = ["Annotations"]


class Annotations:
    """Writes a file of annotations for each image, and what is of all images.

    Args:
        name: of the layout, "yolo" or "labelme".
        folder: to write to.
        categories: [{"id", "name"}, ...].

    Raises:
        ValueError: two categories are named alike, and the layout tells them apart by their names.

    Attributes:
        lost: what the layout has no way to say -> how often it was left out.
    """

    def __init__(self, name, folder, categories):
        self.name, self._folder, self._writer = name, folder, WRITERS[name]
        categories = sorted(categories, key=lambda c: c["id"])
        self._categories = [{"id": c["id"], "name": name} for c, name in
                            zip(categories, names_of(categories), strict=True)]
        self.lost, self._lock = Counter(), threading.Lock()
        check_layout(self._writer, [], self._categories, "predict")

    def begin(self, names, first=True):
        """Write what is of all images, or where another process is the ``first`` and does so, make the folder alone.

        Args:
            names: of the images.

        Raises:
            OSError: it cannot be written.
            ValueError: two images would have one file, where the file is called as the image.
        """
        records = [{"file_name": name} for name in names]
        if self._writer is yolo:
            check_layout(self._writer, records, self._categories, "predict")
        self._folder.mkdir(parents=True, exist_ok=True)
        if first:
            self._writer.close(self._folder, records, self._categories)

    def write(self, looked):
        """Write the file of a `Looked`; several threads may."""
        record = looked.record
        if self._writer is not yolo:  # the file tells its image, wherever that lies
            place = (self._folder / looked.name).parent
            record = {**record, "file_name": looked.name, "path": _way(looked.path, place)}
        try:
            lost = self._writer.write_image(self._folder, record, looked.found, self._categories)
        except BaseException:  # half of it would be taken for all
            with contextlib.suppress(OSError):
                self.place(looked.record["file_name"], looked.name).unlink()
            raise
        with self._lock:
            self.lost.update(lost)

    def place(self, name, drawn):
        """The path of the file of an image.

        Args:
            name, drawn: what it is called, and the relative path of its PNG files.
        """
        if self._writer is yolo:
            return (self._folder / "labels" / name).with_suffix(".txt")
        return (self._folder / drawn).with_suffix(".json")

    def end(self):
        """Warn of what the layout has no way to say."""
        for what, number in (+self.lost).items():
            warnings.warn(f"predict: left out of {self._folder}, for the layout has no way to say it: "
                          f"{counted(number, what)}", RoikitWarning, stacklevel=3)


def _way(path, folder):
    """A path as it is called from a folder; in full where there is no way from one to the other."""
    try:
        way = os.path.relpath(path, folder)
    except ValueError:  # another drive
        way = os.path.abspath(path)
    return way.replace(os.sep, "/")
