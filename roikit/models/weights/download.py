"""Fetching published weights: over https, checked, and into a file that appears whole or not at all."""

import contextlib
import hashlib
import http.client
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from roikit._home import home_folder
from roikit._version import __version__
from roikit.models.weights.published import Published

__all__ = ["fetch", "weights_folder"]

_CHUNK = 1 << 20
_PATIENCE = 30  # seconds without a byte


def weights_folder() -> Path:
    """Where published weights are kept: `ROIKIT_HOME`, else "roikit" in the user's cache folder.

    That is `XDG_CACHE_HOME` where it is set, `LOCALAPPDATA` on Windows, and ~/.cache otherwise.
    """
    return home_folder()


def fetch(entry: Published, folder: str | os.PathLike | None = None, progress: bool = True) -> Path:
    """The file of published weights, downloaded unless it is there.

    Args:
        entry: what to fetch.
        folder: where the file is, or comes to; default `weights_folder()`. It is made if it is not there.
        progress: whether to show on stderr how far the download is.

    Returns:
        The file's path, `folder / entry.file_name`. Its digest was checked.

    Raises:
        ConnectionError: the file cannot be reached, or the download broke off. It names the URL and the path to put
            the file at by hand.
        OSError: the folder or the file cannot be written or read.
        ValueError: the file, there before or just downloaded, has another digest than published; or the address, or
            one that it was redirected to, is not https. Of a download nothing is left.
    """
    return _fetch(entry, folder, progress, lambda url: urlsplit(url).scheme == "https")


def _fetch(entry: Published, folder: str | os.PathLike | None, progress: bool, safe: Callable[[str], bool]) -> Path:
    """`fetch` with the rule which addresses may be asked."""
    folder = weights_folder() if folder is None else Path(folder)
    path = folder / entry.file_name
    if path.exists():
        _check(entry, _digest(path, entry.algorithm), f"{path}, which was there before,")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    # A name of its own for each download: two at once do not disturb each other.
    part = folder / f".{path.name}.{secrets.token_hex(4)}.part"
    try:
        with part.open("xb") as file:
            digest = hashlib.new(entry.algorithm, usedforsecurity=False)
            for data in _blocks(entry.url, path, safe, _Bar(path.name) if progress else None):
                file.write(data)
                digest.update(data)
            _check(entry, digest.hexdigest(), f"the download of {entry.url}")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(part, path)
        except PermissionError:  # Windows, while somebody reads the file of another call that was first
            if not path.exists():
                raise
    finally:
        part.unlink(missing_ok=True)
    if os.name == "posix":  # the name, too, is to outlive a loss of power
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
    return path


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _check(entry: Published, digest: str, what: str) -> None:
    if not digest.startswith(entry.digest):
        raise ValueError(f"fetch: {what} must have a {entry.algorithm} digest that begins with {entry.digest}, "
                         f"got {digest}; it is cut, changed, or another file")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def __init__(self, safe: Callable[[str], bool]):
        self._safe = safe

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _must_be_safe(newurl, self._safe, f"; {req.full_url} leads there")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _must_be_safe(url: str, safe: Callable[[str], bool], why: str = "") -> None:
    if not safe(url):
        raise ValueError(f"fetch: the address must be https, got {url}{why}")


def _blocks(url: str, path: Path, safe: Callable[[str], bool], bar: "_Bar | None") -> Iterator[bytes]:
    """The bytes at `url`, as many as the server says there are."""
    _must_be_safe(url, safe)
    request = urllib.request.Request(url, headers={"User-Agent": f"roikit/{__version__}"})
    opener = urllib.request.build_opener(_Redirects(safe))
    done = 0
    with _failures_named(url, path):
        response = opener.open(request, timeout=_PATIENCE)
    with contextlib.closing(response), bar or contextlib.nullcontext():
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        while True:
            with _failures_named(url, path):
                data = response.read(_CHUNK)
                if not data and total is not None and done != total:
                    raise ConnectionError(f"it broke off after {done} of {total} bytes")
            if not data:
                return
            done += len(data)
            if bar:
                bar.show(done, total)
            yield data


@contextlib.contextmanager
def _failures_named(url: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ConnectionError(f"fetch: {url} could not be downloaded ({reason}); where there is a network, fetch it "
                              f"and put the file at {path}") from error


class _Bar:
    """How far a download is, on stderr: one line that changes on a terminal, elsewhere a line each tenth."""

    def __init__(self, name: str):
        self._name, self._terminal = name, sys.stderr.isatty()
        self._next, self._shown, self._start = 0.0, False, time.monotonic()

    def __enter__(self) -> "_Bar":
        return self

    def show(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        mark = now if self._terminal else done / (total or 1 << 30)
        if mark < self._next and done != total:
            return
        self._next = mark + 0.1  # seconds on a terminal; elsewhere parts of the whole, or of a GiB
        speed = done / 2**20 / max(now - self._start, 1e-9)
        of = f" of {total / 2**20:.0f}" if total is not None else ""
        part = f" {'#' * int(20 * done / total):20}" if total and self._terminal else ""
        text = f"{self._name}:{part} {done / 2**20:.0f}{of} MiB, {speed:.1f} MiB/s"
        print(f"\r{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr, flush=True)
        self._shown = True

    def __exit__(self, *_: object) -> None:
        if self._shown and self._terminal:
            print(file=sys.stderr)
