"""JSON files of what was measured of a model: a frozen dataclass and the number of its form."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from roikit.errors import naming

__all__ = ["load", "save"]


def save(measured: Any, form: int, path: str | os.PathLike[str]) -> None:
    """Write a dataclass; what was there before stays where that fails."""
    text, path = json.dumps({"format": form, **asdict(measured)}, indent=1), Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with naming(path):
            beside.write_text(text + "\n", encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(kind: type, form: int, path: str | os.PathLike[str], is_right: Callable[[Any], bool]) -> Any:
    """Read what `save` wrote of a dataclass of this kind.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is something else, or what it holds is not right.
    """
    with naming(path):
        content = Path(path).read_bytes()
    try:
        fields = json.loads(content)
        if fields.pop("format") != form:
            raise ValueError
        measured = kind(**fields)
        if not is_right(measured):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise ValueError(f"{os.fspath(path)} is nothing that {kind.__name__}.save wrote") from None
    return measured
