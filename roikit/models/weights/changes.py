"""What the doors to other libraries' models let one change, and how they name what they do not know."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from roikit.models.configs import DetectorConfig, SegmenterConfig

__all__ = ["CHANGES", "changed", "unknown"]

_OF_BOXES = ("score_threshold", "detections_per_image")
CHANGES = ("min_size", "max_size", "num_classes", *_OF_BOXES)

Config = TypeVar("Config", DetectorConfig, SegmenterConfig)


def changed(config: Config, door: str, changes: dict[str, Any]) -> Config:
    """The configuration with other numbers.

    Args:
        door: the function that was called, for its errors.
        changes: of `CHANGES`: min_size, one number or several, and max_size in pixels; num_classes with the background;
            of a detector score_threshold and detections_per_image.

    Raises:
        TypeError: a change that is none of these.
        ValueError: a number that the configuration refuses.
    """
    known = [name for name in CHANGES if isinstance(config, DetectorConfig) or name not in _OF_BOXES]
    wrong = sorted(changes.keys() - set(known))
    if wrong:
        raise TypeError(f"{door}: changes must be of {', '.join(known)}, got {', '.join(wrong)}")
    image = {name: changes[name] for name in ("min_size", "max_size") if name in changes}
    if "min_size" in image and not isinstance(image["min_size"], Sequence):
        image["min_size"] = (image["min_size"],)
    image = {name: tuple(value) if name == "min_size" else value for name, value in image.items()}
    fields = {"image": replace(config.image, **image), "num_classes": changes.get("num_classes", config.num_classes)}
    if isinstance(config, DetectorConfig):
        fields["box"] = replace(config.box, **{name: changes[name] for name in _OF_BOXES if name in changes})
    return replace(config, **fields)


def unknown(door: str, name: str, known: Sequence[str]) -> ValueError:
    """The error for a name that is not among the known ones, with those that are near."""
    plain = {one: one.lower().replace("-", "_") for one in known}
    asked = str(name).lower().replace("-", "_").removesuffix(".yaml").removesuffix(".py")
    near = [one for one, text in plain.items() if asked and asked in text][:5] or [
        one for text in difflib.get_close_matches(asked, plain.values(), n=3) for one in known if plain[one] == text]
    return ValueError(f"{door}: {name!r} is no name that it knows" + (
        f"; did you mean {', '.join(dict.fromkeys(near))}?" if near else f"; it knows {len(known)}, {known[0]} say"))
