"""Pascal VOC's folders: an XML file of boxes for each image, and label images of its objects where there are some.

    Annotations/NAME.xml  JPEGImages/NAME.jpg  ImageSets/Main/train.txt  SegmentationObject/NAME.png

The XML files may as well lie beside the images, as LabelImg and Roboflow write them. Roboflow's objects may have an
outline, ``<polygon><x1>...</x1><y1>...</y1>...</polygon>``.

Source: Everingham et al. 2010, "The Pascal visual object classes challenge", and its development kit's documentation.
"""

import os
from collections import Counter
from pathlib import Path

import roikit.masks as rle
from roikit.data.image_folder import IMAGE_ENDINGS
from roikit.data.layouts.content import content_of, listed_by_name
from roikit.data.layouts.layout import Layout, pictures_near, size_in, warn_of
from roikit.data.layouts.voc_masks import object_masks
from roikit.data.layouts.xml import first_tag, number_in, parsed, text_in

__all__ = ["VOC"]

_SAME = 0.3  # the IoU from which a mask may be that of a box
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _find(path, files):
    if not files:
        return path if path.suffix == ".txt" and _root(path) is not None else None
    first = next((file for file in files if file.suffix.lower() == ".xml"), None)
    if first is not None and first_tag(first) == "annotation":
        return path
    return path if (path / "SegmentationObject").is_dir() and (path / "JPEGImages").is_dir() else None


def _root(path):
    """The folder above ImageSets that a list of images lies in; None of any other path."""
    above = Path(os.path.abspath(path)).parents
    found = next((folder.parent for folder in above if folder.name == "ImageSets"), None)
    return found if found is not None and (found / "Annotations").is_dir() else None


def _place(annotations):
    """The data set's folder, and the names of the images of a list or None."""
    path = Path(annotations)
    if os.path.isdir(path):
        return (path.parent if path.name == "Annotations" else path), None
    words = [line.split() for line in path.read_text("utf-8-sig").splitlines()]
    # Lists of one class have a second word, -1 where the image is not in it.
    return _root(path), [row[0] for row in words if row and (len(row) == 1 or row[1] != "-1")]


def _images(annotations):
    root, _ = _place(annotations)
    if (root / "JPEGImages").is_dir():
        return root / "JPEGImages"
    stems = [path.stem for path in _described(root, None).values()][:50]
    return pictures_near(annotations, [stem + ending for stem in stems for ending in IMAGE_ENDINGS])


def _described(root, names):
    """Stem relative to the folder of the annotations -> XML file."""
    folder = root / "Annotations" if (root / "Annotations").is_dir() else root
    if names is not None:
        return {name: folder / f"{name}.xml" for name in names}
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*"))
            if path.suffix.lower() == ".xml"}


def _read(annotations, images):
    """What a COCO file would hold of a folder of VOC's.

    Categories are the names that occur, sorted, with ids from 1. A difficult object has ``iscrowd`` 1: it is not
    learnt, and finding it or not does not count, as VOC's evaluation has it. Corners are continuous coordinates, as
    today's tools write them; in files of VOC's own data sets, which their ``database`` tells, they are the first and
    last pixel, counted from 1.

    Raises:
        OSError: a file cannot be read, or an image whose size no XML file tells is not there.
        ValueError: a file is malformed; the text names it.
    """
    root, names = _place(annotations)
    found, pictures, passed = [], _pictures(images), {}
    described = _described(root, names)
    if not described:  # label images alone
        described = {path.stem: None for path in sorted((root / "SegmentationObject").glob("*.png"))}
    elements = {stem: None if path is None else parsed(path, "annotation") for stem, path in described.items()}
    called = {stem: None if element is None else text_in(element, "filename") for stem, element in elements.items()}
    times = Counter(called.values())
    records, unread, seen = [], [], set()
    for stem, path in described.items():
        element, name = elements[stem], called[stem]
        if times[name] > 1 and stem in pictures:  # several files were copied from one
            name = stem
        last = (name or "").replace("\\", "/").rpartition("/")[2]
        beside = Path(stem).with_name(last).as_posix() if last else stem  # before one of another folder, called alike
        names_of_it = (*([name] if last != name else []), beside, name, last, stem, Path(stem).name,
                       last.rpartition(".")[0])
        picture = next((pictures[one] for one in names_of_it if one in pictures), None)
        if picture is not None:
            told, file = _said(element), Path(os.path.relpath(picture, images)).as_posix()
            seen.add(file)
            size = size_in(picture, [] if told else unread) or told
            if not size:
                continue
            record = {"id": len(records) + 1, "file_name": file, **size}
        elif element is not None and last:  # the file has its name and size, and the doctor names what is missing
            record = {"id": len(records) + 1, "file_name": name.replace("\\", "/"), **_size(element, path)}
        else:
            raise FileNotFoundError(f"{path or stem}: its image {stem} is not in {images}")
        records.append(record)
        boxes = [] if element is None else [_object(item, path, number, element)
                                            for number, item in enumerate(element.iterfind("object"), start=1)]
        found += _with_masks(record, boxes, object_masks(root, stem, record))
        record.update(_said(element))  # one that is not the file's is for the reader of all layouts to judge
    passed["image without a file of annotations"] = 0 if names is not None else sum(
        Path(os.path.relpath(path, images)).as_posix() not in seen for path in set(pictures.values()))
    warn_of(root, {key: number for key, number in passed.items() if number > 0}, unread, records)
    categories, numbers = listed_by_name(sorted({item["name"] for item in found}))
    objects = [{"category_id": numbers[item.pop("name")], **item} for item in found]
    return content_of(records, categories, objects)


