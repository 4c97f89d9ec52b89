"""The files of a prediction as a whole: the journal that is added to, and what is made of it."""

import contextlib
import json
import time
from pathlib import Path

from roikit.trainer.checkpoint import write_atomically
from roikit.trainer.folders import alone_in, writable_folder
from roikit.trainer.journal import Journal
from roikit.trainer.parts import JOURNAL, going_on, join

__all__ = ["ResultFiles", "write_results"]


class ResultFiles:
    """Keeps the results of a prediction as they come.

    Each image is a line of the journal as soon as it is done. ``images.json`` and the chosen files are made of the
    journal, and a reader finds them whole: they are replaced at once, every ``every`` seconds and in the end, whatever
    ended it (use as a context manager), and writing them waits until it takes a twentieth of the time at most. No other
    prediction may write to the folder meanwhile.

    Args:
        out: folder, made if need be.
        categories: as a checkpoint has them, for ``images.json``.
        about, resume: see `Journal`.
        writers: file name -> function that writes the pairs of `Journal.images` to an open binary file;
            `write_results` is the one of ``predictions.json``.
        every: seconds.

    Attributes:
        journal: the `Journal`, inside the context.
    """

    def __init__(self, out, categories, *, about, writers, resume=False, every=10.0):
        self._out, self._categories, self._every = Path(out), categories, every
        self._about, self._resume, self._writers = about, resume, writers
        self._written, self._cost = time.monotonic(), 0.0
        self.journal, self._alone = None, contextlib.ExitStack()

    def __enter__(self):
        writable_folder(self._out, "predict")
        with contextlib.ExitStack() as stack:
            stack.enter_context(alone_in(self._out, "predict"))
            self.journal = going_on(self._out, self._about, resume=self._resume)
            self._alone = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace):
        try:
            # A disk that is full has ended the work already; what it is told of is that.
            with contextlib.suppress(*(() if error is None else (OSError,))):
                self._write()
        finally:
            self.journal.close()
            self._alone.close()

    def known(self):
        """Of the journal file name -> id, and the names of those that have their results."""
        return dict(self.journal.ids), {name for name in self.journal.ids if name in self.journal}

    def images(self):
        """`Journal.images`."""
        return self.journal.images()

    def take(self, parts):
        """Take the parts of other processes, paths of files, into the journal, and away."""
        self.journal.close()
        try:
            join(self._out, self._about, parts)
        finally:
            self.journal = Journal(self._out / JOURNAL, self._about, resume=True)
        for part in parts:
            part.unlink(missing_ok=True)

    def add(self, record, results):
        """Note an image (``id``, ``file_name``, ``height``, ``width``) and what was found on it."""
        self.journal.add(record, results)
        self._write_in_time()

    def add_unread(self, name, number, sentence):
        """Note an image that could not be read."""
        self.journal.add_fault(name, number, sentence)
        self._write_in_time()

    def _write_in_time(self):
        if time.monotonic() - self._written >= max(self._every, 20 * self._cost):
            self._write()

    def _write(self):
        begun = time.monotonic()
        self.journal.sync()
        for name, write in {**self._writers, "images.json": self._write_images}.items():
            write_atomically(self._out / name, lambda file, write=write: write(file, self.journal.images()))
        self._written = time.monotonic()
        self._cost = self._written - begun

    def _write_images(self, file, images):
        faults = sorted(self.journal.faults.items(), key=lambda fault: self.journal.ids[fault[0]])
        unread = [{"file_name": name, "error": sentence} for name, sentence in faults]
        file.write(b'{"images": ')
        _write_list(file, (record for record, _ in images))
        file.write(f', "unread": {json.dumps(unread)}, "categories": {json.dumps(self._categories)}}}'.encode())


def write_results(file, images):
    """Write the results of all images as one JSON list."""
    _write_list(file, (result for _, results in images for result in results))


def _write_list(file, items):
    """Write a JSON list item by item: not all of them need to be in memory."""
    begun = False
    file.write(b"[")
    for item in items:
        file.write((", " if begun else "").encode() + json.dumps(item).encode())
        begun = True
    file.write(b"]")
