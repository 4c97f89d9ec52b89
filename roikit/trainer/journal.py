"""What a prediction has done so far, a line an image in a file that is only added to."""

import contextlib
import json
import os
from pathlib import Path

__all__ = ["Journal", "write_joined"]


class Journal:
    """A file of JSON lines: what the results depend on, then each image with its results or its fault.

    A line reaches the operating system in one piece before the next image is begun, so that a killed process loses the
    image that it was at and no other. A line that was cut short is taken away when the file is gone on with. Of several
    lines about an image the last counts: one that could not be read is tried again.

    Args:
        path: the file.
        about: plain data that the results depend on, each under a name that a user knows it by.
        resume: go on with the file where it is there; otherwise it begins anew.

    Attributes:
        ids: file name -> id, of each image in the file.
        faults: file name -> sentence, of those that could not be read.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: it is another prediction's, or something else.
    """

    def __init__(self, path, about, *, resume=False):
        self._path, self._places, self._end = Path(path), {}, 0
        self.ids, self.faults = {}, {}
        about = json.loads(json.dumps(about))  # as it is read back
        going_on = resume and self._path.is_file() and self._path.stat().st_size > 0
        self._file = open(self._path, "r+b" if going_on else "w+b", buffering=0)
        try:
            if going_on:
                self._read(about)
            if not self._end:
                self._append(_head(about))
        except BaseException:
            self.close()
            raise

    def __contains__(self, name):
        """Whether an image of this file name has its results."""
        return name in self._places

    def __len__(self):
        return len(self._places)

    def add(self, record, results):
        """Note an image, a dict with ``id`` and ``file_name``, and what was found on it."""
        begin = self._end
        self._append({"image": record, "results": results})
        self._note(record["file_name"], record["id"], (begin, self._end), None)

    def add_fault(self, name, number, sentence):
        """Note an image that could not be read, and the id that it keeps."""
        self._append(_unread(name, number, sentence))
        self._note(name, number, None, sentence)

    def images(self):
        """Yields the record and the results of each image, in the order of the ids; nothing is added meanwhile."""
        for begin, end in (self._places[name] for name in sorted(self._places, key=self.ids.__getitem__)):
            self._file.seek(begin)
            line = json.loads(self._file.read(end - begin))
            yield line["image"], line["results"]

    def line(self, name):
        """The line about an image, as bytes."""
        if name not in self._places:
            return _line(_unread(name, self.ids[name], self.faults[name]))
        begin, end = self._places[name]
        self._file.seek(begin)
        return self._file.read(end - begin)

    def sync(self):
        """Wait until what was noted is on the disk."""
        os.fsync(self._file.fileno())

    def close(self):
        self._file.close()

    def _note(self, name, number, place, fault):
        self.ids[name] = number
        for found, value in ((self._places, place), (self.faults, fault)):
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value

    def _append(self, line):
        text = _line(line)
        self._file.seek(self._end)
        try:
            while text:
                written = self._file.write(text)
                self._end, text = self._end + written, text[written:]
        except OSError as error:
            raise OSError(f"predict: {self._path} cannot be written: {error.strerror}; what was found before is kept, "
                          "and --resume goes on with it") from error

    def _read(self, about):
        with open(self._path, "rb") as lines:
            for number, text in enumerate(lines):
                if not text.endswith(b"\n"):
                    break  # cut short as its process was killed
                begin, self._end = self._end, self._end + len(text)
                line = _parsed(text)
                if number == 0:
                    self._check(line, about)
                elif line is not None:
                    self._take(line, (begin, self._end))
        self._file.truncate(self._end)

    def _check(self, line, about):
        if not isinstance(line, dict) or line.get("journal") != 1 or not isinstance(line.get("about"), dict):
            raise ValueError(f"predict: {self._path} is no journal of roikit's prediction; give another folder")
        for name in sorted(line["about"].keys() | about.keys()):
            before, now = line["about"].get(name), about.get(name)
            if before != now:
                raise ValueError(f"predict: {self._path} was made with {name} {json.dumps(before)}, now it is "
                                 f"{json.dumps(now)}: results of both would be mixed; give another folder, or begin "
                                 "anew without resume")

    def _take(self, line, place):
        """Note a line that was read; one that is damaged is passed over, and its image is done again."""
        try:
            if "image" in line:
                line["results"] + []
                self._note(str(line["image"]["file_name"]), int(line["image"]["id"]), place, None)
            else:
                unread = line["unread"]
                self._note(str(unread["file_name"]), int(unread["id"]), None, str(unread["error"]))
        except (KeyError, TypeError, ValueError):
            return


def write_joined(file, paths, about):
    """Write a journal of what several hold, as one prediction writes it: an image a line, in the order of the ids.

    Args:
        file: open for bytes.
        paths: of the journals, which are closed again. Of an image in several, the first one that has its results
            counts, else the last fault.
        about: see `Journal`.

    Raises:
        OSError, ValueError: as `Journal`.
    """
    chosen = {}
    with contextlib.ExitStack() as stack:
        for path in paths:
            journal = stack.enter_context(contextlib.closing(Journal(path, about, resume=True)))
            for name in journal.ids:
                if name not in chosen or name not in chosen[name]:
                    chosen[name] = journal
        file.write(_line(_head(about)))
        for name in sorted(chosen, key=lambda name: chosen[name].ids[name]):
            file.write(chosen[name].line(name))


def _head(about):
    return {"journal": 1, "about": about}


def _unread(name, number, sentence):
    return {"unread": {"file_name": name, "id": number, "error": sentence}}


def _line(content):
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return None
