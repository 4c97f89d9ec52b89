"""The mirror: files of addresses on this machine, each brought when it is first opened.

A folder is listed, and each picture and each file of an unknown kind gets a *stub* under its own name: a few bytes that
say where it is. `local_path` puts the file in the stub's place. So whatever walks a folder finds the names, and nothing
is brought that nobody reads. Text files, which are annotations, are brought with the listing.

A file is new when its time is: a copy has the time of the last change that the server tells, and as its part below a
second a digest of size, ETag and time, a stub has `_TICK` more. Files appear whole, by renaming; processes that bring
one at once disturb each other in nothing.
"""

import json
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from pathlib import Path

from roikit.data.remote.addresses import address_of, is_address, is_safe, joined, mirror_folder, place_of
from roikit.data.remote.asking import ask

__all__ = ["beside", "bring", "bring_below", "listed", "local_path", "local_paths", "mark_of"]

_STUB = b"roikit stub\n"
_TEXTS = frozenset((".csv", ".json", ".names", ".txt", ".xml", ".yaml", ".yml"))
_THREADS = 16  # files that are brought at once
_FRESH = 30.0  # seconds for which this process takes a listing to be true
_TICK = 100  # nanoseconds, the finest time that Windows keeps

_listings = {}  # (place, texts) -> when it was listed


def local_path(path, texts=True):
    """The path on this machine of what is at an address; any other path as it is.

    Args:
        path: an address of a file, which is brought unless it is here and the same; of a folder, which is listed; or
            with a ``*`` in it, a pattern, whose folder is. Or a path: where that is of a stub, the file is brought; all
            others stay.
        texts: of a folder, whether to bring the text files in it; else they are stubs, too.

    Returns:
        Path of what was brought or listed; else ``path``.

    Raises:
        FileNotFoundError, PermissionError, OSError: as `roikit.data.remote.asking.ask`; they name the address.
        ImportError, ValueError: as `filesystem` there.
    """
    if not is_address(path):
        return path if not isinstance(path, (str, os.PathLike)) else _whole(path)
    if "*" in path:
        plain = path[:path.index("*")].rpartition("/")[0]
        return _folder(plain, texts) / path[len(plain) + 1:]
    place = place_of(path)
    if path.endswith("/"):
        return _folder(path, texts)
    about = ask(path, lambda fs, name: (fs.invalidate_cache(), fs.info(name))[1])
    if about.get("type") == "directory":
        return _folder(path, texts)
    if not _is_here(place, about):
        bring(path, place, about)
    return place


def local_paths(paths):
    """`local_path` of each of a list, several at once; in the place of one that cannot be had, the exception."""
    def brought(path):
        try:
            return local_path(path)
        except (OSError, ValueError) as error:
            return error

    return _at_once(brought, paths)


def bring_below(folder, names):
    """Bring those of a folder's files that are stubs, several at once; of none that is no mirror's.

    Where one cannot be had nothing is said: who opens it is told.
    """
    if address_of(folder) is not None:
        local_paths([Path(folder, name) for name in names])


def beside(path, name):
    """The path of what a name, ``../images`` say, means beside a file; brought, where the file is of an address."""
    place = Path(path).parent / name
    address = None if place.exists() else address_of(os.path.normpath(place))
    if address is not None:
        try:
            return local_path(address)
        except FileNotFoundError:
            pass  # whoever asks for it says so in the words for paths
    return place


def listed(address):
    """What is in the folder of an address: names below it, with "/" between the parts -> what fsspec tells of each.

    Raises:
        FileNotFoundError: there is nothing. Else as `ask`.
    """
    def find(fs, name):
        fs.invalidate_cache()
        found = fs.find(name, detail=True)
        root = name.rstrip("/") + "/"
        return {key[len(root):]: about for key, about in found.items()
                if key.startswith(root) and about.get("type") != "directory"}

    found = ask(address, find)
    if not found:
        raise FileNotFoundError(f"there is nothing in {address}")
    # Some programs put an empty file in the place of a folder.
    folders = {name[:place] for name in found for place, letter in enumerate(name) if letter == "/"}
    return {name: about for name, about in found.items() if name not in folders and is_safe(name.split("/"))}


def bring(address, place, about):
    """Put the file of an address in its place.

    Args:
        about: what fsspec tells of it, or what its stub says.

    Raises:
        OSError: as `ask`, or the place cannot be written.
    """
    _make_folder(place.parent)
    part = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        ask(address, lambda fs, name: _copied(fs, name, part, about))
        mark = about["mark"] if "mark" in about else mark_of(about)
        os.utime(part, ns=(mark, mark))
        _put(part, place)
    finally:
        part.unlink(missing_ok=True)


