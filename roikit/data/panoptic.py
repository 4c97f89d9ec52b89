"""Things and stuff: from a COCO panoptic file, or from the masks of a COCO file and the background around them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from roikit.data import segmentation as seg
from roikit.data.coco import CocoDataset
from roikit.data.layouts.json_files import read_json
from roikit.data.semantic import IGNORED, PanopticFile
from roikit.data.semantic_dataset import BACKGROUND, is_semantic_source
from roikit.errors import naming

__all__ = ["PanopticDataset", "write_panoptic"]

_HIGHEST = 256**3 - 1  # of three bytes


class PanopticDataset(CocoDataset):
    """Images, the things on them, and a class of stuff for each pixel that is of no thing.

    Args:
        annotations: COCO panoptic file (``.json``, its PNG files in the folder beside it of the same name), whose
            categories say what is a thing; or a COCO file with masks, or its content, whose objects are things and
            whose one class of stuff is "background": the pixels that no object has.
        images: folder of the images.
        transform, seed, ids, keep_empty: as for `CocoDataset`.

    A sample is (image, target) as that of `CocoDataset`, with masks, and

        labels       (N,) int64, 1..K, the categories of things in the order of their ids
        semantic     (H, W) uint8: 0 on things, 1..S the categories of stuff in the order of their ids, 255 where
                     nothing is known: on crowds and void

    Raises:
        OSError, ValueError: as `CocoDataset`; or the file has no category of things or of stuff, or no masks; or, for a
            sample, its PNG file cannot be read or contradicts the JSON file, by name.
    """

    def __init__(self, annotations, images, *, transform=None, seed=0, ids=None, keep_empty=True):
        self._file = None
        if not isinstance(annotations, dict) and is_semantic_source(annotations):
            self._file = PanopticFile(annotations)
            annotations = _as_instances(read_json(annotations), self._file)
        named = {"transform": transform, "seed": seed, "ids": ids, "keep_empty": keep_empty}
        super().__init__(annotations, images, semantic="instances" if self._file is None else None, **named)
        if self._file is None:
            self.stuff = [{"id": max(self.category_ids, default=0) + 1, "name": BACKGROUND}]
            return
        things = np.array([False, *self._file.things])
        self.stuff = [{"id": number, "name": name} for number, name, is_thing in zip(
            self._file.category_ids, self._file.names, self._file.things, strict=True) if not is_thing]
        if not self.stuff or not things.any():
            raise ValueError(f"PanopticDataset: {self._file.folder}.json has no category of "
                             f"{'things' if self.stuff else 'stuff'}")
        # From a category's place in the file to its label among things, or among stuff.
        self._thing = np.where(things, things.cumsum(), 0)
        self._stuff = np.where(things, 0, (~things).cumsum() - 1)

    @property
    def has_masks(self):
        """Whether objects have masks; those of a panoptic file do."""
        return self._file is not None or super().has_masks

    @property
    def categories(self):
        """[{"id", "name", "isthing"}, ...]: things in the order of the labels, then stuff."""
        return [*({**category, "isthing": 1} for category in super().categories),
                *({**category, "isthing": 0} for category in self.stuff)]

    def sample(self, index):
        """The index-th image with its objects and its label map of stuff as a Sample, before any transform."""
        sample = super().sample(index)
        if self._file is None:
            return replace(sample, semantic=np.where(sample.semantic == IGNORED, IGNORED, sample.semantic == 0
                                                     ).astype(np.uint8))
        image_id, size = self.image_ids[self._checked(index)], sample.size
        ids, segments = self._file.ids(image_id, *size), self._file.segments(image_id)
        semantic = np.full(size, IGNORED, np.uint8)
        things, crowds = [], []
        for segment in segments:
            bitmap, label = ids == segment["id"], segment["label"]
            if not bitmap.any():
                continue
            if segment["iscrowd"]:
                crowds.append(_boxed(bitmap))
            elif self._thing[label]:
                semantic[bitmap] = 0
                things.append((self._thing[label], *_boxed(bitmap)))
            else:
                semantic[bitmap] = self._stuff[label]
        boxes = np.array([box for _, box, _ in things], np.float64).reshape(-1, 4)
        return replace(sample, boxes=boxes, labels=np.array([label for label, *_ in things], np.int64),
                       area=np.array([mask.bitmap.sum() for *_, mask in things], np.float64),
                       masks=[mask for *_, mask in things], semantic=semantic,
                       crowd_boxes=np.array([box for box, _ in crowds], np.float64).reshape(-1, 4))

    def truth(self, index):
        """What is on the index-th image, each pixel of one segment or of none.

        Returns:
            (H, W) int64, the segment's id at each pixel, 0 for none; and dicts ``id``, ``category`` (the place in
            ``categories``, from 1), ``iscrowd`` and ``area``. Of objects that overlap the smaller lies on top.
        """
        index = self._checked(index)
        size, things = tuple(int(v) for v in self._sizes[index]), len(self.category_ids)
        if self._file is not None:
            image_id = self.image_ids[index]
            ids = self._file.ids(image_id, *size)
            listed = [(s["id"], self._thing[s["label"]] or things + self._stuff[s["label"]], s["iscrowd"])
                      for s in self._file.segments(image_id)]
            return ids, _counted(ids, listed)
        objects, ids, listed = self._objects, np.zeros(size, np.int64), []
        rows = np.arange(*objects.starts[index:index + 2])
        opened = [seg.rasterised(objects.mask(row, *size), *size) for row in rows]
        areas = [np.count_nonzero(mask.bitmap) for mask in opened]
        for place in sorted(range(len(rows)), key=lambda k: (not objects.crowd[rows[k]], -areas[k])):
            bitmap, y, x = opened[place]
            ids[y:y + bitmap.shape[0], x:x + bitmap.shape[1]][bitmap] = place + 1
            listed.append((place + 1, objects.labels[rows[place]], objects.crowd[rows[place]]))
        ids[ids == 0] = len(rows) + 1
        return ids, _counted(ids, [*listed, (len(rows) + 1, things + 1, 0)])


def _as_instances(content, file):
    """A panoptic file's images and things as a COCO file has them; places are told by the pixels later."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    things = [c for c, is_thing in zip(sorted(content["categories"], key=lambda c: c["id"]), file.things, strict=True)
              if is_thing]
    known, objects = {c["id"] for c in things}, []
    for record in content["annotations"]:
        height, width = sizes.get(record["image_id"], (1, 1))
        objects += [{"id": len(objects) + k, "image_id": record["image_id"], "category_id": segment["category_id"],
                     "bbox": [0, 0, width, height], "area": height * width, "iscrowd": segment.get("iscrowd", 0)}
                    for k, segment in enumerate(record["segments_info"], start=1) if segment["category_id"] in known]
    return {"images": content["images"], "categories": things, "annotations": objects}


