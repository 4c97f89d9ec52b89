"""The folder that results are written to, looked at before the work, for an hour of it is lost otherwise."""

import os
from pathlib import Path

__all__ = ["writable_folder"]


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
