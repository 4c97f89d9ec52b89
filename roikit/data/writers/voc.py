"""Pascal VOC's layout: ``Annotations/NAME.xml`` with boxes, ``JPEGImages/NAME``, and label images of the masks.

Corners are continuous coordinates in pixels, as today's tools write them, and not VOC's own pixels from 1. In
``SegmentationObject/NAME.png`` a pixel has the number of its object in the XML file, of those that overlap that of the
smaller; ``SegmentationClass`` and ``labelmap.txt`` have the classes. A crowd is a difficult object. Objects of which no
pixel is seen keep their boxes and are counted.
"""

import xml.etree.ElementTree as tree
from pathlib import Path

import numpy as np

from roikit.data.annotations import has_mask
from roikit.data.writers.files import box_of, file_of, is_crowd, painted

__all__ = ["AS_READ", "BY_NAME", "IMAGES", "close", "write_image"]

IMAGES, BY_NAME = "JPEGImages", True
AS_READ = str.strip  # blanks around a text are none of it in XML
_PALETTE = 256


def write_image(folder, record, objects, categories):
    """Write the XML file of an image, and its label images where an object has a mask.

    Raises:
        ValueError: there are more objects than 65,535, or more categories than 255 where there are masks.
    """
    names = {c["id"]: c["name"] for c in categories}
    root = tree.Element("annotation")
    masked = [(number, item) for number, item in enumerate(objects, start=1) if has_mask(item)]
    for name, text in (("folder", IMAGES), ("filename", record["file_name"])):
        tree.SubElement(root, name).text = text
    size = tree.SubElement(root, "size")
    for name in ("width", "height"):
        tree.SubElement(size, name).text = str(record[name])
    tree.SubElement(size, "depth").text = "3"
    tree.SubElement(root, "segmented").text = str(int(bool(masked)))
    for item in objects:
        element = tree.SubElement(root, "object")
        for name, text in (("name", names[item["category_id"]]), ("pose", "Unspecified"), ("truncated", "0"),
                           ("difficult", str(int(is_crowd(item))))):
            tree.SubElement(element, name).text = text
        box = tree.SubElement(element, "bndbox")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box_of(item, record), strict=True):
            tree.SubElement(box, name).text = f"{value:.10g}"
    tree.indent(root)
    tree.ElementTree(root).write(file_of(Path(folder, "Annotations"), record, ".xml"), encoding="utf-8")
    return {"mask hidden by others": _label_images(folder, record, objects, masked, categories) if masked else 0}


def _label_images(folder, record, objects, masked, categories):
    from PIL import Image

    if len(objects) > 65_535 or len(categories) >= _PALETTE:
        raise ValueError(f"VOC's label images hold 65,535 objects and {_PALETTE - 1} categories at most, got "
                         f"{len(objects)} and {len(categories)}")
    values, hidden = painted(masked, record)
    if len(objects) < _PALETTE - 1:  # 255 is VOC's border
        picture = Image.fromarray(values.astype(np.uint8), "L")
        picture.putpalette(_colours().reshape(-1).tolist())
    else:
        picture = Image.fromarray(values.astype(np.uint16))
    picture.save(file_of(Path(folder, "SegmentationObject"), record, ".png"))
    classes = {c["id"]: k for k, c in enumerate(categories, start=1)}
    table = np.array([0, *(classes[item["category_id"]] for item in objects)], np.uint8)
    picture = Image.fromarray(table[values], "L")
    picture.putpalette(_colours().reshape(-1).tolist())
    picture.save(file_of(Path(folder, "SegmentationClass"), record, ".png"))
    return hidden


def _colours():
    """VOC's colours, (256, 3) uint8: the bits of a number spread over red, green and blue."""
    numbers = np.arange(_PALETTE)
    colours = np.zeros((_PALETTE, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit) if 3 * bit + channel < 8 else
                                    np.zeros_like(numbers)).astype(np.uint8)
    return colours


def close(folder, records, categories):
    """Write the list of all images, and the colours of the classes."""
    place = Path(folder, "ImageSets", "Main")
    place.mkdir(parents=True, exist_ok=True)
    names = [Path(record["file_name"]).with_suffix("").as_posix() for record in records]
    (place / "trainval.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if Path(folder, "SegmentationClass").is_dir():
        colours = _colours().tolist()
        lines = [f"{name}:{','.join(map(str, colours[k]))}::\n" for k, name in
                 enumerate(["background", *(c["name"] for c in categories)])]
        Path(folder, "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "".join(lines), encoding="utf-8")
