"""A folder of results at an address: written to a folder of this machine, and copied from there as it grows.

Servers of objects cannot add to a file, and a program that writes picture by picture must not wait for a network. So
what is written stays local, and every half minute and in the end what has changed is copied. What a server has is
then at most that much behind, and the folder here has all, whatever becomes of the server.
"""

import contextlib
import fnmatch
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

__all__ = ["copy_now", "kept_at", "mirror_of_results"]

EVERY = 30.0  # seconds between two copies, or ten times what one takes
_PICTURES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


_addresses = {}  # folder of this machine -> the address that it is copied to
_open = {}  # folder of this machine -> what copies it, while the work goes on


def mirror_of_results(folder):
    """The place that the results in a folder of `kept_at` have in the mirror, if that is of theirs; else the folder."""
    return place_of(_addresses[folder]) if folder in _addresses else folder


def copy_now(folder):
    """Copy what has changed in a folder of `kept_at`, now; False for any other folder, of which there is no copy.

    Raises:
        OSError: some of it could not be copied; the text says where it is.
    """
    if folder not in _open:
        return False
    _open[folder].once()
    return True


@contextlib.contextmanager
def kept_at(out, *, go_on=False, journal=None, parts=None, each=False):
    """The folder to write to for an output folder: of an address one on this machine, which is copied there.

    Args:
        out: address, path or None; the latter two come back as they are.
        go_on: whether what is at the address is gone on with: all but pictures is brought first. It is not where this
            machine has written to it last, and has that still, with what could not be copied then.
        journal: name of a file that tells of the others, and so is copied after them, as it was before.
        parts: pattern of the names of further journals, which processes that share a work write. One that has been
            taken into ``journal`` and away is taken away at the address as well, when ``journal`` has been copied.
        each: whether this is one of several processes that share a work, each of which copies what it writes. Without,
            the first one copies alone.

    Raises:
        OSError: the address cannot be reached before the work, or the results could not be copied after it; the
            text says where they are. While it goes on, and where the work ends by an exception, a RoikitWarning is all.
        ImportError, ValueError: as `roikit.data.remote.asking.filesystem`.
    """
    if not is_address(out):
        yield out
        return
    rank = int(os.environ.get("RANK", "0"))
    copied = _Copied(out, journal, rank, parts)
    copied.begin(go_on, alone=rank == 0 or not each)
    _addresses[copied.folder] = out
    if rank != 0 and not each:  # the first process writes, and the others read from folders of their own
        yield copied.folder
        return
    _open[copied.folder] = copied
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
    finally:
        del _open[copied.folder]
    ended.set()
    copier.join()
    copied.once()


class _Copied:
    """A folder on this machine and the address that it is copied to.

    Attributes:
        folder: Path, called as the address ends.
    """

    def __init__(self, address, journal, rank, parts=None):
        self._address, self._journal, self._parts = address, journal, parts
        self._lock = threading.Lock()
        name = place_of(address)
        digest = blake2b(f"{os.fspath(name)} {rank}".encode(errors="surrogateescape"), digest_size=8).hexdigest()
        place = home_folder() / "written" / digest
        self.folder, self._state = place / name.name, place / "copied.json"
        self._done = {}  # name -> [size, time of last change here, mark of what is at the address]
        self._warned = False

    def begin(self, go_on, alone=True):
        """Make the folder ready: empty, or as it was left.

        Of several processes that share a work the first one has the care of what is there ``alone``; the others begin
        with nothing.

        Raises: as `kept_at`.
        """
        try:
            found = listed(self._address)
        except FileNotFoundError:
            found = {}
        there = {name: mark_of(about) for name, about in found.items()} if alone else {}
        done = self._read_state()
        if go_on and alone and self.folder.is_dir() and done is not None and all(
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
        with self._lock:
            try:
                self._copy_all()
            except OSError as error:
                raise OSError(f"results could not be copied to {self._address}: {error}; all of them are in "
                              f"{self.folder} on this machine") from error
            finally:
                self._write_state()

    def _copy_all(self):
        # Parts go when the journal holds their lines, so that it does, as it is now, of those that are gone.
        gone = [name for name in self._done if self._is_part(name) and not (self.folder / name).exists()]
        journals = {path.name: _place(path.stat()) for path in self._journals()}
        for name in self._changed():
            path = self.folder / name
            if name not in journals:
                self._copy(name, path)
        whole = [self._copy_beginning(name, place) for name, place in journals.items()]
        if all(whole):
            for name in gone:
                self._remove(name)

    def _journals(self):
        """The journals that are there, the one that takes the others last."""
        paths = [path for path in sorted(self.folder.iterdir()) if self._is_part(path.name)]
        return [*paths, *(path for path in [self.folder / (self._journal or "")] if path.is_file())]

    def _is_part(self, name):
        return self._parts is not None and fnmatch.fnmatchcase(name, self._parts)

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

    def _copy_beginning(self, name, place):
        """Copy the first bytes of a journal: those that tell of files that are there. False where it is another now."""
        length, beginning = place[0], self.folder / f".{name}.beginning"
        if self._done.get(name, [])[:2] == place:
            return True
        try:
            with open(self.folder / name, "rb") as source, open(beginning, "wb") as file:
                if _place(os.fstat(source.fileno()))[1] != place[1]:
                    return False
                while length > 0 and (data := source.read(min(length, 1 << 20))):
                    file.write(data)
                    length -= len(data)
            self._put(name, beginning, place)
            return True
        except FileNotFoundError:
            if (self.folder / name).is_file():
                raise
            return False
        finally:
            beginning.unlink(missing_ok=True)

    def _remove(self, name):
        with contextlib.suppress(FileNotFoundError):
            ask(joined(self._address, name), lambda fs, there: fs.rm_file(there))
        del self._done[name]

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


def _place(found):
    """Size and number of a file that is only added to, and now and then replaced by another."""
    return [found.st_size, found.st_ino]


def _is_picture(name):
    return os.path.splitext(name)[1].lower() in _PICTURES
