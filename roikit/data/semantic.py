"""A class for each pixel of an image: from PNG label maps, from a COCO panoptic file, or from the objects' masks.

A label map is (H, W) uint8: classes 1..C, 0 where there is none of them, 255 where nothing is known and nothing is
learnt. A reader has ``labels(image_id, file_name, height, width)``, which gives one, ``file(image_id, file_name)``,
the path that it is read from, and ``classes``, the number of values 0..C, or None where nobody has told.
"""

import os
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from roikit.data import segmentation as seg
from roikit.data.images import read_image, read_labels
from roikit.data.layouts.json_files import read_json
from roikit.data.packed import Ragged
from roikit.data.records import names_of, shown, usable_id
from roikit.data.remote import beside, local_path

__all__ = ["IGNORED", "LabelFolder", "PanopticFile", "open_semantic", "union_of_masks"]

IGNORED = 255


def open_semantic(path, classes=None):
    """The reader of a folder of PNG label maps, or of a COCO panoptic file (``.json``).

    Args:
        path: the folder, or the file.
        classes: of a folder, the number of values 0..C that its maps may have beside 255; None for any.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: the file is no panoptic file.
    """
    path = local_path(path)
    if os.path.isdir(path):
        return LabelFolder(path, classes)
    return PanopticFile(path)


class LabelFolder:
    """A folder with an 8-bit grey or palette PNG for each image, called as the image is but for the ending.

    Values are taken as they are. In COCO-stuff's maps of things and stuff 0 is a class as well, the person, and the
    classes are 183 (0..182); in maps of things or of stuff alone 0 is what has no label.

    Args:
        folder: its path.
        classes: the number of values 0..C that the maps may have beside 255; None for any.
    """

    def __init__(self, folder, classes=None):
        self.folder, self.classes = Path(local_path(folder)), classes

    def file(self, image_id, file_name):
        """The path of an image's map: at the image's own place in the folder, or else in the folder itself."""
        name = PurePosixPath(file_name.replace("\\", "/")).with_suffix(".png")
        whole = self.folder / name
        return whole if whole.is_file() else self.folder / name.name

    def labels(self, image_id, file_name, height, width):
        """The label map of an image.

        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: it is of another kind or size, or has a value that is no class.
        """
        path = self.file(image_id, file_name)
        found = read_labels(path)
        _check_size(path, found, height, width)
        if self.classes is not None:
            strange = np.flatnonzero(np.bincount(found.reshape(-1), minlength=256)[self.classes:IGNORED])
            if len(strange):
                raise ValueError(f"semantic: {path} has the label {self.classes + strange[0]}, and labels are "
                                 f"0..{self.classes - 1} and {IGNORED}")
        return found


