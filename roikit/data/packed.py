"""COCO's annotations in a few flat arrays.

A forest of dicts costs gigabytes for a large data set, and once more in every loader process, because
reading a Python object changes its reference count and so copies its memory page. Here the
annotations of one data set are a dozen arrays, whatever their number; an object is taken out on demand.
"""

import numpy as np

from roikit.data.annotations import has_mask, read_object

__all__ = ["Objects", "Ragged"]


class Ragged:
    """Arrays of different lengths in one buffer; ``ragged[i]`` is a view of the i-th."""

    def __init__(self, parts, dtype):
        self._ends = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
        self._values = (np.concatenate([np.asarray(part, dtype) for part in parts]) if parts
                        else np.zeros(0, dtype))

    def __len__(self):
        return len(self._ends) - 1

    def __getitem__(self, index):
        return self._values[self._ends[index]:self._ends[index + 1]]

    @classmethod
    def of_bytes(cls, parts):
        found = cls((), np.uint8)
        found._ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        found._values = np.frombuffer(b"".join(parts), np.uint8)
        return found


class Objects:
    """The objects of some images, in the images' order.

    Attributes:
        boxes: (N, 4) float64, x1 y1 x2 y2 in pixels, inside their images.
        labels: (N,) int64, from 1.
        area: (N,) float64, pixels.
        crowd: (N,) bool.
        keypoints: (N, K, 3) float32, as `roikit.data.keypoints` has them; None where they were not asked for.
        rotated: (N, 5) float64, rotated boxes; None where they were not asked for.
        starts: (images + 1,) int64; the objects of image i are starts[i] to starts[i + 1].
        has_masks: whether the annotations have masks.
        dropped: dict from a reason to the number of annotations that were left out for it.
        places: (N,) int64, the place of each in the list of annotations.
    """

    def __init__(self, images, annotations, label_of, skeletons=None, rotated=False, masks=None):
        """Pack the annotations of some images.

        Args:
            images: list of COCO image records.
            annotations: list of COCO annotation records, of these images and of others; all records as
                `load_annotations` gives them, and without a fault that `fault_of` names.
            label_of: dict from category id to label.
            skeletons: dict from category id to Skeleton, of `skeletons_of`, to read keypoints of these categories,
                objects of others having none labelled; None or empty to read none.
            rotated: whether to read rotated boxes, which every object must have then.
            masks: whether every object must have a mask; None where it must if one of them has.

        Raises:
            ValueError: a category is unknown or a field malformed; names the annotation.
        """
        rows_of = {image["id"]: [] for image in images}
        for place, annotation in enumerate(annotations):
            rows_of.get(annotation["image_id"], []).append((place, annotation))
        self.has_masks = any(has_mask(a) for rows in rows_of.values() for _, a in rows) if masks is None else masks
        self.dropped = {}
        self._skeletons, self._rotated = skeletons or {}, rotated
        boxes, labels, areas, crowds, counts, masks, points, turned, places = ([] for _ in range(9))
        for image in images:
            before = len(labels)
            for place, annotation in rows_of[image["id"]]:
                found = self._read(annotation, image, label_of)
                if isinstance(found, str):
                    self.dropped[found] = self.dropped.get(found, 0) + 1
                    continue
                label, found = found
                boxes.append(found.box)
                labels.append(label)
                areas.append(found.area)
                crowds.append(found.crowd)
                masks.append(found.mask)
                points.append(found.keypoints)
                turned.append(found.rotated)
                places.append(place)
            counts.append(len(labels) - before)
        self.places = np.array(places, np.int64)
        self.boxes = np.array(boxes, np.float64).reshape(-1, 4)
        self.labels = np.array(labels, np.int64)
        self.area = np.array(areas, np.float64)
        self.crowd = np.array(crowds, bool)
        self.starts = np.cumsum([0, *counts], dtype=np.int64)
        self.rotated = np.array(turned, np.float64).reshape(-1, 5) if rotated else None
        if self.has_masks:
            self._pack(masks)
        self.keypoints = None
        if self._skeletons:
            self.keypoints = np.zeros((len(labels), len(next(iter(self._skeletons.values())).names), 3), np.float32)
            for row, found in zip(self.keypoints, points, strict=True):
                row[...] = 0 if found is None else found

    def _read(self, annotation, image, label_of):
        """(label, Instance) of an annotation, or the reason why it is left out."""
        name = f"annotation {annotation.get('id')} of image {image['id']}"
        category = annotation["category_id"]
        if category not in label_of:
            raise ValueError(f"CocoDataset: {name} has category id {category!r}, which categories does "
                             "not list")
        skeleton = self._skeletons.get(category)
        try:
            found = read_object(annotation, image["height"], image["width"], masks=self.has_masks,
                                keypoints=None if skeleton is None else len(skeleton.names), rotated=self._rotated)
        except ValueError as error:
            raise ValueError(f"CocoDataset: {name}: {error}{getattr(error, 'remedy', '')}") from None
        return found if isinstance(found, str) else (label_of[category], found)

    def _pack(self, masks):
        """One buffer of RLE characters, and one of coordinates with the polygons' and objects' ends."""
        polygons = [mask if isinstance(mask, list) else [] for mask in masks]
        self._counts = Ragged.of_bytes([b"" if isinstance(m, list) else m["counts"] for m in masks])
        self._rings = Ragged([ring for rings in polygons for ring in rings], np.float64)
        self._ring_starts = np.cumsum([0, *(len(rings) for rings in polygons)], dtype=np.int64)

    def boxes_of(self, objects):
        """``boxes`` of these objects, an array of their numbers."""
        return self.boxes[objects]

    def labels_of(self, objects):
        """``labels`` of these objects."""
        return self.labels[objects]

    def area_of(self, objects):
        """``area`` of these objects."""
        return self.area[objects]

    def mask(self, index, height, width):
        """The mask of an object: polygons, or an RLE of an image of ``height`` x ``width``."""
        counts = self._counts[index]
        if len(counts):
            return {"size": [height, width], "counts": counts.tobytes()}
        return [self._rings[i] for i in range(*self._ring_starts[index:index + 2])]
