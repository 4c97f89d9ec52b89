"""COCO instances as a torch data set: any annotation file in COCO's format and its folder of images."""

import warnings
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset

from roikit.data.annotations import has_mask, load_annotations
from roikit.data.image_folder import ImageFolder, missing_sentence
from roikit.data.images import open_image, read_image
from roikit.data.keypoints import skeletons_of
from roikit.data.packed import Objects, Ragged
from roikit.data.records import crowds_sentence, names_of
from roikit.data.rotated import boxes_of_corners, boxes_of_masks, corners_of_boxes, has_rotated_box, in_a_quarter
from roikit.data.segmentation import encode
from roikit.data.semantic import IGNORED, open_semantic, union_of_masks
from roikit.data.sound import require_sound, with_boxes_read
from roikit.data.store.objects import StoredObjects
from roikit.data.store.reading import without_collection
from roikit.data.store.records import Records
from roikit.data.transforms import Sample, image_tensor
from roikit.data.turned import turned_sentence
from roikit.errors import RoikitWarning

__all__ = ["CocoDataset"]


class CocoDataset(Dataset):
    """Images and instances of a COCO annotation file.

    Labels are 1..K in the order of the category ids, which may have gaps and start anywhere; 0 stays
    the background's. Images are in the order of their ids. What is random about a sample depends on
    (seed, epoch, index) and nothing else: not on the number of workers, nor on the order of access. A pair
    (index, k) in the place of an index is the same image, changed otherwise for each k above 0.

    Args:
        annotations: path or address of the JSON file, or its content as a dict; or of a folder of DOTA's text files, or
            YOLO's for oriented boxes.
        images: folder that holds the files that the images' ``file_name`` names.
        transform: callable (Sample, numpy Generator) -> Sample, such as those of
            `roikit.data.transforms`; None for none.
        seed: whole number of at least 0.
        ids: ids of the images to use, in the order wanted; None for all of them.
        keep_empty: whether images without a single object stay in the data set.
        keep_missing: whether images whose file is missing stay in the data set, where asking for one raises; without
            it, one RoikitWarning names them. Where all are missing they stay.
        keypoints: whether to read keypoints, where categories name some.
        keypoint_pairs: pairs of names of keypoints that change places in a mirror; None for those whose names are the
            same but for "left" and "right".
        semantic: a class for each pixel, too: "instances" for the union of the objects' masks by class, the smaller
            of two on top and crowds ignored; the path of a folder of PNG label maps, or of a COCO panoptic file, as
            `roikit.data.semantic` reads them; None for none.
        semantic_classes: the number of values 0..C that a folder's label maps may have beside 255; None for any.
        rotated: whether boxes are rotated ones: those of ``rbox``, ``rbbox`` or ``obb`` (five numbers or four corners)
            where an annotation has such a field, which every object must have then, else the smallest around the masks.

    A sample is (image, target). The image is a (3, H, W) float32 tensor in [0, 1]. The target is a dict:

        boxes        (N, 4) float32, x1 y1 x2 y2 in pixels: COCO's bbox, or the mask's extent
                     where an annotation has none, cut at the image's border; (N, 5) where they are rotated: cx, cy, w,
                     h in pixels and degrees counter-clockwise in [-90, 0), not cut
        labels       (N,) int64, 1..K
        masks        list of N masks in the coordinates of the image tensor, each a compressed RLE or a
                     list of polygons (flat float64 arrays); absent when no annotation has a mask
        image_id     int
        area         (N,) float32, pixels
        iscrowd      (N,) int64, zeros: crowds are no objects to learn
        crowd_boxes  (M, 4) float32, boxes of the crowds, for those who leave proposals on them out
        keypoints    (N, K, 3) float32, x and y in pixels and visibility (0 not labelled, 1 hidden, 2 visible), zeros
                     for what is not labelled; absent unless asked for and named by a category
        semantic     (H, W) uint8, classes from 1, 0 for none of them, 255 to be ignored; absent unless asked for

    Objects that cannot be learnt (no area, no pixel, outside the image) are left out, with one
    RoikitWarning that counts them, and that says so where half of the annotations or more are crowds. So are images
    whose file is missing, unless all are.
    `roikit.data.inspect_dataset` names each of them. A data set of which no object is left is one for
    prediction: ask `num_objects` before training.

    Raises:
        FileNotFoundError, OSError: the annotation file cannot be read; or, for a sample, its image.
        ValueError: the file is not COCO's format, an id occurs twice or is unknown, a field is malformed, or the whole
            has a fault of `roikit.data.causes` (fractions of the image, all crowds, lines for polygons, corners for
            boxes that no mask shows to be such; images turned by EXIF); or, for a sample, the image has another size
            than the file says.
    """

    @without_collection()
    def __init__(self, annotations, images, *, transform=None, seed=0, ids=None, keep_empty=True, keep_missing=False,
                 keypoints=False, keypoint_pairs=None, semantic=None, semantic_classes=None, rotated=False):
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"CocoDataset: seed must be a whole number of at least 0, got {seed!r}")
        folder = ImageFolder(images)
        content, told = _content(annotations, folder)
        self.images = folder.path
        self.transform = transform
        self.seed = int(seed)
        # In shared memory: workers that live for many epochs must see a new epoch too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

        categories = sorted(content["categories"], key=lambda c: c["id"])
        self.category_ids = [c["id"] for c in categories]
        self.category_names = names_of(categories)
        self.skeletons = _skeletons(categories, keypoint_pairs) if keypoints else {}
        self._mirrored = next((skeleton.mirrored for skeleton in self.skeletons.values()), None)

        records = _chosen(content["images"], ids)
        if not keep_missing:
            records = _with_files(records, folder, told)
        label_of = {c: i for i, c in enumerate(self.category_ids, start=1)}
        self._rotated = _rotated_source(content["annotations"]) if rotated else None
        asked = {"skeletons": self.skeletons, "rotated": self._rotated == "fields"}
        stored = isinstance(content["annotations"], Records) and not any(asked.values())
        objects = StoredObjects(records, content["annotations"], label_of) if stored else Objects(
            records, content["annotations"], label_of, **asked)
        if not keep_empty:
            empty = _objects_per_image(objects) == 0
            kept = [r for r, none in zip(records, empty.tolist(), strict=True) if not none]
            dropped = objects.dropped
            if stored:
                objects.without(empty)
            elif len(kept) < len(records):
                objects = Objects(kept, content["annotations"], label_of, **asked)
            records, objects.dropped = kept, dropped
        self._objects = objects
        self._ids, *sides = (np.array([r[field] for r in records], np.int64) for field in ("id", "height", "width"))
        self._sizes = np.stack(sides, 1)
        self._files = Ragged.of_bytes([str(r["file_name"]).encode() for r in records])
        self._semantic = self._semantic_source(semantic, semantic_classes)
        self._warn_of_dropped(content, told)

    def _semantic_source(self, semantic, classes):
        """None, "instances" or a reader of `roikit.data.semantic`."""
        if semantic is None:
            return None
        if semantic != "instances":
            return open_semantic(semantic, classes)
        if not self.has_masks:
            raise ValueError("CocoDataset: semantic='instances' needs masks, and no annotation has one")
        if len(self.category_ids) >= IGNORED:
            raise ValueError(f"CocoDataset: semantic='instances' tells {IGNORED - 1} categories apart at most, got "
                             f"{len(self.category_ids)}")
        return semantic

    def _warn_of_dropped(self, content, sentences):
        dropped = dict(self._objects.dropped)
        listed, annotations = [record["id"] for record in content["images"]], content["annotations"]
        owners = (annotations.column("image_id") if isinstance(annotations, Records) else
                  np.array([a["image_id"] for a in annotations], np.int64))
        strangers = np.count_nonzero(~np.isin(owners, np.array(listed, np.int64)))
        if strangers:
            dropped["of an image that the file does not list"] = strangers
        if dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
            sentences.append(f"left out {sum(dropped.values())} of {len(content['annotations'])} annotations: "
                             f"{reasons}; roikit.data.inspect_dataset names each")
        if crowds := crowds_sentence(content["annotations"]):
            sentences.append(crowds)
        if sentences:
            warnings.warn(f"CocoDataset: {'; '.join(sentences)}", RoikitWarning,
                          stacklevel=4)  # past `without_collection`

    def __len__(self):
        return len(self._ids)

    def __getitem__(self, index):
        index, sample = self._changed(index)
        masks = None if sample.masks is None else [encode(mask, *sample.size) for mask in sample.masks]
        boxes = sample.boxes if self._rotated is None else self.rotated_boxes(sample, masks)
        target = {
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.from_numpy(sample.labels.copy()),
            "image_id": int(self._ids[index]),
            "area": torch.from_numpy(sample.area.astype(np.float32)),
            "iscrowd": torch.zeros(len(sample.labels), dtype=torch.int64),
            "crowd_boxes": torch.from_numpy(sample.crowd_boxes.astype(np.float32)),
        }
        if masks is not None:
            target["masks"] = masks
        if sample.keypoints is not None:
            target["keypoints"] = torch.from_numpy(sample.keypoints.astype(np.float32))
        if sample.semantic is not None:
            target["semantic"] = torch.from_numpy(np.array(sample.semantic, np.uint8))
        return image_tensor(sample.image), target

    def _changed(self, index):
        """The index of a whole number, or of (index, how often it was shown before), and its sample as transformed."""
        index, before = index if isinstance(index, tuple) else (index, 0)
        index = self._checked(index)
        sample = self.sample(index)
        return index, sample if self.transform is None else self.transform(sample, self.rng(index, before))

    def sample(self, index):
        """The index-th image and its objects as a Sample, before any transform."""
        index = self._checked(index)
        image = read_image(self.image_path(index))
        height, width = (int(v) for v in self._sizes[index])
        if image.shape[:2] != (height, width):
            orientation = open_image(self.image_path(index)).orientation
            turned = f" (EXIF orientation {orientation} has viewers turn it)" if orientation > 1 else ""
            raise ValueError(f"CocoDataset: image {self._ids[index]} must be {width}x{height} as the "
                             f"annotation file says, got {image.shape[1]}x{image.shape[0]} from "
                             f"{self.image_path(index)}{turned}")
        objects = self._objects
        rows = np.arange(*objects.starts[index:index + 2])
        crowd = objects.crowd[rows]
        rows, crowds = rows[~crowd], rows[crowd]
        masks = [objects.mask(i, height, width) for i in rows] if objects.has_masks else None
        sample = Sample(image, objects.boxes_of(rows), objects.labels_of(rows), objects.area_of(rows), masks,
                        objects.boxes_of(crowds))
        if objects.keypoints is not None:
            sample = replace(sample, keypoints=objects.keypoints[rows].astype(np.float64), mirrored=self._mirrored)
        if objects.rotated is not None:
            sample = replace(sample, corners=corners_of_boxes(objects.rotated[rows]))
        if self._semantic == "instances":
            ignored = [objects.mask(i, height, width) for i in crowds]
            return replace(sample, semantic=union_of_masks(masks, sample.labels, (height, width), ignored))
        if self._semantic is not None:
            name = self._files[index].tobytes().decode()
            sample = replace(sample, semantic=self._semantic.labels(int(self._ids[index]), name, height, width))
        return sample

    def rotated_boxes(self, sample, masks):
        """(N, 5) float64, rotated boxes of a Sample with these encoded masks; None of a data set of upright ones."""
        if self._rotated is None:
            return None
        own = boxes_of_masks(masks or ()) if self._rotated == "masks" else boxes_of_corners(sample.corners)
        return in_a_quarter(own)

    def set_epoch(self, epoch):
        """Let samples vary as they do in this epoch (whole number of at least 0), in workers too."""
        if epoch < 0:
            raise ValueError(f"set_epoch: epoch must be at least 0, got {epoch}")
        self._epoch.fill_(epoch)

    def rng(self, index, before=0):
        """The random generator of the index-th sample in the present epoch, which has shown it ``before`` times."""
        return np.random.default_rng([self.seed, int(self._epoch), index, *([before] if before else [])])

    def image_path(self, index):
        """Path of the index-th image's file."""
        return self.images / self._files[self._checked(index)].tobytes().decode()

    @property
    def image_ids(self):
        """COCO's ids of the images, in the data set's order."""
        return self._ids.tolist()

    @property
    def sizes(self):
        """(N, 2) int64, height and width of the images, in the data set's order."""
        return self._sizes.copy()

    @property
    def has_masks(self):
        """Whether the annotations have masks."""
        return self._objects.has_masks

    @property
    def has_rotated_boxes(self):
        """Whether rotated boxes were asked for and are those of the annotations, not the smallest around masks."""
        return self._objects.rotated is not None

    @property
    def num_keypoints(self):
        """Number of keypoints of an object; 0 where none were asked for, or none are named by a category."""
        return 0 if self._objects.keypoints is None else self._objects.keypoints.shape[1]

    @property
    def has_keypoints(self):
        """Whether an object to learn has a labelled keypoint, of those that were asked for."""
        points = self._objects.keypoints
        return points is not None and bool((points[~self._objects.crowd, :, 2] > 0).any())

    @property
    def labels_of_images(self):
        """(P, 2) int64: the place of an image and the label of a class that it has objects of, each pair once; crowds
        are not counted."""
        objects, count = self._objects, self.num_classes
        places = np.repeat(np.arange(len(self)), np.diff(objects.starts))
        return np.stack(np.divmod(np.unique((places * count + objects.labels)[~objects.crowd]), count), 1)

    @property
    def semantic_classes(self):
        """The number of values 0..C that label maps may have beside 255; None without, or where nobody has told."""
        return self.num_classes if self._semantic == "instances" else getattr(self._semantic, "classes", None)

    @property
    def categories(self):
        """[{"id", "name"}, ...] in the order of the labels, with COCO's ``keypoints`` and ``skeleton`` where they were
        asked for and the category has them."""
        return [{"id": i, "name": name, **(self.skeletons[i].as_category() if i in self.skeletons else {})}
                for i, name in zip(self.category_ids, self.category_names, strict=True)]

    @property
    def num_objects(self):
        """Number of objects to learn in all images; crowds, and what was left out, are not counted."""
        return int(np.count_nonzero(~self._objects.crowd))

    @property
    def num_classes(self):
        """Number of categories and the background, as the models' builders count."""
        return len(self.category_ids) + 1

    def category_of(self, labels):
        """COCO's category ids of labels 1..K.

        Args:
            labels: whole numbers of any shape: tensor, array, sequence or int.

        Returns:
            int for an int, an int64 array of the labels' shape for all else.

        Raises:
            ValueError: a label is outside 1..K.
        """
        index = np.asarray(labels, dtype=np.int64)
        if index.size and (index.min() < 1 or index.max() > len(self.category_ids)):
            raise ValueError(f"category_of: labels must be in 1..{len(self.category_ids)}, got "
                             f"{index.min()}..{index.max()}")
        found = np.asarray(self.category_ids, np.int64)[index - 1]
        return int(found) if index.ndim == 0 else found

    def _checked(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"CocoDataset: index must be in 0..{len(self) - 1}, got {index}")
        return int(index) % len(self)


