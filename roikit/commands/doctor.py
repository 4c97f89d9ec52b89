"""`roikit doctor`: looks at a data set."""

import sys

import click

__all__ = ["doctor"]


@click.command()
@click.argument("annotations", type=click.Path(exists=True))
@click.argument("images", type=click.Path(exists=True, file_okay=False), required=False)
@click.option("--pixels", is_flag=True, help="Decode every image, not only those that seem to be cut off.")
@click.option("--semantic", type=click.Path(exists=True),
              help="Folder of PNG label maps, or COCO panoptic file, to look at as well.")
@click.option("--semantic-classes", type=click.IntRange(1, 255), metavar="N",
              help="Call labels of such a folder unknown from N on, but for 255.")
def doctor(annotations, images, pixels, semantic, semantic_classes):
    """Inspect a data set: ANNOTATIONS and the folder of its IMAGES, which is looked for beside them if not given.

    ANNOTATIONS is a COCO file (JSON), or a file or folder of YOLO, DOTA, Pascal VOC, labelme, CVAT or label images; or
    label maps: a folder of PNG files, or a COCO panoptic file; all are looked at then. Ends with status 1 if something
    makes training impossible.
    """
    from roikit.data import inspect_dataset, inspect_semantic
    from roikit.data.layouts import find_source
    from roikit.data.semantic_dataset import is_semantic_source

    if images is None:
        _, annotations, images = find_source(annotations)
    if semantic is None and is_semantic_source(annotations):
        report = inspect_semantic(images, None, annotations, classes=semantic_classes, check_pixels=pixels)
    else:
        report = inspect_dataset(annotations, images, check_pixels=pixels, semantic=semantic,
                                 semantic_classes=semantic_classes)
    click.echo(report.text())
    sys.exit(1 if report.fatal else 0)