class PanopticFile:
    """A COCO panoptic file and its folder of PNG files, whose colours are the ids of segments.

    Categories, things and stuff alike, are classes 1..C in the order of their ids; what belongs to no segment is 255.
    ``things`` tells of each whether it is one of things.

    Args:
        path: of the JSON file; the PNG files are in the folder beside it of the same name without the ending, as
            COCO has them.
        categories: COCO's records of categories for a file without ``categories``, as COCO's format of results is.
    """

    def __init__(self, path, categories=None):
        path = Path(local_path(path))
        self.folder = beside(path, path.stem)
        content = read_json(path)
        lister = "it does"
        if categories is not None and isinstance(content, dict) and content.get("categories") is None:
            content, lister = {**content, "categories": categories}, "the annotations do"
        if not self.folder.is_dir():
            raise FileNotFoundError(f"semantic: there is no folder {self.folder} with the PNG files of {path}")
        try:
            self._read(content, lister)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"semantic: {path} is no COCO panoptic file: {type(error).__name__}: {error}") from None
        except ValueError as error:
            raise ValueError(f"semantic: {path}: {error}") from None

    def _read(self, content, lister):
        listed = sorted(content["categories"], key=lambda category: category["id"])
        categories = [category["id"] for category in listed]
        if not categories or len(categories) >= IGNORED:
            raise ValueError(f"it must have 1 to {IGNORED - 1} categories, got {len(categories)}")
        label_of = {number: label for label, number in enumerate(categories, start=1)}
        self.category_ids, self.names, self.classes = categories, names_of(listed), len(categories) + 1
        self.things = [bool(category.get("isthing", 1)) for category in listed]
        records = content["annotations"]
        self._place = {record["image_id"]: k for k, record in enumerate(records)}
        if len(self._place) < len(records):
            twice = Counter(record["image_id"] for record in records).most_common(1)[0][0]
            raise ValueError(f"it lists image {shown(twice)} twice")
        self._files = Ragged.of_bytes([record["file_name"].encode() for record in records])
        ids, labels, crowds, areas = [], [], [], []
        for record in records:
            # Where nothing is stated, the area is -1.
            segments = sorted((segment["id"], segment["category_id"], bool(segment.get("iscrowd", 0)),
                               segment.get("area", -1)) for segment in record["segments_info"])
            for k, (number, category, _, _) in enumerate(segments):
                where = f"a segment of image {shown(record['image_id'])}"
                if not usable_id(number) or category not in label_of:
                    raise ValueError(f"{where} has the id {shown(number)} and the category {shown(category)}, which "
                                     f"{lister} not list")
                if k and segments[k - 1][0] == number:
                    raise ValueError(f"{where} has the id {number}, and so has another one")
            ids.append([number for number, *_ in segments])
            labels.append([label_of[category] for _, category, *_ in segments])
            crowds.append([crowd for *_, crowd, _ in segments])
            areas.append([area for *_, area in segments])
        self._ids, self._labels = Ragged(ids, np.int64), Ragged(labels, np.uint8)
        self._crowds, self._areas = Ragged(crowds, bool), Ragged(areas, np.float64)

    def file(self, image_id, file_name):
        """The path of an image's PNG file.

        Raises:
            FileNotFoundError: the JSON file does not list the image.
        """
        place = self._place.get(image_id)
        if place is None:
            raise FileNotFoundError(f"semantic: {self.folder}.json does not list image {image_id}")
        return self.folder / self._files[place].tobytes().decode()

    def ids(self, image_id, height, width):
        """The id of the segment of each pixel of an image, (height, width) int64; 0 for none.

        Raises:
            OSError, ValueError: as `labels`.
        """
        ids, path = self.read_ids(image_id, height, width)
        strange = np.setdiff1d(ids, [0, *self._ids[self._place[image_id]]])
        if len(strange):
            raise ValueError(f"semantic: {path} has the segment {strange[0]}, which {self.folder}.json does not list")
        return ids

    def read_ids(self, image_id, height, width):
        """As `ids`, listed or not; and the path of the PNG file."""
        path = self.file(image_id, None)
        colours = read_image(path)
        if colours.dtype != np.uint8:
            raise ValueError(f"semantic: {path} must have colours of 8 bits, got {colours.dtype}")
        _check_size(path, colours, height, width)
        return colours.astype(np.int64) @ (1, 256, 256**2), path

    @property
    def image_ids(self):
        """Ids of the images that are listed, in the order of the file."""
        return list(self._place)

    def segments(self, image_id):
        """What is listed of an image: dicts ``id``, ``label`` (1..C) and ``iscrowd``, by ascending ids."""
        place = self._place[image_id]
        return [{"id": number, "label": label, "iscrowd": int(crowd)} for number, label, crowd in zip(
            self._ids[place].tolist(), self._labels[place].tolist(), self._crowds[place].tolist(), strict=True)]

    def labels(self, image_id, file_name, height, width):
        """The label map of an image.

        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: it is of another kind or size, or has a segment that the JSON file does not list.
        """
        ids, place = self.ids(image_id, height, width), self._place[image_id]
        known = np.concatenate([[0], self._ids[place]])
        return np.concatenate([np.uint8([IGNORED]), self._labels[place]])[np.searchsorted(known, ids)]

    def faults(self, image_id, height, width):
        """Where the PNG file and the JSON file contradict each other.

        Yields:
            (kind, sentence): "semantic-label", one of the PNG file alone; "missing-segment", one of the JSON file
            alone; "segment-area", one of fewer or more pixels than the JSON file says, as where another lies on it.

        Raises:
            OSError, ValueError: the file cannot be read, or is of another kind or size.
        """
        yield from self.faults_of(*self.read_ids(image_id, height, width), image_id)

    def faults_of(self, ids, path, image_id):
        """As `faults`, of what `read_ids` has read."""
        found, counts = np.unique(ids[ids > 0], return_counts=True)
        pixels = dict(zip(found.tolist(), counts.tolist(), strict=True))
        place = self._place[image_id]
        listed = dict(zip(self._ids[place].tolist(), self._areas[place].tolist(), strict=True))
        for number in sorted(pixels.keys() - listed.keys()):
            yield "semantic-label", f"{path} has the segment {number}, which {self.folder}.json does not list"
        for number, area in listed.items():
            if number not in pixels:
                yield "missing-segment", (f"{self.folder}.json lists the segment {number}, of which {path} has no "
                                          "pixel")
            elif area >= 0 and area != pixels[number]:
                yield "segment-area", (f"{self.folder}.json says that the segment {number} has {area:g} pixels, and "
                                       f"{path} has {pixels[number]}"
                                       + ("; another one may lie on it" if area > pixels[number] else ""))


def _check_size(path, found, height, width):
    if found.shape[:2] != (height, width):
        raise ValueError(f"semantic: {path} must be {width}x{height} as its image, got {found.shape[1]}x"
                         f"{found.shape[0]}")


def union_of_masks(masks, labels, size, ignored=()):
    """The label map that objects' masks make; where they overlap, the one of fewer pixels lies on top.

    Args:
        masks: N masks, polygons or compressed RLEs; of equal areas the later lies on top.
        labels: N whole numbers in 1..254.
        size: (height, width).
        ignored: masks below all of those, such as crowds, whose pixels are 255.

    Returns:
        (height, width) uint8, 0 where there is no mask.
    """
    found = np.zeros(size, np.uint8)
    for mask in ignored:
        _paint(found, seg.rasterised(mask, *size), IGNORED)
    opened = [seg.rasterised(mask, *size) for mask in masks]
    areas = [np.count_nonzero(mask.bitmap) for mask in opened]
    for i in sorted(range(len(opened)), key=lambda i: -areas[i]):
        _paint(found, opened[i], labels[i])
    return found


def _paint(canvas, mask, value):
    height, width = mask.bitmap.shape
    canvas[mask.y:mask.y + height, mask.x:mask.x + width][mask.bitmap] = value
