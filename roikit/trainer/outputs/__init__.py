"""What a prediction leaves, each kind in a file of its own here, chosen by name.

Some are one file of all objects, made of the journal whenever it is asked for; others are a file an image, which is
there before the image's line is in the journal.
"""

from functools import partial
from pathlib import Path

from roikit.trainer.outputs import label_images, overlays, table
from roikit.trainer.outputs.annotations import Annotations
from roikit.trainer.result_files import write_results

__all__ = ["OUTPUTS", "annotations_of", "check_outputs", "image_writers", "picture_kinds", "whole_files"]

OUTPUTS = ("overlays", "coco", "csv", "instances", "yolo", "labelme")


def check_outputs(names):
    """The names as a tuple.

    Raises:
        ValueError: one is unknown.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    unknown = [str(name) for name in names if name not in OUTPUTS]
    if unknown:
        raise ValueError(f"predict: write must be of {', '.join(OUTPUTS)}, got {', '.join(unknown)}")
    return names


def whole_files(names, categories, pixel_size):
    """Of the chosen outputs, those that are one file: its name -> how it is written, as `ResultFiles` takes them."""
    writers = {"coco": ("predictions.json", write_results),
               "csv": ("objects.csv", partial(table.write_table, categories=categories, pixel_size=pixel_size))}
    return dict(writers[name] for name in names if name in writers)


def picture_kinds(names):
    """Of the chosen outputs, those that are a PNG file an image: what one is called -> the folder that they are in."""
    kinds = {"overlays": ("overlay", ""), "instances": ("label image", "instances")}
    return dict(kinds[name] for name in names if name in kinds)


def annotations_of(names, out, categories):
    """Of the chosen outputs, those that are a layout of annotations: a list of `Annotations`.

    Raises:
        ValueError: a layout cannot tell the categories apart.
    """
    return [Annotations(name, Path(out) / name, categories) for name in names if name in ("yolo", "labelme")]


def image_writers(names, out, prediction, layouts):
    """Of the chosen outputs, those that are a file an image.

    Args:
        out: folder.
        prediction: what a task's ``prediction`` gives.
        layouts: of `annotations_of`.

    Returns:
        list of functions of a `Looked`; where an OSError, MemoryError or ValueError keeps one from writing its file,
        only that file is missing.
    """
    writers = {"overlays": partial(overlays.write_overlay, Path(out), prediction),
               "instances": partial(label_images.write_label_image, Path(out) / "instances"),
               **{layout.name: layout.write for layout in layouts}}
    return [writers[name] for name in names if name in writers]
