"""Where in a folder an image is that an annotation file names in another way than the folder does."""

import os
from pathlib import Path

__all__ = ["ImageFolder"]


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