def mark_of(about):
    """Nanoseconds that a copy has as the time of its last change, by what fsspec tells of the file."""
    tag = next((str(about[key]) for key in ("ETag", "etag", "md5Hash", "md5", "crc32c") if about.get(key)), "")
    changed = next((about[key] for key in ("LastModified", "Last-Modified", "last_modified", "mtime", "updated",
                                           "created") if about.get(key)), "")
    seconds = _seconds(changed)
    # With a tag the time's fraction is of no use, and listings have one that single files do not.
    digest = blake2b(f"{about.get('size')} {tag or seconds}".encode(), digest_size=6).digest()
    ticks = 10**9 // (2 * _TICK)
    return int(seconds) * 10**9 + int.from_bytes(digest, "big") % ticks * 2 * _TICK


def _seconds(changed):
    """The time in seconds since 1970 of what a file system tells of it; 1 of what is no time."""
    try:
        if isinstance(changed, str):
            try:
                changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
            except ValueError:
                changed = parsedate_to_datetime(changed)
        seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
        return seconds if 0 < seconds < 2**32 else 1
    except (TypeError, ValueError, OverflowError):
        return 1


def _whole(path):
    """The path; where a stub is there, the file is brought first."""
    if not os.path.abspath(path).startswith(os.path.abspath(mirror_folder()) + os.sep):
        return path
    stub = _read_stub(path)
    if stub is not None:
        bring(stub["address"], Path(path), stub)
    return path


def _folder(address, texts):
    place = place_of(address)
    if time.monotonic() - _listings.get((place, texts), -_FRESH) < _FRESH and place.is_dir():
        return place
    try:
        found = listed(address)
    except NotADirectoryError as error:
        raise OSError(f"{address} is no folder") from error
    _make_folder(place)
    missing = []
    for name, about in found.items():
        file = place.joinpath(*name.split("/"))
        is_text = texts and file.suffix.lower() in _TEXTS
        if not _is_here(file, about, stub=not is_text):
            missing.append((is_text, joined(address, name), file, about))
    for folder in {file.parent for _, _, file, _ in missing}:
        _make_folder(folder)
    _at_once(lambda one: bring(*one[1:]) if one[0] else _write_stub(*one[1:]), missing)
    _drop_others(place, {place.joinpath(*name.split("/")) for name in found})
    _listings[place, texts] = time.monotonic()
    return place


def _drop_others(place, files):
    """Delete copies of what is not at the address any more."""
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            if path not in files and not name.endswith((".part", ".roikit")):
                path.unlink(missing_ok=True)


def _at_once(work, items):
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(_THREADS, len(items))) as pool:
        return list(pool.map(work, items))


def _is_here(place, about, stub=False):
    """Whether the file is in its place and the same; or, with ``stub``, its stub."""
    try:
        found = os.stat(place)
    except OSError:
        return False
    behind = found.st_mtime_ns - mark_of(about)
    return stub and behind == _TICK or behind == 0 and about.get("size") in (None, found.st_size)


def _read_stub(path):
    """What a stub says: ``address``, ``size`` and ``mark`` of the file; None of another file."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read(4096)) if file.read(len(_STUB)) == _STUB else None
    except (OSError, ValueError):
        return None


def _write_stub(address, place, about):
    part = place.with_name(f".{secrets.token_hex(8)}.part")
    mark = mark_of(about)
    try:
        part.write_bytes(_STUB + json.dumps({"address": address, "size": about.get("size"), "mark": mark}).encode())
        os.utime(part, ns=(mark + _TICK, mark + _TICK))
        _put(part, place)
    finally:
        part.unlink(missing_ok=True)


def _copied(fs, name, part, about):
    fs.get_file(name, os.fspath(part))
    size, found = about.get("size"), part.stat().st_size
    if size is not None and size != found:
        raise OSError(f"it has {size} bytes, and {found} came")


def _put(part, place):
    for wait in (0.05, 0.2, 1.0, None):
        try:
            return os.replace(part, place)
        except PermissionError:
            if os.name != "nt" or wait is None:
                raise
        time.sleep(wait)  # Windows, while another process reads what is there


def _make_folder(folder):
    """Make a folder of the mirror; a server may call a file as it calls a folder, and a path cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OSError(f"{address_of(folder) or folder} is a file and a folder, which no path can be") from error
