"""The parts of a data set: where its training, validation and test images are told apart."""

import os
from pathlib import Path

from roikit.data.layouts.yolo_names import read_yaml, yaml_of
from roikit.data.remote import local_path

__all__ = ["PARTS", "parts_of"]

PARTS = ("train", "val", "test")
_NAMES = {"train": ("train", "training", "train2017"), "val": ("val", "valid", "validation", "val2017", "dev"),
          "test": ("test", "testing", "test2017")}


def parts_of(path):
    """The parts of a folder, or of the YAML file of a YOLO data set.

    Told apart are the folders of ``data.yaml``; folders ``train``, ``val`` or ``valid`` and ``test``, or those in
    ``labels``; the files ``annotations/instances_*.json`` of COCO; and the lists of ``ImageSets`` of VOC.

    Returns:
        dict "train", "val", "test" -> list of paths, each the annotations or the folder of both; those that are there.

    Raises:
        OSError, ImportError, ValueError: the YAML file cannot be read, or names nothing that is there.
    """
    path = Path(local_path(path))
    if path.is_file():
        if path.suffix.lower() not in (".yaml", ".yml"):
            return {}
        if found := _of_yaml(path):
            return found
        named = {part: read_yaml(path).get(part) for part in PARTS}
        raise FileNotFoundError(f"{path} names no folder or list of images that is there: "
                                f"{', '.join(f'{part}: {name}' for part, name in named.items() if name) or 'no part'}")
    found = yaml_of(path)
    return (_of_yaml(found) if found is not None else {}) or _of_lists(path) or _of_files(path) or _of_folders(
        path / "labels") or _of_folders(path)


def _of_folders(folder):
    found = {part: [folder / name for name in names if _holds_something(folder / name)]
             for part, names in _NAMES.items()}
    return {part: paths[:1] for part, paths in found.items() if paths}


def _holds_something(folder):
    """Whether a folder has annotations, as other files than pictures are, or pictures of masks beside images."""
    if not folder.is_dir():
        return False
    names = {name.lower() for name in os.listdir(folder)}
    if names & {"images", "labels", "masks", "annotations"}:
        return True
    return any(name.endswith((".json", ".xml", ".txt")) or "_mask" in name for name in names)


def _of_files(path):
    """COCO's files by their names."""
    folders = [folder for folder in (path / "annotations", path) if folder.is_dir()]
    for folder in folders:
        found = {}
        for file in sorted(folder.glob("*.json")):
            words = file.stem.lower().replace("-", "_").split("_")
            for part, names in _NAMES.items():
                if words[-1] in names and words[0] not in ("captions", "person", "panoptic", "stuff", "image"):
                    found.setdefault(part, [file])
        if len(found) > 1:
            return found
    return {}


def _of_lists(path):
    """VOC's lists, those of images with masks where there are masks."""
    kinds = ("Segmentation", "Main") if (path / "SegmentationObject").is_dir() else ("Main",)
    for kind in kinds:
        folder = path / "ImageSets" / kind
        found = {part: [folder / f"{part}.txt"] for part in PARTS if (folder / f"{part}.txt").is_file()}
        if len(found) > 1:
            return found
    return {}


def _of_yaml(path):
    content = read_yaml(path)
    root = content.get("path")
    found = {}
    for part, keys in (("train", ("train",)), ("val", ("val", "valid")), ("test", ("test",))):
        named = next((content[key] for key in keys if content.get(key)), None)
        paths = [_placed(path, root, str(one)) for one in (named if isinstance(named, list) else [named]) if one]
        paths = [one for one in paths if one is not None]
        if paths:
            found[part] = [_labels_of(one) for one in paths]
    return found


def _placed(path, root, name):
    """Where what a YAML file names is: below its root, beside the file, or what is left of another machine's path."""
    places = [path.parent / name] if root is None else [path.parent / str(root) / name, path.parent / name]
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    places += [path.parent.joinpath(*parts[first:]) for first in range(len(parts))]
    return next((Path(os.path.normpath(place)) for place in places if place.exists()), None)


def _labels_of(images):
    """The folder of text files that belongs to one of images; a list of images as it is."""
    if images.is_file():
        return images
    parts = list(images.parts)
    places = [k for k, part in enumerate(parts) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
        if Path(*parts).is_dir():
            return Path(*parts)
    return images / "labels" if (images / "labels").is_dir() else images
