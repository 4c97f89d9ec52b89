"""`roikit doctor`: looks at a data set."""

import os
import sys

import click

from roikit.commands.arguments import Place
from roikit.commands.shown import shown_progress

__all__ = ["doctor"]


@click.command()
@click.argument("annotations", type=Place(exists=True))
@click.argument("images", type=Place(file_okay=False), required=False)
@click.option("--pixels", is_flag=True, help="Decode every image, not only those that seem to be cut off.")
@click.option("--semantic", type=Place(exists=True),
              help="Folder of PNG label maps, or COCO panoptic file, to look at as well.")
@click.option("--semantic-classes", type=click.IntRange(1, 255), metavar="N",
              help="Call labels of such a folder unknown from N on, but for 255.")
@click.option("--beside", nargs=2, type=Place(exists=True), metavar="ANNOTATIONS IMAGES",
              help="Another part of the data set, val say, that must not share images with this one.")
@click.option("--mend", type=click.Path(dir_okay=False), metavar="OUT.json",
              help="Write the annotations there with all that can be mended mended; what is left is reported.")
def doctor(annotations, images, pixels, semantic, semantic_classes, beside, mend):
    """Inspect a data set: ANNOTATIONS and the folder of its IMAGES, which is looked for beside them if not given. Where
    there is no such folder that is an error of the report, and the annotations are looked at alone.

    ANNOTATIONS is a COCO file (JSON), or a file or folder of YOLO, DOTA, Pascal VOC, labelme, CVAT or label images; or
    label maps: a folder of PNG files, or a COCO panoptic file; all are looked at then. Ends with status 1 if something
    makes training impossible.
    """
    from roikit.data import inspect_dataset, inspect_semantic
    from roikit.data.layouts import find_source
    from roikit.data.remote import local_path
    from roikit.data.semantic_dataset import is_semantic_source

    annotations = local_path(annotations)
    if images is None:
        annotations, images = _found(annotations, find_source)
    if mend is not None:
        annotations = _mended(annotations, images, mend)
    if semantic is None and is_semantic_source(annotations):
        report = inspect_semantic(images, None, annotations, classes=semantic_classes, check_pixels=pixels)
    else:
        report = inspect_dataset(annotations, images, check_pixels=pixels, semantic=semantic,
                                 semantic_classes=semantic_classes, beside=beside, progress=shown_progress)
    click.echo(report.text())
    sys.exit(1 if report.fatal else 0)


def _found(source, find_source):
    """The annotations and the images of a source; a file whose images are not beside it is looked at alone."""
    try:
        _, annotations, images = find_source(source)
        return annotations, images
    except FileNotFoundError as error:
        if os.path.isdir(source):
            raise
        click.echo(f"{error}; here the annotations are looked at alone", err=True)
        return source, os.path.join(os.path.dirname(source), "images")


def _mended(annotations, images, out):
    """The path of the mended file, which is written, and what was done is told."""
    from roikit.data.mend import mend_dataset, with_folder, write_annotations

    if os.path.exists(out) and os.path.samefile(annotations, out):
        raise click.UsageError(f"--mend must name another file than the annotations, got {out}")
    content, done = mend_dataset(annotations, images)
    write_annotations(with_folder(content, out, images), out)
    for sentence in done:
        click.echo(f"mended: {sentence}")
    click.echo(f"wrote {out}" if done else f"nothing was to mend; wrote {out}")
    return out
