"""What prediction does on a picture: it is read, looked at, and its own files are written.

Several threads do it, each on a picture of its own. The network, which has threads of its own, sees one picture at a
time; meanwhile other threads read the next ones and draw and write the last ones.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roikit.data.images import open_image
from roikit.data.pictures import open_picture
from roikit.trainer.automatic import usable_cores
from roikit.trainer.outputs.looked import Looked
from roikit.trainer.sentences import out_of_memory
from roikit.trainer.tiles import Tiles, detect_in_tiles

__all__ = ["Done", "Door", "Look", "PictureWork", "Room", "one_at_a_time", "thread_count"]

PIXELS = 24_000_000  # of all pictures that are worked on beside the oldest; a pixel takes some 30 bytes meanwhile


def thread_count():
    """One for the network, the others for what is before and after it; torchrun's processes share the cores."""
    return 1 + min(4, max(1, usable_cores() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))))


def one_at_a_time(function):
    """The function, in one thread at a time."""
    lock = threading.Lock()

    def alone(*args, **kwargs):
        with lock:
            return function(*args, **kwargs)

    return alone


class Room:
    """How many pictures may be worked on beside the oldest: the fewer the larger the last ones were.

    Args:
        most: at most. The first picture, whose size nobody knows, is worked on alone.
    """

    def __init__(self, most):
        self._most, self._sizes = most, deque(maxlen=8)

    def note(self, size):
        """Take in the (height, width) of a picture."""
        self._sizes.append(max(1, size[0] * size[1]))

    def __call__(self):
        return min(self._most, PIXELS // max(self._sizes)) if self._sizes else 0


class Door:
    """Lets pictures in while those inside, the largest left out, have so many pixels at most.

    `Room` goes by the pictures before; this knows the size of the one that comes, which may be far larger.

    Args:
        most: pixels.
    """

    def __init__(self, most):
        self._most, self._inside, self._changed = most, [], threading.Condition()

    @contextlib.contextmanager
    def inside(self, pixels):
        """For the work on a picture of so many pixels, in any thread; one by itself is always let in."""
        with self._changed:
            self._changed.wait_for(lambda: sum(self._inside) + pixels - max(*self._inside, pixels, 0) <= self._most)
            self._inside.append(pixels)
        try:
            yield
        finally:
            with self._changed:
                self._inside.remove(pixels)
                self._changed.notify_all()


def _pixels_of(path):
    """Of a picture, by its header; 0 where that cannot be read."""
    try:
        header = open_image(path)
    except Exception:  # who reads the picture tells what is wrong with it
        return 0
    return header.width * header.height


@dataclass(frozen=True)
class Look:
    """How a picture is looked at: as a whole, or in tiles.

    Attributes:
        run: of `roikit.trainer.running.evaluation_of`, one at a time.
        prepare: of `image_preparation`.
        tiles: or None.
        limit: so many objects at most of a picture in tiles.
    """

    run: Callable
    prepare: Callable
    tiles: Tiles | None
    limit: int | None

    def at(self, path, **reading):
        """The picture and the model's output on it; or None and the exception of an image that cannot be read."""
        try:
            picture = open_picture(path, windows=self.tiles is not None, **reading)
            if self.tiles is None:
                (output,), *_ = self.run([self.prepare(picture.whole())])
            else:
                output, *_ = detect_in_tiles(self.run, picture, self.prepare, self.tiles, limit=self.limit)
        except (OSError, ValueError, MemoryError) as error:
            return None, error
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return None, error  # this image's size; the next may be smaller
        return picture, output


@dataclass(frozen=True)
class Done:
    """A picture that was worked on.

    Attributes:
        record: its ``id``, ``file_name``, ``height`` and ``width``; None of one that could not be read.
        found: COCO results.
        faults: exceptions: what kept it from being read, or each of its files that could not be written.
    """

    record: dict[str, Any] | None
    found: list[dict[str, Any]]
    faults: list[Exception]


@dataclass(frozen=True)
class PictureWork:
    """The work on a picture, as `InOrder` takes it.

    Attributes:
        look: `Look`.
        prediction: of a task.
        names: category id -> name.
        out: folder for the pictures' own files, or None.
        writers: of `image_writers`.
        reading: options of `open_picture`.
        door: `Door` of all pictures that are worked on at once; None where it is one.
    """

    look: Look
    prediction: Any
    names: dict[int, str]
    out: str | Path | None
    writers: list[Callable]
    reading: dict[str, Any]
    door: Door | None = None

    def __call__(self, path, name, number, drawn):
        """
        Args:
            path, name, number: of the picture: its file, what it is called, its id.
            drawn: relative path of its PNG files; None without ``out``.

        Returns:
            `Done`.
        """
        with contextlib.nullcontext() if self.door is None else self.door.inside(_pixels_of(path)):
            return self._worked(path, name, number, drawn)

    def _worked(self, path, name, number, drawn):
        picture, output = self.look.at(path, **self.reading)
        if picture is None:
            return Done(None, [], [output])
        found = [{"image_id": number, "file_name": name, "category_id": result["category_id"],
                  "category_name": self.names[result["category_id"]], **result}
                 for result in self.prediction.results(output, number)]
        height, width = picture.size
        record, faults = {"id": number, "file_name": name, "height": height, "width": width}, []
        if self.out is not None:
            looked = Looked(path, record, drawn, picture, output, found)
            for writer in (lambda looked: self.prediction.write(self.out, drawn, looked.output), *self.writers):
                try:
                    writer(looked)
                except (OSError, MemoryError, ValueError) as error:
                    faults.append(error)
        return Done(record, found, faults)
