"""`roikit doctor`: looks at a data set."""

import sys

import click

__all__ = ["doctor"]


@click.command()
@click.argument("annotations", type=click.Path(exists=True))
@click.argument("images", type=click.Path(exists=True, file_okay=False))
@click.option("--pixels", is_flag=True, help="Decode every image, not only those that seem to be cut off.")
@click.option("--semantic", type=click.Path(exists=True),
              help="Folder of PNG label maps, or COCO panoptic file, to look at as well.")
@click.option("--semantic-classes", type=click.IntRange(1, 255), metavar="N",
              help="Call labels of such a folder unknown from N on, but for 255.")
def doctor(annotations, images, pixels, semantic, semantic_classes):
    """Inspect a COCO data set: ANNOTATIONS (JSON) and the folder of its IMAGES.

    ANNOTATIONS may be a folder of DOTA's text files, or YOLO's for oriented boxes; or label maps: a folder of PNG
    files, or a COCO panoptic file; all are looked at then. Ends with status 1 if something makes training impossible.
    """
    from roikit.data import inspect_dataset, inspect_semantic
    from roikit.data.semantic_dataset import is_semantic_source

    if semantic is None and is_semantic_source(annotations):
        report = inspect_semantic(images, None, annotations, classes=semantic_classes, check_pixels=pixels)
    else:
        report = inspect_dataset(annotations, images, check_pixels=pixels, semantic=semantic,
                                 semantic_classes=semantic_classes)
    click.echo(report.text())
    sys.exit(1 if report.fatal else 0)
