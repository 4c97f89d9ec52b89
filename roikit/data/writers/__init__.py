"""Annotations in other layouts than COCO's file.

Each layout has a file of its own with ``write_image(folder, record, objects, categories)``, which writes what one image
has and gives the number of objects that the layout has no way to say, and ``close(folder, records, categories)``, which
writes what is of all images. What all have in common is here: the layout of a whole data set, with its images.
"""

import os
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

from roikit.data.records import names_of
from roikit.data.remote import local_path
from roikit.data.writers import label_images, labelme, mask_images, voc, yolo
from roikit.errors import naming

__all__ = ["WRITERS", "check_layout", "write_layout"]

WRITERS: dict[str, ModuleType] = {"yolo": yolo, "voc": voc, "labelme": labelme, "label-images": label_images,
                                  "mask-images": mask_images}


def write_layout(layout, content, images, out, *, copy=True):
    """Write a data set in another layout.

    Args:
        layout: name of `WRITERS`.
        content: of `load_annotations`.
        images: folder of the images.
        out: folder to write to; it must be empty, or not there yet.
        copy: whether to copy the images, too.

    Returns:
        Counter of what the layout has no way to say -> how many; see the writers.

    Raises:
        OSError: a file cannot be written, or an image not copied.
        ValueError: the layout is unknown, the folder is not empty, a category is named twice where names alone tell
            categories apart, two images would have one file of annotations, or an annotation is malformed.
    """
    if layout not in WRITERS:
        raise ValueError(f"write_layout: layout must be one of {', '.join(WRITERS)}, got {layout}")
    writer, out = WRITERS[layout], Path(out)
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"write_layout: {os.fspath(out)} must be an empty folder, or none yet")
    categories = sorted(content["categories"], key=lambda c: c["id"])
    categories = [{"id": c["id"], "name": name} for c, name in zip(categories, names_of(categories), strict=True)]
    check_layout(writer, content["images"], categories, "write_layout")
    taken = next((r["file_name"] for r in content["images"] if Path(r["file_name"]).stem.lower() == "classes"), None)
    if writer is yolo and taken is not None:
        raise ValueError(f"write_layout: the file of annotations of {taken} would be classes.txt, which is read as a "
                         "list of names: give the image another name")
    objects, lost = {record["id"]: [] for record in content["images"]}, Counter()
    for annotation in content["annotations"]:
        if annotation.get("image_id") in objects:
            objects[annotation["image_id"]].append(annotation)
        else:
            lost["annotation without an image in the list"] += 1
    for record in content["images"]:
        try:
            with naming(out):
                lost.update(writer.write_image(out, record, objects[record["id"]], categories))
        except ValueError as error:
            raise ValueError(f"write_layout: image {record['file_name']}: {error}") from None
        if copy:
            target = out / writer.IMAGES / record["file_name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(local_path(Path(images, record["file_name"])), target)
    with naming(out):
        writer.close(out, content["images"], categories)
    return +lost


def check_layout(writer, records, categories, who):
    """Refuse what files of a layout would not tell apart.

    Args:
        writer: of `WRITERS`.
        records: dicts with the ``file_name`` of the images.
        categories: dicts with a ``name``.
        who: what the sentence begins with.

    Raises:
        ValueError: two categories are named alike where names alone tell them apart, or one has no name where a layout
            needs it; an image lies outside its folder;
            or two would have one file of annotations.
    """
    names = [writer.AS_READ(c["name"]) for c in categories]
    if writer.AS_READ is not str and "" in names:
        raise ValueError(f"{who}: a category has no name, which the layout needs")
    if writer.BY_NAME and len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise ValueError(f"{who}: two categories are named {twice}, and the layout tells them apart by names")
    stems = {}
    for record in records:
        stem = Path(record["file_name"]).with_suffix("").as_posix()
        if Path(stem).is_absolute() or ".." in Path(stem).parts:
            raise ValueError(f"{who}: file_name must be a path below the folder of the images, got "
                             f"{record['file_name']}")
        if stem in stems:
            raise ValueError(f"{who}: the images {stems[stem]} and {record['file_name']} would have one file of "
                             "annotations, which is called as the image without its ending")
        stems[stem] = record["file_name"]
