"""A folder of results at an address: written to a folder of this machine, and copied from there as it grows.

Servers of objects cannot add to a file, and a program that writes picture by picture must not wait for a network. So
what is written stays local, and every half minute and in the end what has changed is copied. What a server has is
then at most that much behind, and the folder here has all, whatever becomes of the server.
"""

import contextlib
import json
import os
import shutil
import threading
import time
import warnings
from hashlib import blake2b
from pathlib import Path

from roikit._home import home_folder
from roikit.data.remote.addresses import is_address, joined, place_of
from roikit.data.remote.asking import ask
from roikit.data.remote.mirror import bring, listed, mark_of
from roikit.errors import RoikitWarning

__all__ = ["kept_at", "mirror_of_results"]

EVERY = 30.0  # seconds between two copies, or ten times what one takes
_PICTURES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


_addresses = {}  # folder of this machine -> the address that it is copied to


def mirror_of_results(folder):
    """The place that the results in a folder of `kept_at` have in the mirror, if that is of theirs; else the folder."""
    return place_of(_addresses[folder]) if folder in _addresses else folder


@contextlib.contextmanager
def kept_at(out, *, go_on=False, journal=None):
    """The folder to write to for an output folder: of an address one on this machine, which is copied there.

    Args:
        out: address, path or None; the latter two come back as they are.
        go_on: whether what is at the address is gone on with: all but pictures is brought first. It is not where this
            machine has written to it last, and has that still, with what could not be copied then.
        journal: name of a file that tells of the others, and so is copied after them, as it was before.

    Raises:
        OSError: the address cannot be reached before the work, or the results could not be copied after it; the
            text says where they are. While it goes on, and where the work ends by an exception, a RoikitWarning is all.
        ImportError, ValueError: as `roikit.data.remote.asking.filesystem`.
    """
    if not is_address(out):
        yield out
        return
    rank = int(os.environ.get("RANK", "0"))
    copied = _Copied(out, journal, rank)
    copied.begin(go_on)
    _addresses[copied.folder] = out
    if rank != 0:  # the first process writes, and the others read from folders of their own
        yield copied.folder
        return
    ended = threading.Event()
    copier = threading.Thread(target=copied.repeat, args=(ended,), daemon=True)
    copier.start()
    try:
        yield copied.folder
    except BaseException:
        ended.set()
        copier.join()
        copied.try_once()
        raise
    ended.set()
    copier.join()
    copied.once()


class _Copied:
    """A folder on this machine and the address that it is copied to.

    Attributes:
        folder: Path, called as the address ends.
    """

    def __init__(self, address, journal, rank):
        self._address, self._journal = address, journal
        name = place_of(address)
        digest = blake2b(f"{os.fspath(name)} {rank}".encode(errors="surrogateescape"), digest_size=8).hexdigest()
        place = home_folder() / "written" / digest
        self.folder, self._state = place / name.name, place / "copied.json"
        self._done = {}  # name -> [size, time of last change here, mark of what is at the address]
        self._warned = False

    def begin(self, go_on):
        """Make the folder ready: empty, or as it was left.

        Raises: as `kept_at`.
        """
        try:
            found = listed(self._address)
        except FileNotFoundError:
            found = {}
        there = {name: mark_of(about) for name, about in found.items()}
        done = self._read_state()
        if go_on and self.folder.is_dir() and done is not None and all(
                there.get(name) == mark for name, (_, _, mark) in done.items()) and all(
                name in done for name in there if not _is_picture(name)):
            self._done = done
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._done = {}
        for name in filter(lambda name: not _is_picture(name), there):
            path = self.folder / name
            if go_on:
                bring(joined(self._address, name), path, found[name])
            self._done[name] = [*(_seen(path) if go_on else (-1, -1)), there[name]]
        self._write_state()

    def repeat(self, ended):
        """Copy what has changed, again and again, until ``ended`` is set."""
        wait = EVERY
        while not ended.wait(wait):
            begun = time.monotonic()
            self.try_once()
            wait = max(EVERY, 10 * (time.monotonic() - begun))

    def try_once(self):
        """`once`, of which a failure is a RoikitWarning, the first time."""
        try:
            self.once()
        except (OSError, ValueError, ImportError) as error:
            if not self._warned:
                warnings.warn(str(error), RoikitWarning, stacklevel=2)
            self._warned = True

    def once(self):
        """Copy what has changed.

        Raises:
            OSError: some of it could not be copied.
        """
        journal = None if self._journal is None else self.folder / self._journal
        length = journal.stat().st_size if journal is not None and journal.is_file() else None
        try:
            for name in self._changed():
                path = self.folder / name
                if path != journal:
                    self._copy(name, path)
            if length is not None and self._done.get(self._journal, [None])[0] != length:
                self._copy_beginning(journal, length)
        except OSError as error:
            raise OSError(f"results could not be copied to {self._address}: {error}; all of them are in {self.folder} "
                          "on this machine") from error
        finally:
            self._write_state()

    def _changed(self):
        """The names of the files that are not at the address as they are, logs last."""
        names = []
        for place, folders, files in os.walk(self.folder):
            folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
            for file in sorted(files):
                path = Path(place, file)
                name = path.relative_to(self.folder).as_posix()
                if not file.startswith(".") and self._done.get(name, [None, None])[:2] != _seen(path):
                    names.append(name)
        return sorted(names, key=lambda name: name.endswith(".jsonl"))

    def _copy(self, name, path):
        try:
            seen = _seen(path)
            self._put(name, path, seen)
        except FileNotFoundError:
            if path.is_file():
                raise
            # it was written for a while only

    def _copy_beginning(self, path, length):
        """Copy the first bytes of the journal: those that tell of files that are there."""
        part = path.with_name(f".{path.name}.beginning")
        try:
            with open(path, "rb") as source, open(part, "wb") as file:
                while length > 0 and (data := source.read(min(length, 1 << 20))):
                    file.write(data)
                    length -= len(data)
            self._put(self._journal, part, [part.stat().st_size, 0])
        finally:
            part.unlink(missing_ok=True)

    def _put(self, name, path, seen):
        address = joined(self._address, name)

        def put(fs, there):
            fs.put_file(os.fspath(path), there)
            fs.invalidate_cache()
            return mark_of(fs.info(there))

        self._done[name] = [*seen, ask(address, put)]

    def _read_state(self):
        try:
            told = json.loads(self._state.read_bytes())
            return {name: list(map(int, values)) for name, values in told.items() if len(values) == 3}
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def _write_state(self):
        part = self._state.with_suffix(".part")
        part.write_text(json.dumps(self._done))
        os.replace(part, self._state)


def _seen(path):
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _is_picture(name):
    return os.path.splitext(name)[1].lower() in _PICTURES
