"""A report as one HTML file, which asks for nothing from elsewhere but the large pictures beside it."""

import json
import math
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path

from roikit.errors import naming

__all__ = ["Report", "write_page"]


@dataclass(frozen=True)
class Report:
    """What a page shows; parts that are empty are not there.

    Attributes:
        title: what it is about, say the name of a run.
        facts: pairs of words.
        curves: of `roikit.trainer.report.training.curves_of`.
        scores: kind -> figures.
        score_threshold: where the slider of the pictures stands first.
        analyses: kind -> what `roikit.trainer.analysis.analyse` gives.
        pixels: of classes of pixels, ``names`` and the confusion ``matrix``.
        pictures: of `roikit.trainer.report.pictures.pictures_of`.
    """

    title: str
    facts: list = field(default_factory=list)
    curves: list = field(default_factory=list)
    scores: dict = field(default_factory=dict)
    score_threshold: float = 0.5
    analyses: dict = field(default_factory=dict)
    pixels: dict | None = None
    pictures: dict | None = None


def write_page(path, report):
    """Write a Report as the file ``path``.

    Raises:
        OSError: it cannot be written.
    """
    folder = resources.files("roikit.trainer.report")
    text = {name: (folder / f"page.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    # No tag can end, and none begin, within the data.
    data = json.dumps(_finite(asdict(report)), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = text["html"].replace("/* page.css */", text["css"]).replace("/* page.js */", text["js"])
    before, after = page.split("{/* data */}")
    with naming(path):
        Path(path).write_bytes(f"{before}{data}{after}".encode("utf-8", "replace"))


def _finite(value):
    """The same with None for numbers that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
