"""Progress over image files: a bar on a terminal, and in the end how many images went through a second."""

import sys
import time

from roikit.data.findings import counted
from roikit.trainer.progress import duration

__all__ = ["ImageProgress"]


class ImageProgress:
    """Shows images done, images a second and the time left; elsewhere than on a terminal nothing until the end.

    Args:
        stream: where to write; default standard error.
    """

    def __init__(self, stream=None):
        self._stream = stream or sys.stderr
        self.is_terminal = self._stream.isatty()
        self._is_shown = True
        self._bar, self._begun, self._first, self._done = None, time.monotonic(), None, 0

    def show(self, is_shown):
        """Whether to show a bar: of several processes one does."""
        self._is_shown = is_shown

    def __call__(self, done, total):
        """Take in that so many images of all are done; the first call tells how many were before."""
        if self._first is None:
            self._begun, self._first = time.monotonic(), done
            if self.is_terminal and self._is_shown:
                self._bar = _bar(done, total, self._stream)
        self._done = done
        if self._bar is not None:
            self._bar.total = total  # that of several processes is known when all are done
            self._bar.update(done - self._bar.n)

    def say(self, text):
        """A line on the stream, above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def text(self):
        """``12 images in 0:03, 4.2 images/s`` and how many were there before."""
        spent, count = time.monotonic() - self._begun, self._done - (self._first or 0)
        before = f"; {counted(self._first, 'image')} of before" if self._first else ""
        return f"{counted(count, 'image')} in {duration(spent)}, {count / max(spent, 1e-9):.2f} images/s{before}"

    def close(self):
        if self._bar is not None:
            self._bar.close()


def _bar(done, total, stream):
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=done, file=stream, dynamic_ncols=True, unit=" images")
