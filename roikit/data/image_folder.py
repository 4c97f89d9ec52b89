"""The images of a folder: all of them, and where one is that an annotation file names in another way."""

import os
import re
import unicodedata
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

from roikit.data.images import open_image
from roikit.data.remote import local_path

__all__ = ["IMAGE_ENDINGS", "ImageFolder", "listed_images", "missing_sentence", "placed"]

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
    root, names = Path(local_path(folder)), []
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


# What Label Studio puts before the name of a file that it is given, and Roboflow behind it, the ending in it.
_UPLOADED = re.compile("[0-9a-f]{8}-.")
_EXPORTED = re.compile(r"(.+)[_-](jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9A-Za-z]{8,}\.[a-z]+", re.I)


class ImageFolder:
    """A folder of images, the names in it read once.

    Attributes:
        path: of the folder.
    """

    def __init__(self, folder):
        self.path = Path(local_path(folder))
        self._names = {}
        self._folded = {}
        self._below = None
        self._plain = None
        self._is_flat = False

    @property
    def is_empty(self):
        """Whether nothing is in the folder, or there is none."""
        return not self._listed("")

    def holds(self, name):
        """Whether a file is there under a name as it is."""
        if not isinstance(name, str) or not name or "\0" in name:
            return False
        if "/" not in name:
            return name in self._listed("")
        before, _, last = name.rpartition("/")
        if name[0] == "/" or ".." in name or "//" in name or "./" in name:
            return os.path.isfile(self.path / name)
        return last in self._listed(before)

    def missing(self, names):
        """(place, name) of the names under which no file is there as they are."""
        listed = self._listed("")
        return [(place, name) for place, name in enumerate(names)
                if not isinstance(name, str) or name not in listed and ("/" not in name or not self.holds(name))]

    def find(self, name):
        """The name under which a file is here that an annotation file names in another way.

        Looked at are, one after the other: backslashes as separators; the
        name without the eight letters that Label Studio puts before it, or what Roboflow puts behind it; without blanks
        around; what a URL's ``%20`` and ``?d=`` stand for; the
        end of the path, the longest part first; each in another case of the letters or another form of accents (NFC,
        NFD); a file in one of the folders below; and, where the name has no ending of a picture's or no other file is
        called so, another such ending.

        Args:
            name: the ``file_name`` of an image record.

        Returns:
            (str, str): the name and what the one of the record is, in words; None where there is no such file, or more
            than one.
        """
        slashed = name.replace("\\", "/")
        forms = {slashed: "file names with \\"}
        before, slash, last = slashed.rpartition("/")
        if _UPLOADED.match(last):
            forms[before + slash + last.partition("-")[2]] = "file names with Label Studio's prefix"
        if (exported := _EXPORTED.fullmatch(last)) is not None:
            forms[f"{before}{slash}{exported[1]}.{exported[2]}"] = "file names of Roboflow"
        if slashed != slashed.strip():
            forms[slashed.strip()] = "file names with blanks around"
        if "%" in slashed or "?" in slashed:
            path, _, query = slashed.partition("?")
            asked = query.partition("d=")[2]
            forms |= {unquote(form): "file names of URLs" for form in (slashed, path, asked) if form}
        if all(map(self._has_nothing_like, forms)):
            return None
        for form, words in forms.items():
            parts = [part for part in form.split("/") if part not in ("", ".")]
            for k in range(len(parts)):
                end = "/".join(parts[k:])
                if k and form is slashed:
                    words = "file names of another folder"
                if (end != name or k) and self.holds(end):
                    return end, words
                if (found := self._in_another_case(parts[k:])) is not None:
                    return found, "file names in another case"
        last = slashed.rpartition("/")[2]
        for key, words in ((_folded(last), "file names of another folder"),
                           (_stem(last), "file names with another ending")):
            found = self._files_below().get(key, ())
            if len(found) == 1:
                return found[0], words
        return None

    def likely(self, name):
        """The several files here that are called as the last part of a name is, but for its ending; [] elsewhere."""
        last = name.replace("\\", "/").rpartition("/")[2]
        return next((found for key in (_folded(last), _stem(last))
                     if len(found := sorted(self._files_below().get(key, ()))) > 1), [])

    def _has_nothing_like(self, form):
        """Whether it is soon seen that no file here has a form of a name, as in a folder without folders it is."""
        if self._plain is None:
            listed = [] if any(os.path.isdir(self.path / name) for name in self._listed("")) else self._listed("")
            self._plain = frozenset(key for name in listed for key in (_folded(name), _stem(name)))
            self._is_flat = len(listed) == len(self._listed(""))
        last = form.rpartition("/")[2]
        return self._is_flat and _folded(last) not in self._plain and _stem(last) not in self._plain

    def _in_another_case(self, parts):
        """The name of a file in the folder that is these parts but for the case of their letters, or None."""
        found = []
        for part in parts:
            actual = self._folded_names("/".join(found)).get(_folded(part), ())
            if len(actual) != 1:
                return None
            found += actual
        path = "/".join(found)
        return path if os.path.isfile(self.path / path) else None

    def _listed(self, below):
        """The names in a folder below this one."""
        if below not in self._names:
            try:
                self._names[below] = frozenset(os.listdir(self.path / below))
            except (OSError, ValueError):
                self._names[below] = frozenset()
        return self._names[below]

    def _folded_names(self, below):
        """The names in a folder below this one, by their form without case."""
        if below not in self._folded:
            names = defaultdict(list)
            for name in self._listed(below):
                names[_folded(name)].append(name)
            self._folded[below] = names
        return self._folded[below]

    def _files_below(self):
        """The pictures in this folder and those below it, by the last part of their names and by its stem."""
        if self._below is None:
            self._below = defaultdict(list)
            for place, _, files in os.walk(self.path):
                for name in files:
                    if Path(name).suffix.lower() in IMAGE_ENDINGS:
                        path = Path(place, name).relative_to(self.path).as_posix()
                        self._below[_folded(name)].append(path)
                        self._below[_stem(name)].append(path)
        return self._below


