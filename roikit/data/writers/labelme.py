"""labelme's layout: a JSON file beside each image.

Polygons are polygons, those of one object in one group; run-length codes are labelme's masks; an object without a mask
is a rectangle, or a polygon of its oriented box's corners. A crowd has the flag ``crowd``. Masks come back pixel by
pixel. A ``score`` is kept as one, which labelme passes on.
"""

import base64
import io
import json

from roikit.data.annotations import has_mask
from roikit.data.segmentation import opened, read_segmentation
from roikit.data.writers.files import box_of, corners_of, file_of, is_crowd

__all__ = ["AS_READ", "BY_NAME", "IMAGES", "close", "write_image"]

IMAGES, BY_NAME = ".", True
AS_READ = str


def write_image(folder, record, objects, categories):
    """Write the JSON file of an image; ``path`` of the record is where the image is, if it is not beside it."""
    names = {c["id"]: c["name"] for c in categories}
    shapes, lost = [], {"object without a pixel": 0}
    for number, item in enumerate(objects, start=1):
        found = list(_shapes(item, record))
        lost["object without a pixel"] += not found
        group = number if len(found) > 1 else None
        shapes += [{"label": names[item["category_id"]], "points": points, "group_id": group, "description": "",
                    "shape_type": kind, "flags": {"crowd": True} if is_crowd(item) else {}, "mask": mask,
                    **({"score": item["score"]} if "score" in item else {})}
                   for kind, points, mask in found]
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes,
               "imagePath": record.get("path", record["file_name"].rpartition("/")[2]), "imageData": None,
               "imageHeight": record["height"], "imageWidth": record["width"]}
    file_of(folder, record, ".json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return lost


def _shapes(item, record):
    """Kind, points and picture of each shape of an object."""
    if not has_mask(item):
        corners = corners_of(item)
        if corners is not None:
            yield "polygon", corners.tolist(), None
            return
        x1, y1, x2, y2 = box_of(item, record)
        yield "rectangle", [[x1, y1], [x2, y2]], None
        return
    mask = read_segmentation(item["segmentation"], record["height"], record["width"])
    if isinstance(mask, list):
        for ring in mask:
            yield "polygon", ring.reshape(-1, 2).tolist(), None
        return
    boxed = opened(mask)
    h, w = boxed.bitmap.shape
    if h and w:
        corners = [[float(boxed.x), float(boxed.y)], [float(boxed.x + w - 1), float(boxed.y + h - 1)]]
        yield "mask", corners, _png(boxed.bitmap)


def _png(bitmap):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(bitmap).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def close(folder, records, categories):
    """Nothing is of all images."""
