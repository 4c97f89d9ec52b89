"""Ready maps against annotated ones: panoptic files by their quality, folders of label maps by their classes of pixels.

Torch is not needed here.
"""

import os
import warnings
from pathlib import Path

import numpy as np

from roikit.data.findings import counted
from roikit.data.images import open_image, read_labels
from roikit.data.layouts.json_files import read_json
from roikit.data.remote import local_path
from roikit.data.semantic import IGNORED, LabelFolder, PanopticFile
from roikit.errors import RoikitWarning
from roikit.trainer.categories import pair_categories
from roikit.trainer.file_names import pair_file_names
from roikit.trainer.panoptic_scores import PanopticTally, figures_of
from roikit.trainer.pixel_scores import confusion, pixel_scores

__all__ = ["evaluate_maps", "is_label_folder", "is_panoptic", "panoptic_quality", "pixel_quality"]


def is_panoptic(content):
    """Whether what a JSON file holds is that of a COCO panoptic file."""
    records = content.get("annotations") if isinstance(content, dict) else None
    return isinstance(records, list) and bool(records) and all(
        isinstance(record, dict) and "segments_info" in record for record in records[:1])


def is_label_folder(path):
    """Whether a path is a folder with PNG files, and not the folder of a run."""
    if not os.path.isdir(path) or any(Path(path, name).exists() for name in (
            "config.yaml", "best.pt", "last.pt", "model.safetensors")):
        return False
    return next(Path(path).rglob("*.png"), None) is not None


def evaluate_maps(source, annotations, images, **options):
    """``evaluate`` of ready maps, a panoptic file or a folder of label maps.

    Args:
        source, annotations: both panoptic files, or both folders.
        images: None.
        **options: those of detections, by name; None where they are not given.

    Raises:
        OSError, ValueError: an option is given that maps do not have, or as the two functions here.
    """
    source, annotations = local_path(source), local_path(annotations)
    what = "a folder of label maps" if os.path.isdir(source) else "a panoptic file"
    if annotations is None:
        raise ValueError(f"evaluate: annotations must be given to score {what}")
    for name, value in {"images": images, **options}.items():
        if value is not None:
            raise ValueError(f"evaluate: {name} is not for ready maps, and {source} is {what}")
    fits = os.path.isdir(annotations) if os.path.isdir(source) else (
        os.path.isfile(annotations) and is_panoptic(read_json(annotations)))
    if not fits:
        raise ValueError(f"evaluate: {source} is {what}, and so must the annotations be; {annotations} is not")
    if os.path.isdir(source):
        return {"semantic": pixel_quality(source, annotations)}
    return {"panoptic": panoptic_quality(source, annotations)}


def panoptic_quality(found, annotations):
    """PQ, SQ and RQ of a COCO panoptic file.

    Images are paired by file name where both files name them, else by id; categories by name where both have names,
    else by id. Where the two lists of categories differ a RoikitWarning says so; segments of a category that the
    annotations do not have count as void. On an image of which nothing is listed everything is missed, with a
    RoikitWarning.

    Args:
        found: path of what was found: a JSON file, and the PNG files in the folder beside it of the same name. It may
            have no ``images`` and no ``categories``, as COCO's format of results: ids are then the annotations'.
        annotations: path of the truth, likewise, with ``images`` and ``categories``.

    Returns:
        dict, as ``figures_of``: ``PQ``, ``SQ``, ``RQ``, the same ``_things`` and ``_stuff``, ``per_class``.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is no panoptic file, lists a segment or an image twice or a category that is unknown; a PNG
            file has another size than the annotated image, a segment that is not listed, or lacks one that is; no image
            or no category is in both. The text names the file.

    Source: Kirillov et al. 2019, arXiv:1801.00868, section 4; void and crowds as in COCO's panopticapi.
    """
    content = read_json(annotations)
    truth = PanopticFile(annotations)
    ours = PanopticFile(found, content["categories"])
    categories = _categories(ours, truth)
    partner = _images(read_json(found), ours, content, truth)
    sizes = {record["id"]: (record.get("height"), record.get("width")) for record in _records(content)}
    tally, covered = PanopticTally(len(truth.names)), []
    for image in truth.image_ids:
        size = sizes.get(image, (None, None))
        if not all(isinstance(n, int) for n in size):
            header = open_image(truth.file(image, None))
            size = header.height, header.width
        there = _whole(truth, image, size, covered)
        listed = [{"id": s["id"], "category": s["label"], "iscrowd": s["iscrowd"]} for s in truth.segments(image)]
        other = partner.get(image)
        if other is None:
            tally.add(np.zeros_like(there), [], there, listed)
            continue
        here = _whole(ours, other, size, covered)
        tally.add(here, [{"id": s["id"], "category": categories[s["label"]]} for s in ours.segments(other)], there,
                  listed)
    if covered:
        warnings.warn(f"evaluate: {counted(len(covered), 'segment')} of other areas than listed; the first: "
                      f"{covered[0]}", RoikitWarning, stacklevel=2)
    return figures_of(tally, truth.names, truth.things)


