"""The table of objects, ``objects.csv``: class, score, box, and what is measured on the mask."""

import csv
import io
import math

import numpy as np

from roikit import masks as rle

__all__ = ["COLUMNS", "measures", "perimeter", "write_table"]

COLUMNS = ("image_id", "file_name", "object", "class", "score", "x", "y", "width", "height", "area", "perimeter",
           "equivalent_diameter", "pixel_size")


def write_table(file, images, *, categories, pixel_size):
    """Write the objects of all images, a row each, as UTF-8; bytes of a file's name that are no text as ``\\udcff``.

    Args:
        file: open for bytes.
        images: pairs of an image's record and its results, as `Journal.images` gives them.
        categories: [{"id", "name"}, ...].
        pixel_size: length of a pixel's side. Area, perimeter and diameter are in its unit; x, y, width and height stay
            in pixels. None for pixels throughout.
    """
    names = {c["id"]: c["name"] for c in categories}
    scale = 1.0 if pixel_size is None else pixel_size
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for record, results in images:
        for number, item in enumerate(results, start=1):
            area, around, diameter = measures(item)
            box = item.get("bbox") or rle.toBbox(item["segmentation"]).tolist()
            score = "" if item.get("score") is None else f"{item['score']:.6g}"
            rows.writerow((record["id"], record["file_name"], number, names[item["category_id"]], score,
                           *(f"{v:.10g}" for v in box), f"{area * scale ** 2:.8g}", f"{around * scale:.8g}",
                           f"{diameter * scale:.8g}", f"{scale:.10g}"))
    text.detach()


def measures(item):
    """Area, perimeter and equivalent diameter of a COCO result, in pixels.

    They are those of the mask, and of the box where there is none. The equivalent diameter is that of a disc of the
    same area.
    """
    if item.get("segmentation"):
        pixels = rle.frames.window(item["segmentation"])[2]
        area, around = float(np.count_nonzero(pixels)), perimeter(pixels)
    else:
        width, height = (item.get("rbox") or item["bbox"])[2:4]
        area, around = float(width * height), float(2 * (width + height))
    return area, around, math.sqrt(4 * area / math.pi)


# Length of the outline at one of its pixels, by what its neighbours on the outline are: 10 a neighbour at a corner, 2
# one at a side, 1 the pixel itself.
_LENGTHS = np.zeros(51)
_LENGTHS[[5, 7, 15, 17, 25, 27]] = 1
_LENGTHS[[21, 33]] = math.sqrt(2)
_LENGTHS[[13, 23]] = (1 + math.sqrt(2)) / 2


def perimeter(pixels):
    """Length of the outline through the centres of its pixels, holes included.

    A pixel is of the outline if one at its side is background. Steps along rows and columns count 1, diagonal ones
    sqrt(2). Source: Benkrid and Crookes 2000, as scikit-image's ``regionprops`` has it.

    Args:
        pixels: (H, W) bool; around it is background.

    Returns:
        float, pixels.
    """
    padded = np.pad(np.asarray(pixels, bool), 2)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & padded[1:-1, 1:-1]
    edge = (padded[1:-1, 1:-1] & ~inner).astype(np.int64)
    sides = edge[:-2, 1:-1] + edge[2:, 1:-1] + edge[1:-1, :-2] + edge[1:-1, 2:]
    corners = edge[:-2, :-2] + edge[:-2, 2:] + edge[2:, :-2] + edge[2:, 2:]
    return float(_LENGTHS[edge[1:-1, 1:-1] + 2 * sides + 10 * corners].sum())
