"""``predictions.json`` and ``images.json``, which are whole on the disk while a prediction goes on."""

import json
import os
import time
from pathlib import Path

from roikit.trainer.checkpoint import write_atomically

__all__ = ["ResultFiles"]


class ResultFiles:
    """Writes the results of a prediction as they come.

    What a reader finds is always whole: both files are replaced at once, every ``every`` seconds and in the end,
    whatever ended it (use as a context manager). Each result is made text once, and writing the growing text waits
    until it takes a twentieth of the time at most.

    Args:
        out: folder, made if need be.
        categories: as a checkpoint has them, for ``images.json``.
        every: seconds.
    """

    def __init__(self, out, categories, *, every=10.0):
        self._out, self._categories, self._every = Path(out), categories, every
        self._results, self._images, self._unread = [], [], []
        self._written, self._cost = time.monotonic(), 0.0

    def __enter__(self):
        self._out.mkdir(parents=True, exist_ok=True)
        if not os.access(self._out, os.W_OK):  # found now, not after an hour
            raise PermissionError(f"predict: {self._out} cannot be written to")
        return self

    def __exit__(self, kind, error, trace):
        self._write()

    def add(self, record, results):
        """Note an image (``id``, ``file_name``, ``height``, ``width``) and what was found on it."""
        self._images.append(json.dumps(record))
        self._results += [json.dumps(result) for result in results]
        self._write_in_time()

    def add_unread(self, name, error):
        """Note an image that could not be read."""
        self._unread.append(json.dumps({"file_name": name, "error": str(error)}))
        self._write_in_time()

    def _write_in_time(self):
        if time.monotonic() - self._written >= max(self._every, 20 * self._cost):
            self._write()

    def _write(self):
        begun = time.monotonic()
        _replace(self._out / "predictions.json", _list(self._results))
        _replace(self._out / "images.json",
                 f'{{"images": {_list(self._images)}, "unread": {_list(self._unread)}, '
                 f'"categories": {json.dumps(self._categories)}}}')
        self._written = time.monotonic()
        self._cost = self._written - begun


def _list(items):
    return f"[{', '.join(items)}]"


def _replace(path, text):
    write_atomically(path, lambda file: file.write(text.encode()))
