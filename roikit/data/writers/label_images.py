"""Label images: ``masks/NAME.png``, where a pixel has the number of its object, and ``images/NAME``.

A pixel has one object: of those that overlap the smaller is on top. An object without a mask fills its box. The classes
are in ``masks/objects.csv``. Crowds, and objects of which no pixel is seen, are left out and counted.
"""

from pathlib import Path

import numpy as np

from roikit.data.writers.files import add_classes, file_of, is_crowd, painted

__all__ = ["AS_READ", "BY_NAME", "IMAGES", "close", "write_image"]

IMAGES, BY_NAME = "images", True
AS_READ = str


def write_image(folder, record, objects, categories):
    """Write the label image of an image, 16-bit grey where there are more objects than 255, and its lines of the table.

    Raises:
        ValueError: there are more objects than 65,535.
    """
    from PIL import Image

    names = {c["id"]: c["name"] for c in categories}
    kept = [item for item in objects if not is_crowd(item)]
    if len(kept) > 65_535:
        raise ValueError(f"a label image holds 65,535 objects at most, got {len(kept)}")
    values, hidden = painted(enumerate(kept, start=1), record)
    path = file_of(Path(folder, "masks"), record, ".png")
    Image.fromarray(values.astype(np.uint8 if len(kept) < 256 else np.uint16)).save(path)
    add_classes(Path(folder, "masks"), [(path.relative_to(Path(folder, "masks")).as_posix(), number,
                                         names[item["category_id"]]) for number, item in enumerate(kept, start=1)])
    return {"crowd": len(objects) - len(kept), "object hidden by others": hidden}


def close(folder, records, categories):
    """Nothing more is of all images."""