def _whole(file, image, size, covered):
    """The ids of an image that the JSON file and the PNG file agree on; areas that differ are noted in ``covered``."""
    ids, path = file.read_ids(image, *size)
    for kind, sentence in file.faults_of(ids, path, image):
        if kind != "segment-area":
            raise ValueError(f"evaluate: {sentence}")
        covered.append(sentence)
    return ids


def _categories(ours, truth):
    """Of each of our labels, from 1, the truth's, or None; of label 0 None."""
    pairing = pair_categories(*([{"id": i, "name": name} for i, name in zip(file.category_ids, file.names, strict=True)]
                                for file in (ours, truth)), sides=("the results", "the annotations"))
    if all(i is None for i in pairing.ids):
        raise ValueError(f"evaluate: the results and the annotations have no category in common: {pairing.text()}")
    if pairing.differ:
        warnings.warn(f"evaluate: {pairing.text()}", RoikitWarning, stacklevel=3)
    return [None, *(None if i is None else truth.category_ids.index(i) + 1 for i in pairing.ids)]


def _images(content, ours, annotated, truth):
    """The truth's image id -> ours, of the images that both list."""
    named, theirs = _file_names(content, ours), _file_names(annotated, truth)
    if named is None or theirs is None:
        pairs = {image: image for image in ours.image_ids}
    else:
        id_of = pair_file_names(list(named), {image: name for name, image in theirs.items()})
        pairs = {id_of[name]: image for name, image in named.items() if name in id_of}
    known = set(truth.image_ids)
    both = {image: own for image, own in pairs.items() if image in known}
    strange = set(ours.image_ids) - set(both.values())
    if strange:
        text = f"{counted(len(strange), 'image')} of {ours.folder}.json not in the annotations, among them image " \
               f"{min(strange, key=str)}"
        if not both:
            raise ValueError(f"evaluate: {text}")
        warnings.warn(f"evaluate: left out {text}", RoikitWarning, stacklevel=3)
    if len(both) < len(known):
        first = min(known - both.keys(), key=str)
        warnings.warn(f"evaluate: of {len(known) - len(both)} of {len(known)} annotated images {ours.folder}.json "
                      f"lists nothing, image {first} among them; their segments count as missed", RoikitWarning,
                      stacklevel=3)
    return both


def _file_names(content, file):
    """File name -> image id of the images that a panoptic file lists; None where one of them has no name of its own."""
    known = set(file.image_ids)
    names = {record["file_name"]: record["id"] for record in _records(content)
             if isinstance(record.get("file_name"), str) and record["id"] in known}
    return names if len(names) == len(known) else None


def _records(content):
    """The records of images that have an id."""
    records = content.get("images")
    return [record for record in (records if isinstance(records, list) else ())
            if isinstance(record, dict) and isinstance(record.get("id"), (int, str))]


def pixel_quality(found, annotations):
    """Mean IoU and accuracies of a folder of label maps.

    Args:
        found: folder of PNG label maps, 8-bit grey or with a palette; a value is the same class as in the annotations,
            255 none.
        annotations: folder of the annotated maps, with the folders in it, called the same; pixels of 255 do not count.

    Returns:
        dict, as ``pixel_scores``: ``mIoU``, ``pixel_accuracy``, ``mean_accuracy``, and ``per_class``, whose names are
        the values 0, 1, ... up to the largest that there is.

    Raises:
        FileNotFoundError: there is no annotated map, or none was found for one.
        OSError, ValueError: a map cannot be read, is in colours, or of another size than annotated; the text names it.

    Source: Long et al. 2015, arXiv:1411.4038, section 5.
    """
    root, reader = Path(local_path(annotations)), LabelFolder(found)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    if not names:
        raise FileNotFoundError(f"evaluate: {annotations} has no PNG label maps")
    matrix = np.zeros((IGNORED, IGNORED + 1), np.int64)
    for name in names:
        truth = read_labels(root / name)
        if not reader.file(None, name).is_file():
            raise FileNotFoundError(f"evaluate: {found} has no label map for {root / name}")
        matrix += confusion(reader.labels(None, name, *truth.shape), truth, IGNORED, IGNORED)
    used = np.flatnonzero(matrix.any(1) | matrix[:, :-1].any(0))
    count = int(used[-1]) + 1 if len(used) else 1
    matrix = np.concatenate([matrix[:count, :count], matrix[:count, -1:]], 1)
    return pixel_scores(matrix, range(count))
