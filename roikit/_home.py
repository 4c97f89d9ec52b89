"""The folder that roikit keeps files in for its user."""

import os
from pathlib import Path

__all__ = ["home_folder"]


def home_folder() -> Path:
    """`ROIKIT_HOME`, else "roikit" in the user's cache folder.

    That is `XDG_CACHE_HOME` where it is set, `LOCALAPPDATA` on Windows, and ~/.cache otherwise.
    """
    if home := os.environ.get("ROIKIT_HOME"):
        return Path(home).expanduser()
    cache = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", "")
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "roikit"