def _said(element):
    """Height and width that the XML file says; empty where it says none."""
    size = element.find("size") if element is not None else None
    found = {side: text_in(size, side) if size is not None else None for side in ("height", "width")}
    if not all(text is not None and text.isdecimal() and int(text) for text in found.values()):
        return {}
    return {side: int(text) for side, text in found.items()}


def _size(element, path):
    """Height and width as the XML file says them."""
    size = element.find("size")
    found = {side: number_in(size if size is not None else {}, side, f"{path}, size") for side in ("height", "width")}
    if not all(number >= 1 and number.is_integer() for number in found.values()):
        raise ValueError(f"{path}: its width and height must be whole numbers from 1, got {found}")
    return {side: int(number) for side, number in found.items()}


def _pictures(folder):
    """Path relative to a folder, with and without the ending -> image."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() in IMAGE_ENDINGS and not _is_label(path):
            name = path.relative_to(folder)
            found[name.as_posix()] = found[name.with_suffix("").as_posix()] = path
    return found


def _is_label(path):
    return any(part.startswith("Segmentation") for part in path.parts[:-1])


def _object(item, path, number, element):
    """Name, box, and whether it is difficult."""
    place = f"{path}, object {number}"
    box = item.find("bndbox")
    name = text_in(item, "name")
    if name is None or box is None:
        raise ValueError(f"{place}: it must have a name and a bndbox")
    x1, y1, x2, y2 = (number_in(box, corner, place) for corner in _CORNERS)
    first = "VOC" in (element.findtext("source/database") or "")
    x1, y1 = (x1 - 1, y1 - 1) if first else (x1, y1)
    x1, x2, y1, y2 = *sorted((x1, x2)), *sorted((y1, y2))  # corners in any order are one box
    found = {"name": name, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": int(text_in(item, "difficult", "0") == "1")}
    outline = item.find("polygon")
    if outline is not None and len(outline) >= 6:
        pairs = [(f"x{k}", f"y{k}") for k in range(1, len(outline) // 2 + 1)]
        found["segmentation"] = [[number_in(outline, side, place) for pair in pairs for side in pair]]
    return found


def _with_masks(record, boxes, masks):
    """The objects of an image, those with a mask having it.

    Args:
        boxes: of the XML file; objects without one are those of the masks alone.
        masks: value of the label image -> (RLE, name of the class or None).
    """
    found = [{"image_id": record["id"], **item} for item in boxes]
    left = set(range(len(boxes)))
    for value, (mask, name) in masks.items():
        box = rle.toBbox(mask)
        # VOC's values count the objects of the file, of which others may hide a part; else the boxes tell.
        own = value - 1 if value - 1 in left and _within(box, boxes[value - 1]["bbox"]) else None
        best = _likeliest(box, boxes, left) if own is None else own
        if best is not None:
            left.remove(best)
            found[best]["segmentation"] = mask
        else:
            found.append({"image_id": record["id"], "name": name or "object", "iscrowd": 0, "segmentation": mask})
    return found


def _likeliest(box, boxes, left):
    """Of the objects ``left`` the one whose box is most like a mask's; None where none is."""
    places = sorted(left)
    if not places:
        return None
    overlaps = rle.iou([box], [boxes[k]["bbox"] for k in places], [0] * len(places))[0]
    best = int(overlaps.argmax())
    return places[best] if overlaps[best] >= _SAME else None


def _within(box, other):
    """Whether a box lies in another, but for the rounding of a pixel or two."""
    return all(a >= b - 2 and a + s <= b + t + 2 for a, b, s, t in zip(box[:2], other[:2], box[2:], other[2:],
                                                                     strict=True))


VOC = Layout("Pascal VOC", _find, _images, _read, True)
