"""One PNG file an object: ``masks/NAME/1.png``, 255 on the object, and ``images/NAME``.

An object without a mask fills its box. The classes are in ``masks/objects.csv``. Crowds are left out and counted.
"""

from pathlib import Path

import numpy as np

from roikit.data.writers.files import add_classes, is_crowd, mask_of_object

__all__ = ["AS_READ", "BY_NAME", "IMAGES", "close", "write_image"]

IMAGES, BY_NAME = "images", True
AS_READ = str


def write_image(folder, record, objects, categories):
    """Write the masks of an image and their lines of the table."""
    from PIL import Image

    names, rows = {c["id"]: c["name"] for c in categories}, []
    place = Path(folder, "masks", record["file_name"]).with_suffix("")
    place.mkdir(parents=True, exist_ok=True)
    kept = [item for item in objects if not is_crowd(item)]
    for number, item in enumerate(kept, start=1):
        mask = mask_of_object(item, record)
        pixels = np.zeros((record["height"], record["width"]), np.uint8)
        h, w = mask.bitmap.shape
        pixels[mask.y:mask.y + h, mask.x:mask.x + w][mask.bitmap] = 255
        path = place / f"{number:05d}.png"
        Image.fromarray(pixels).save(path)
        rows.append((path.relative_to(Path(folder, "masks")).as_posix(), 255, names[item["category_id"]]))
    add_classes(Path(folder, "masks"), rows)
    return {"crowd": len(objects) - len(kept)}


def close(folder, records, categories):
    """Nothing more is of all images."""
