"""What the doctor finds in objects that a model is not made for: too small for its anchors, too many for its limit."""

from dataclasses import dataclass

import numpy as np

from roikit.data.annotations import read_box
from roikit.data.causes import extent
from roikit.data.findings import counted

__all__ = ["ModelFit", "fit_findings"]

# An object of half the side of an anchor overlaps it by a quarter at most, which a detector learns as background.
_SMALL = 0.5
# So large a part of the objects must be small to be worth a word: a few are in every data set.
_SHARE = 0.05


@dataclass(frozen=True)
class ModelFit:
    """What of a detector decides which objects it can find.

    Attributes:
        smallest_anchor: the square root of the area of its smallest anchor, in pixels of the resized image.
        detections_per_image: how many objects it returns of an image.
        min_size, max_size: the shorter side of the resized image, and the most that its longer one has; None of an
            image that is not resized.
    """

    smallest_anchor: float
    detections_per_image: int
    min_size: int | None = None
    max_size: int | None = None

    def scale(self, height, width):
        """How many times as large as the image the resized one is."""
        if self.min_size is None:
            return 1.0
        return min(self.min_size / min(height, width), self.max_size / max(height, width))


def fit_findings(annotations, images, fit):
    """Compare objects with what a model can find.

    Args:
        annotations: list of (subject, record) of sound annotations of listed images.
        images: image id -> record, None for one that is faulty.
        fit: ModelFit.

    Yields:
        (kind, severity, subject, sentence) of each finding.
    """
    sides, counts = [], {}
    for _, record in annotations:
        image = images[record["image_id"]]
        if record["iscrowd"] == 1 or image is None:
            continue
        counts[record["image_id"]] = counts.get(record["image_id"], 0) + 1
        try:
            box = read_box(record["bbox"]) if record.get("bbox") else extent(record)
        except ValueError:
            continue
        if box is not None and box[2] > box[0] and box[3] > box[1]:
            sides.append(fit.scale(image["height"], image["width"]) * np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    small = int(np.count_nonzero(np.array(sides) < _SMALL * fit.smallest_anchor))
    if small > _SHARE * len(sides):
        yield ("small-objects", "warning", "the file", f"{small} of {counted(len(sides), 'object')} have less than "
               f"half of the side of the smallest anchor, {fit.smallest_anchor:g} pixels, in the resized image; the "
               f"median side is {np.median(sides):.3g}: choose smaller anchors, or a larger image")
    full = {number: count for number, count in counts.items() if count > fit.detections_per_image}
    if full:
        most = max(full, key=full.get)
        yield ("many-objects", "warning", "the file", f"{counted(len(full), 'image')} "
               f"{'has' if len(full) == 1 else 'have'} more objects than the model returns, {fit.detections_per_image} "
               f"(detections_per_image); image {most} has the most, {full[most]}")
