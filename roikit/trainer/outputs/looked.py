"""An image that was looked at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Looked"]


@dataclass(frozen=True)
class Looked:
    """An image and what was found on it, as the files of a prediction are made of it.

    Attributes:
        path: the image's file.
        record: its ``id``, ``file_name``, ``height`` and ``width``.
        name: relative path of a PNG file, which no other image has.
        picture: `roikit.data.pictures.Picture`.
        output: of the model.
        found: COCO results.
    """

    path: Path
    record: dict[str, Any]
    name: str
    picture: Any
    output: dict[str, Any]
    found: list[dict[str, Any]]