def _folded(name):
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name):
    """A key for a name without the ending of a picture's, which no name is."""
    stem, dot, ending = name.rpartition(".")
    return "/" + _folded(stem if stem and (dot + ending).lower() in IMAGE_ENDINGS else name)


def placed(records, folder, taken):
    """Image records with the names under which their files are in a folder, and the sizes that they do not tell.

    A file that two records would share is given to the one that names it as it is, or else to neither.

    Args:
        records: list of image records; those of another kind than a dict stay.
        folder: ImageFolder.
        taken: Counter that learns what was found otherwise than the record says, in words.

    Returns:
        list of records, those that differ being copies.
    """
    names = [record.get("file_name") if isinstance(record, dict) else None for record in records]
    found = {} if folder.is_empty else {
        place: other for place, name in folder.missing(names) if isinstance(name, str) and name
        and (other := folder.find(name)) is not None}
    owners = defaultdict(set)
    for place, (name, _) in found.items():
        owners[name].add(names[place])
    for name in names if found else ():
        if isinstance(name, str) and name in owners:
            owners[name].add(name)
    changed = list(records)
    for place, (name, words) in found.items():
        if len(owners[name]) == 1:
            changed[place] = {**records[place], "file_name": name}
            taken[words] += 1
    return [record if isinstance(record, dict) and type(height := record.get("height")) is int and height > 0
            else _with_size(record, folder, taken) for record in changed]


def missing_sentence(names, count):
    """What to say of image files that are missing.

    Args:
        names: list of their names, not empty.
        count: how many files there are to be.
    """
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{len(names)} of {count} image files {'is' if len(names) == 1 else 'are'} missing: {listed}"


def _with_size(record, folder, taken):
    """The record with the size of its file, where it has none."""
    if not isinstance(record, dict) or not (_is_no_size(record.get("height")) and _is_no_size(record.get("width"))):
        return record
    name = record.get("file_name")
    if not isinstance(name, str) or not name:
        return record
    try:
        header = open_image(folder.path / name)
    except (OSError, ValueError):
        return record  # without a size; whoever needs it says so
    taken["sizes missing"] += 1
    return {**record, "height": header.height, "width": header.width}


def _is_no_size(value):
    return value is None or type(value) is int and value <= 0
