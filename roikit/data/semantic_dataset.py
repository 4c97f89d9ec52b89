"""Images and a class for each pixel: from label maps beside them, a panoptic file, or the masks of a COCO file."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from roikit.data.annotations import load_annotations
from roikit.data.coco import CocoDataset
from roikit.data.image_folder import listed_images
from roikit.data.images import open_image
from roikit.data.layouts import is_annotation_folder
from roikit.data.layouts.json_files import read_json
from roikit.data.remote import local_path
from roikit.data.store.pieces import pieces_of
from roikit.data.transforms import image_tensor

__all__ = ["BACKGROUND", "SemanticDataset", "is_semantic_source", "semantic_content"]

BACKGROUND = "background"


def is_semantic_source(path):
    """Whether a path is a folder of label maps, or a COCO panoptic file.

    Not so a folder of text files of objects, as `roikit.data.layouts` reads them, or a file that cannot be read.
    """
    path = local_path(path)
    if os.path.isdir(path):
        return not is_annotation_folder(path)
    try:
        for key, value, _ in pieces_of(path):
            if key == "annotations":
                if not _are_segments(value):
                    return False  # and the rest, which may be long, need not be read
                break
    except OSError:
        return False
    except (ValueError, RecursionError):
        pass  # as a whole it may be read
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and _are_segments(content.get("annotations"))


def _are_segments(annotations):
    return isinstance(annotations, list) and any("segments_info" in a for a in annotations[:1] if isinstance(a, dict))


def semantic_content(semantic, images):
    """What an annotation file would hold of the images of label maps.

    Args:
        semantic: folder of PNG label maps, or COCO panoptic file.
        images: folder of the images; of a panoptic file, those that it lists.

    Returns:
        dict ``images``, ``annotations`` (none), ``categories`` (of a folder none).

    Raises:
        OSError, ValueError: it cannot be read, or is neither.
    """
    semantic = local_path(semantic)
    if os.path.isdir(semantic):
        return {"images": listed_images(images), "annotations": [], "categories": []}
    content = read_json(semantic)
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "categories")):
        raise ValueError(f"semantic: {semantic} is no COCO panoptic file: it must have lists images and categories")
    return load_annotations({"images": content["images"], "annotations": [], "categories": content["categories"]})


class SemanticDataset(CocoDataset):
    """Images and a class for each pixel.

    Args:
        images: folder of the images.
        annotations: COCO file, or its content: the images that it lists; without ``semantic``, the union of its
            objects' masks is what is learnt, the smaller of two on top and crowds ignored. None where ``semantic``
            alone says which images there are: all of the folder that hold pictures, or those of a panoptic file.
        semantic: folder of PNG label maps, or COCO panoptic file; see `roikit.data.semantic`.
        classes: names of the values 0, 1, ... of a folder's label maps, or their number; None for any values. Of a
            panoptic file or of objects, the names of categories are known.
        transform, seed, ids, keep_empty: as for `CocoDataset`; objects are those of ``annotations``.

    A sample is (image, target). The image is a (3, H, W) float32 tensor in [0, 1]. The target is a dict:

        semantic     (H, W) uint8, classes from 0; 255 to be ignored
        image_id     int; without an annotation file the place among the files of the folder, from 1

    Raises:
        OSError, ValueError: as `CocoDataset`; or, for a sample, its label map cannot be read, is of another size than
            its image, in colours, or has a label that is no class; the text names the file.
    """

    def __init__(self, images, annotations=None, semantic=None, *, classes=None, transform=None, seed=0, ids=None,
                 keep_empty=True):
        if annotations is None and semantic is None:
            raise ValueError("SemanticDataset: annotations or semantic must be given")
        content = semantic_content(semantic, images) if annotations is None else annotations
        if annotations is None:
            _refuse_unread(content["images"], images)
        count = classes if classes is None or isinstance(classes, int) else len(classes)
        self._names = None if classes is None or isinstance(classes, int) else [str(name) for name in classes]
        super().__init__(content, images, transform=transform, seed=seed, ids=ids, keep_empty=keep_empty,
                         semantic="instances" if semantic is None else semantic, semantic_classes=count)

    def __getitem__(self, index):
        index, sample = self._changed(index)
        return image_tensor(sample.image), {"semantic": torch.from_numpy(np.array(sample.semantic, np.uint8)),
                                            "image_id": self.image_ids[index]}

    def sample(self, index):
        """The index-th image and its label map as a Sample without objects, before any transform."""
        sample = super().sample(index)
        none = np.zeros((0, 4))
        return replace(sample, boxes=none, labels=np.zeros(0, np.int64), area=np.zeros(0), masks=None,
                       crowd_boxes=none)

    @property
    def class_names(self):
        """Names of the values 0, 1, ...; None where nobody has told how many there are."""
        if self._names is not None:
            return self._names
        source = self._semantic
        if source == "instances":
            return [BACKGROUND, *self.category_names]
        if hasattr(source, "names"):
            return [BACKGROUND, *source.names]
        return None if source.classes is None else [str(value) for value in range(source.classes)]

    @property
    def categories(self):
        """[{"id": value, "name"}, ...] of the values 0, 1, ... of label maps; empty where nobody has told them."""
        return [{"id": value, "name": name} for value, name in enumerate(self.class_names or ())]


def _refuse_unread(records, folder):
    """Open the first image whose header could not be read, for the error that says why."""
    for record in records:
        if "height" not in record:
            open_image(Path(folder) / record["file_name"])

