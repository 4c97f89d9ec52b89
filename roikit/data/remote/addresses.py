"""What is an address, and which place in the mirror belongs to it.

    s3://bucket/set/images/a.png          HOME/remote/s3/bucket/set/images/a.png
    https://host/a.png?token=1            HOME/remote/https/host/query-DIGEST/a.png
"""

import os
import re
from hashlib import blake2b
from pathlib import Path

from roikit._home import home_folder

__all__ = ["address_of", "is_address", "is_safe", "joined", "mirror_folder", "place_of", "require_path"]

# Two letters at least, for one is a drive of Windows.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.I | re.S)
_WEB = ("http", "https")
_PORT = "%3A"  # for the colon before a port, which no folder of Windows can have in its name


def is_address(path):
    """Whether this is the text of an address and no path."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def require_path(path):
    """A path to write to.

    Raises:
        ValueError: it is an address.
    """
    if is_address(path):
        raise ValueError(f"{path} must be a path on this machine, for it is written here and copied by nobody")
    return path


def mirror_folder():
    """The folder that the mirror of all addresses is in."""
    return home_folder() / "remote"


def place_of(address):
    """The place in the mirror of what is at an address, a Path.

    Raises:
        ValueError: the address leads nowhere, or is several in one.
    """
    kind, rest = _ADDRESS.match(address).groups()
    if "::" in address:
        raise ValueError(f"an address must be a single one, got {address}")
    query = ""
    if kind.lower() in _WEB:
        rest, _, query = rest.partition("#")[0].partition("?")
    parts = rest.strip("/").split("/")
    parts[0] = parts[0].replace(":", _PORT)
    if not is_safe(parts):
        raise ValueError(f"an address must be a server or a bucket and names below it, got {address}")
    if query:
        parts.insert(-1, f"query-{blake2b(query.encode(), digest_size=8).hexdigest()}")
    return mirror_folder().joinpath(kind.lower(), *parts)


def is_safe(parts):
    """Whether names are such that a path made of them stays below where it begins."""
    bad = '\\:*?"<>|' if os.name == "nt" else ""
    return all(part not in ("", ".", "..") and "\0" not in part and not any(c in part for c in bad) for part in parts)


def address_of(path):
    """The address whose mirror a path is, as text; None for any other path, and where a query belongs to it."""
    try:
        kind, *parts = Path(os.path.abspath(path)).relative_to(os.path.abspath(mirror_folder())).parts
    except (TypeError, ValueError):
        return None
    parts[:1] = [part.replace(_PORT, ":") for part in parts[:1]]
    return f"{kind}://{'/'.join(parts)}" if parts and not any(part.startswith("query-") for part in parts) else None


def joined(address, name):
    """The address of a name below that of a folder."""
    return f"{address.rstrip('/')}/{name}"
