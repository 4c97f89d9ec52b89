"""The folder that results are written to, looked at before the work, for an hour of it is lost otherwise."""

import contextlib
import errno
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

__all__ = ["alone_in", "writable_folder"]

# Seconds to wait for another process to leave a folder: what a killed one has started needs a few to notice.
_PATIENCE = 8.0


def writable_folder(path, who):
    """A folder as a Path, made if need be.

    Args:
        who: what the sentence begins with.

    Raises:
        OSError: it cannot be made, or written to.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{who}: {path} cannot be written to")
    return path


@contextlib.contextmanager
def alone_in(path, who):
    """Inside, no other process that asks for the same may write to a folder; it is free again however this one ends.

    On file systems that cannot tell, and on Windows, nobody is kept out.

    Args:
        path: of a folder that is there.
        who: what the sentence begins with.

    Raises:
        OSError: another process is at work in it.
    """
    if fcntl is None:
        yield
        return
    folder, end, process = os.open(path, os.O_RDONLY), time.monotonic() + _PATIENCE, os.getpid()
    try:
        while not _taken(folder):
            if time.monotonic() > end:
                raise OSError(f"{who}: another process is writing to {path}; wait until it has ended, or give another "
                              "folder")
            time.sleep(0.1)
        yield
    finally:
        if os.getpid() == process:  # by a word, for a loader's worker that still runs has the open folder, too
            with contextlib.suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_UN)
        os.close(folder)


def _taken(folder):
    """Whether an open folder is this process's now; also where the file system has no locks."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