def _content(annotations, folder):
    """The annotation file, when each record has the fields that every use needs; and sentences about it."""
    try:
        content = load_annotations(annotations, images=folder)
    except ValueError as error:
        raise ValueError(f"CocoDataset: {error}") from None
    require_sound(content, "CocoDataset")
    content, told = with_boxes_read(content, "CocoDataset")
    if (sentence := turned_sentence(content["images"], folder)) is not None:
        raise ValueError(f"CocoDataset: {sentence}")
    return content, told


def _with_files(records, folder, told):
    """The image records whose files are there; all where none is, for who asks for an image is told then."""
    missing = folder.missing([record["file_name"] for record in records])
    if len(missing) in (0, len(records)):
        return records
    told.append(missing_sentence([name for _, name in missing], len(records))
                + ("; it is left out" if len(missing) == 1 else "; they are left out"))
    gone = {place for place, _ in missing}
    return [record for place, record in enumerate(records) if place not in gone]


def _rotated_source(annotations):
    """"fields" or "masks", which rotated boxes are taken from."""
    if any(map(has_rotated_box, annotations)):
        return "fields"
    if annotations and not any(map(has_mask, annotations)):
        raise ValueError("CocoDataset: rotated=True needs an rbox, an obb or a mask of each object, and no annotation "
                         "has one")
    return "masks"


def _skeletons(categories, pairs):
    try:
        return skeletons_of(categories, pairs)
    except ValueError as error:
        raise ValueError(f"CocoDataset: {error}") from None


def _chosen(records, ids):
    """The image records with these ids in their order; all, by ascending id, for None."""
    by_id = {record["id"]: record for record in records}
    if ids is None:
        return [by_id[i] for i in sorted(by_id)]
    ids = [int(i) for i in ids]
    if len(set(ids)) < len(ids):
        raise ValueError(f"CocoDataset: image ids must differ, got {next(i for i in ids if ids.count(i) > 1)} twice")
    unknown = [i for i in ids if i not in by_id]
    if unknown:
        raise ValueError(f"CocoDataset: ids must be ids of images in the annotation file, got "
                         f"{unknown[0]}")
    return [by_id[i] for i in ids]


def _objects_per_image(objects):
    """Number of objects, crowds not counted, of each image."""
    running = np.concatenate([[0], np.cumsum(~objects.crowd)])
    return np.diff(running[objects.starts])
