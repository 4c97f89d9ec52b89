"""The pictures of a report: which are shown, their files, and what is drawn on them."""

import base64
import io
import os
from pathlib import Path

import numpy as np

from roikit.data.images import read_image
from roikit.errors import naming
from roikit.trainer.analysis.error_kinds import UNJUDGED, outcomes
from roikit.trainer.draw import display_image
from roikit.trainer.extras import extra
from roikit.trainer.report.outlines import outline
from roikit.trainer.sentences import sentence_about

__all__ = ["FOLDER", "pictures_of", "wrongness"]

FOLDER = "report_images"

# Pixels of the longer side of a picture within the page, and of one beside it.
_SMALL, _LARGE = 320, 4096
_QUALITY = {"small": 82, "large": 90}  # of JPEG

# Detections that are drawn: of at least this score, and the best of an image.
_FLOOR, _MOST = 0.05, 200


def wrongness(matches, kind):
    """(N,) float64: the scores of an image's wrong detections, and what its objects' detections lack to 1, summed up.

    Args:
        matches: Matches.
        kind: (D,) of `outcomes`.
    """
    wrong = (kind != 0) & (kind != UNJUDGED)
    found = np.bincount(matches.found_image[wrong], matches.scores[wrong], minlength=len(matches.image_ids))
    known = ~matches.ignored
    lacking = 1 - np.minimum(_scores_of_objects(matches), 1)
    return found + np.bincount(matches.known_image[known], lacking[known], minlength=len(matches.image_ids))


def _scores_of_objects(matches):
    """(G,) score of the detection that has found each object at an IoU of 0.5; 0 for none."""
    scores = np.zeros(len(matches.known))
    right = matches.right[0]
    scores[matches.matched[0][right]] = matches.scores[right]
    return scores


def pictures_of(matches, names, path_of, sizes, out, *, most):
    """What the page needs of the most wrong pictures; the pictures that do not fit in go into ``out``.

    A picture within the page is a JPEG of at most 320 pixels; a larger one has a file beside the page, too, of at most
    4,096 pixels: a JPEG where it came from one, else a PNG.

    Args:
        matches: Matches.
        names: image id -> name.
        path_of: function, image id -> path of its file, or None where it is not known.
        sizes: image id -> (height, width) in pixels, of those that are known.
        out: folder of the page.
        most: so many pictures at most.

    Returns:
        dict: ``total``, the number of images; ``floor``, the score from which on detections are there; ``items``, the
        most wrong first.
    """
    kind, about = outcomes(matches)
    wrong = wrongness(matches, kind)
    objects = _scores_of_objects(matches)
    items = []
    _clear(Path(out) / FOLDER)
    for image in np.argsort(-wrong, kind="stable")[:most].tolist():
        image_id = matches.image_ids[image]
        path = path_of(image_id)
        item = {"name": names.get(image_id, str(image_id)), "place": image, "wrong": round(float(wrong[image]), 3)}
        size = sizes.get(image_id)
        if path is not None:
            try:
                shape = _add_files(item, path, Path(out) / FOLDER, image)
                size = size or shape
            except (OSError, ValueError, MemoryError) as error:
                item["fault"] = sentence_about(path, error)
        items.append(item | _drawn(matches, image, kind, about, objects, size))
    return {"total": len(matches.image_ids), "floor": _FLOOR, "kind": matches.kind, "items": items}


def _clear(folder):
    """Remove the pictures of an earlier report, of which this one may show others."""
    for path in folder.glob("*.*"):
        if path.suffix in (".jpg", ".png") and len(path.stem) == 6 and path.stem.isdigit():
            path.unlink()


def _add_files(item, path, folder, number):
    """Put the picture into an item, and beside the page where it is large; its (height, width)."""
    pillow = extra("PIL.Image", "the pictures of a report")
    pixels = display_image(read_image(path))
    picture = pillow.fromarray(pixels)
    if (pixels[..., :1] == pixels).all():
        picture = picture.convert("L")
    small = picture.copy()
    small.thumbnail((_SMALL, _SMALL))
    item["thumb"] = "data:image/jpeg;base64," + base64.b64encode(_jpeg(small, "small")).decode("ascii")
    if small.size != picture.size:
        picture.thumbnail((_LARGE, _LARGE))
        folder.mkdir(exist_ok=True)
        is_photograph = os.path.splitext(path)[1].lower() in (".jpg", ".jpeg", ".jfif", ".jpe")
        name = f"{number:06d}.{'jpg' if is_photograph else 'png'}"
        with naming(folder / name):
            if is_photograph:
                (folder / name).write_bytes(_jpeg(picture, "large"))
            else:
                picture.save(folder / name)
        item["full"] = f"{FOLDER}/{name}"
    return pixels.shape[:2]


def _jpeg(picture, kind):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY[kind])
    return stream.getvalue()


def _drawn(matches, image, kind, about, objects, size):
    """The size of an image, its detections and its objects."""
    rows, own = matches.rows(image)
    found = np.arange(rows.start, rows.stop)
    found = found[matches.scores[rows] >= _FLOOR]
    found = found[np.argsort(-matches.scores[found], kind="stable")][:_MOST]
    known = np.arange(own.start, own.stop)
    if size is None:
        size = _extent([matches.found[d] for d in found] + [matches.known[g] for g in known])
    height, width = (int(n) for n in size)

    def path(item):
        return outline(item, matches.kind, (height, width))

    return {
        "size": [width, height],
        "found": [[int(matches.found_class[d]), round(float(matches.scores[d]), 4), int(kind[d]),
                   int(about[d] - own.start) if about[d] >= 0 else -1, path(matches.found[d])] for d in found],
        "known": [[int(matches.known_class[g]), round(float(objects[g]), 4), int(matches.ignored[g]),
                   path(matches.known[g])] for g in known]}


def _extent(items):
    """(height, width) that holds these objects."""
    ends = [(i["bbox"][1] + i["bbox"][3], i["bbox"][0] + i["bbox"][2]) for i in items]
    return np.ceil(np.max([*ends, (1, 1)], axis=0)).astype(int)