def _boxed(bitmap):
    """The box (x1, y1, x2, y2) around a bitmap's pixels, and the part of it inside."""
    rows, columns = (np.flatnonzero(bitmap.any(axis)) for axis in (1, 0))
    y1, y2, x1, x2 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return (x1, y1, x2, y2), seg.BoxedMask(bitmap[y1:y2, x1:x2], int(y1), int(x1))


def _counted(ids, listed):
    """The segments of which a map has pixels, with their number."""
    found, counts = np.unique(ids, return_counts=True)
    pixels = dict(zip(found.tolist(), counts.tolist(), strict=True))
    return [{"id": number, "category": int(category), "iscrowd": int(crowd), "area": pixels[number]}
            for number, category, crowd in listed if number in pixels]


def write_panoptic(path, images, categories):
    """Write a COCO panoptic file and the PNG files of its images, in the folder beside it of the same name.

    Args:
        path: of the JSON file; what is there is replaced, once all images are written.
        images: iterable of (record, ids, segments): the image's ``id``, ``file_name`` and what else is to be kept;
            (H, W) whole numbers, 0 for no segment; dicts with ``id`` (1..16777215), ``category_id`` and what else is to
            be kept. ``area`` and ``bbox`` (x, y, w, h) are counted.
        categories: COCO's records ``id``, ``name``, ``isthing``.

    Raises:
        OSError: a file cannot be written.
        ValueError: a map has an id that its segments do not list, a segment has no pixel, is listed twice, or has an
            unknown category or an id beyond three bytes; the text names the image and the segment.
    """
    import PIL.Image

    path, records, annotations = Path(path), [], []
    folder, known = path.with_suffix(""), {category["id"] for category in categories}
    folder.mkdir(parents=True, exist_ok=True)
    for record, ids, segments in images:
        ids = np.asarray(ids).astype(np.int64)
        name = f"{Path(record['file_name'].replace(os.sep, '/')).with_suffix('').as_posix().replace('/', '__')}.png"
        annotations.append({"image_id": record["id"], "file_name": name,
                            "segments_info": _described(record, ids, segments, known)})
        records.append({**record, "height": ids.shape[0], "width": ids.shape[1]})
        colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
        with naming(folder / name):
            PIL.Image.fromarray(colours).save(folder / name)
    content = {"images": records, "annotations": annotations, "categories": list(categories)}
    beside = path.with_name(f".{path.name}.part")
    with naming(path):
        beside.write_text(json.dumps(content))
    os.replace(beside, path)


def _described(record, ids, segments, known):
    """COCO's ``segments_info`` of an image, checked."""
    where, found = f"write_panoptic: image {record['id']}", []
    present, counts = np.unique(ids, return_counts=True)
    pixels = dict(zip(present.tolist(), counts.tolist(), strict=True))
    listed = [segment["id"] for segment in segments]
    if strange := sorted(pixels.keys() - {0, *listed}):
        raise ValueError(f"{where} has the segment {strange[0]}, which is not listed")
    for segment in segments:
        number = segment["id"]
        if listed.count(number) > 1:
            raise ValueError(f"{where} has the segment {number} twice")
        if not 0 < number <= _HIGHEST:
            raise ValueError(f"{where} has the segment {number}, and ids are 1..{_HIGHEST}")
        if number not in pixels:
            raise ValueError(f"{where} has the segment {number}, of which there is no pixel")
        if segment["category_id"] not in known:
            raise ValueError(f"{where} has the segment {number} of category {segment['category_id']}, which is not "
                             "listed")
        x1, y1, x2, y2 = map(int, _boxed(ids == number)[0])
        found.append({"iscrowd": 0, **segment, "area": pixels[number], "bbox": [x1, y1, x2 - x1, y2 - y1]})
    return found
