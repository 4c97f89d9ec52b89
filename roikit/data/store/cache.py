"""A file of arrays beside a file of annotations: made once, mapped by all processes, and made anew when it is stale.

    MAGIC, length of the head, digest of the head (blake2b), the head as JSON, zeros up to ROOM; then the arrays

The head tells the arrays, and the annotation file that they are of: its size, the times of its last change (of the
content and, where the system has it, of anything), the checksums (CRC-32) of all its parts and a digest of samples of
it. While size and times are the same the samples are compared, and else all of it. The arrays have a digest of the
sums of their blocks, which a changed byte changes, and which takes no longer than reading them.
"""

import contextlib
import glob
import json
import os
import time
import zlib
from hashlib import blake2b
from pathlib import Path

import numpy as np

from roikit._home import home_folder
from roikit._version import __version__

__all__ = ["Arrays", "open_cache", "places_of", "write_cache"]

_MAGIC = b"roikit annotations 1\n"
_ROOM = 1 << 16
_ALIGNED = 64
_BLOCK, _READ = 1 << 13, 1 << 17  # words of 8 bytes
_SAMPLES, _SAMPLE = 64, 1 << 12
_CHUNK = 1 << 18
_HOUR = 3600


class Arrays(dict):
    """Arrays by name that a cache holds, and ``told``, what was told with them; pickled as the path alone."""

    def __init__(self, path, head):
        mapped = np.memmap(path, np.uint8, "r")
        super().__init__((name, mapped[start:stop].view(kind).reshape(shape).view(np.ndarray))
                         for name, (kind, shape, start, stop) in head["arrays"].items())
        self._path, self._head = path, head

    @property
    def told(self):
        return self._head["told"]

    def __reduce__(self):
        return _mapped_again, (self._path, self._head["digest"])


def places_of(path):
    """Where the cache of a file may be: beside it, or where that cannot be written, in the user's cache folder.

    The latter is `ROIKIT_HOME`, else "roikit" in `XDG_CACHE_HOME`, `LOCALAPPDATA` on Windows, or ~/.cache.
    """
    path = os.path.abspath(path)
    name = blake2b(os.fsencode(path), digest_size=16).hexdigest()
    return Path(f"{path}.roikit"), home_folder() / "annotations" / f"{name}.roikit"


def open_cache(path):
    """The arrays that were kept of a file as it is now; None where there are none, or they are damaged.

    Args:
        path: of the annotation file.

    Returns:
        Arrays, or None.
    """
    for place in places_of(path):
        try:
            head = _head(place)
            if head is not None and _is_of(head, path, place) and _digest(place) == head["digest"]:
                return Arrays(place, head)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no cache, or one that cannot be read, which is one that is not there
    return None


def write_cache(path, source, parts, told):
    """Keep arrays of a file.

    Args:
        path: of the annotation file.
        source: what `source_of` said of it before it was read.
        parts: dict of a name to a list of arrays, which stand one behind the other.
        told: what is to be told with them, for JSON.

    Returns:
        Arrays, mapped; None where neither place can be written or the file is being changed.
    """
    for place in places_of(path):
        beside = place.with_name(f".{place.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            if place.parent != Path(os.path.abspath(path)).parent:
                place.parent.mkdir(parents=True, exist_ok=True)
            try:
                if _times(path) != {name: source[name] for name in _times(path)}:
                    return None
                _forget_cut_ones(place)
                head = _write(beside, source, parts, told)
                os.replace(beside, place)
            finally:
                beside.unlink(missing_ok=True)
            return Arrays(place, head)
        except OSError:  # no permission, or no room
            continue
    return None


def source_of(path):
    """What tells a file as it is from others: its size, its times and the digests of its content."""
    return {**_times(path), "samples": _samples(path), "content": _content(path)}


def _forget_cut_ones(place):
    """Remove what processes that were ended while they wrote have left, an hour ago or longer."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*"):
        with contextlib.suppress(FileNotFoundError):  # another process may take it away, or be done with its own
            if time.time() - left.stat().st_mtime > _HOUR:
                left.unlink()


def _write(path, source, parts, told):
    arrays, at = {}, _ROOM
    for name, some in parts.items():
        size = sum(part.nbytes for part in some)
        shape = [sum(map(len, some)), *some[0].shape[1:]]
        arrays[name] = some[0].dtype.str, shape, at, at + size
        at += -(-size // _ALIGNED) * _ALIGNED
    with open(path, "xb") as file:
        for name, some in parts.items():
            file.seek(arrays[name][2])
            for part in some:
                file.write(part.data if part.flags.c_contiguous else np.ascontiguousarray(part).data)
        file.truncate(at)
    head = {"version": __version__, "source": source, "arrays": arrays, "told": told, "digest": _digest(path)}
    _write_head(path, head)
    return head


def _write_head(path, head):
    text = json.dumps(head).encode()
    start = _MAGIC + len(text).to_bytes(8, "little") + blake2b(text, digest_size=32).digest() + text
    if len(start) > _ROOM:
        raise OSError("the head of the cache has no room")
    with open(path, "r+b") as file:
        file.write(start.ljust(_ROOM, b"\0"))


def _head(path):
    with open(path, "rb") as file:
        start = file.read(_ROOM)
    at = len(_MAGIC)
    length, digest = int.from_bytes(start[at:at + 8], "little"), start[at + 8:at + 40]
    text = start[at + 40:at + 40 + length]
    if start[:at] != _MAGIC or len(start) < _ROOM or blake2b(text, digest_size=32).digest() != digest:
        return None
    head = json.loads(text)
    return head if head["version"] == __version__ else None


def _is_of(head, path, place):
    """Whether a cache is of the file as it is now."""
    source, times = head["source"], _times(path)
    if source["size"] != times["size"]:
        return False
    if all(source[name] == value for name, value in times.items()):
        return source["samples"] == _samples(path)
    if source["content"] != _content(path):
        return False
    try:  # moved or copied, say: the next time the samples will do
        _write_head(place, {**head, "source": {**source, **times}})
    except OSError:
        pass
    return True


def _times(path):
    found = os.stat(path)
    return {"size": found.st_size, "changed": found.st_mtime_ns, "touched": found.st_ctime_ns}


def _samples(path):
    found = blake2b(digest_size=32)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for k in range(_SAMPLES):
            file.seek(max(size - _SAMPLE, 0) * k // (_SAMPLES - 1))
            found.update(file.read(_SAMPLE))
    return found.hexdigest()


def _content(path):
    found = blake2b(digest_size=32)
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            found.update(zlib.crc32(block).to_bytes(4, "little"))  # several times as fast as the digest itself
    return found.hexdigest()


def _digest(path):
    """The digest of all that stands behind the head."""
    sums, words = [], 0
    with open(path, "rb") as file:
        file.seek(_ROOM)
        while len(part := np.fromfile(file, np.uint64, _READ)):
            whole = len(part) - len(part) % _BLOCK
            sums += [part[:whole].reshape(-1, _BLOCK).sum(1), part[whole:].sum(keepdims=True)]
            words += len(part)
    return blake2b(b"".join(sums) + words.to_bytes(8, "little"), digest_size=32).hexdigest()


def _mapped_again(path, digest):
    """The arrays of a cache in another process.

    Raises:
        OSError: the file is gone, or is another one.
    """
    head = _head(path)
    if head is None or head["digest"] != digest:
        raise OSError(f"the cache {path} was changed while it was in use")
    return Arrays(path, head)
