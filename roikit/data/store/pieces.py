"""A JSON object in a file, read piece by piece: as one forest of Python's objects COCO's takes gigabytes.

Where a piece may end is found by trying: what stands between the start of a list's element and some ``}`` is a row of
whole elements if, and only if, it is JSON once it is put in brackets.
"""

import json
import mmap
import re

try:
    import orjson
except ImportError:  # the standard library reads the same, more slowly
    orjson = None

__all__ = ["PIECE", "pieces_of", "read_text"]

# What Python makes of so many bytes stays in a processor's cache.
PIECE = 1 << 18
_SPACE = re.compile(rb"[ \t\n\r]*")
_END_OF_ELEMENT = re.compile(rb"[ \t\n\r]*[,\]]")
_MARK = b"\xef\xbb\xbf"
_WINDOW = 1 << 16
_RELEASED_EVERY = 1 << 25
_MOST_TRIES = 1000


def pieces_of(path, size=PIECE):
    """The content of a file that holds one JSON object, in the order of the file.

    A list that starts with an object is given in pieces of about ``size`` bytes, every other value as a whole.

    Args:
        path: of the file.
        size: bytes of a piece; a longer element is one piece.

    Yields:
        (key, value, again): of a list that starts with an object, a list of some of its elements and a function
        without arguments that reads them anew by the standard library, whose whole numbers have any length where
        orjson's of more than 64 bits are floats; of another value, that value and None.

    Raises:
        OSError: the file cannot be read.
        ValueError, RecursionError: it is no such object, a key is there twice, or it is one that cannot be taken apart;
            whoever wants to know which of these has the standard library read it as a whole.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = _after(data, len(_MARK) if data[:len(_MARK)] == _MARK else 0, b"{")
        keys = set()
        while True:
            key, at = _value(data, at)
            if not isinstance(key, str) or key in keys:
                raise ValueError(f"a key must be text and differ from the others, got {key!r}")
            keys.add(key)
            at = _after(data, at, b":")
            first = _SPACE.match(data, at + 1).end()
            if data[at:at + 1] == b"[" and data[first:first + 1] == b"{":
                for records, start, stop in _elements(data, first, size):
                    yield key, records, lambda start=start, stop=stop: json.loads(b"[" + data[start:stop] + b"]")
                at = _SPACE.match(data, _SPACE.match(data, stop).end() + 1).end()
            else:
                value, at = _value(data, at)
                yield key, value, None
            if data[at:at + 1] == b"}":
                break
            at = _after(data, at, b",")
        if _SPACE.match(data, at + 1).end() != len(data):
            raise ValueError("there is something behind the object")


def read_text(text):
    """What bytes of JSON hold; by orjson where that can read them, else by the standard library.

    Raises:
        ValueError, RecursionError: it is not JSON, or nested too deeply.
    """
    if orjson is not None:
        try:
            return orjson.loads(text)
        except ValueError:  # NaN, and halves of characters, are for the standard library alone
            pass
    return json.loads(text)


def _after(data, at, sign):
    """The place of what follows a sign that has to stand at a place, spaces apart."""
    at = _SPACE.match(data, at).end()
    if data[at:at + 1] != sign:
        raise ValueError(f"there must be {sign.decode()!r} at byte {at}")
    return _SPACE.match(data, at + 1).end()


def _value(data, at):
    """The value that starts at a place, and the place of what follows it."""
    size = _WINDOW
    while True:
        text = data[at:at + size].decode("latin-1")  # a character for each byte
        try:
            _, length = json.JSONDecoder().raw_decode(text)
        except ValueError:
            length = len(text)
        if length < len(text):
            return json.loads(data[at:at + length]), _SPACE.match(data, at + length).end()
        if at + size >= len(data):
            raise ValueError(f"there must be a value at byte {at}")
        size *= 4


def _elements(data, at, size):
    """(records, start, stop) of the parts of a list whose first element is at a place."""
    released = 0
    while True:
        records, stop = _part(data, at, size)
        yield records, at, stop
        at = _SPACE.match(data, stop).end()
        if data[at:at + 1] == b"]":
            return
        at = _SPACE.match(data, at + 1).end()
        if at - released > _RELEASED_EVERY and hasattr(mmap, "MADV_DONTNEED"):
            released = at - at % mmap.PAGESIZE
            data.madvise(mmap.MADV_DONTNEED, 0, released)  # else what was read counts as memory in use


def _part(data, at, size):
    """The elements that end at the last possible place within ``size`` bytes, and that place."""
    limit, tries = at + size, 0
    while stop := data.rfind(b"}", at, limit) + 1:
        limit = stop - 1
        if _END_OF_ELEMENT.match(data, stop) is not None:
            if (records := _row(data, at, stop)) is not None:
                return records, stop
            tries += 1
            limit = limit if tries < 4 else at + (stop - at) // 2  # the list may have ended long before
    stop = at
    for _ in range(_MOST_TRIES):  # a long element, or a short one before all that follows the list
        stop = data.find(b"}", stop) + 1
        if not stop:
            break
        if _END_OF_ELEMENT.match(data, stop) is not None and (records := _row(data, at, stop)) is not None:
            return records, stop
    raise ValueError(f"there is no end of the list's element at byte {at}")


def _row(data, start, stop):
    """The elements between two places; None where they do not end there."""
    try:
        return read_text(b"[" + data[start:stop] + b"]")
    except ValueError:
        return None
