"""`roikit convert-data`: a data set in another layout."""

import click

from roikit.commands.arguments import Place

__all__ = ["convert_data"]


@click.command("convert-data")
@click.argument("source", type=Place(exists=True))
@click.argument("out", type=click.Path())
@click.option("--to", "layout", default="coco", show_default=True,
              type=click.Choice(["coco", "yolo", "voc", "labelme", "label-images", "mask-images"]),
              help="Layout to write: coco is a file, each other a folder.")
@click.option("--part", type=click.Choice(["train", "val", "test"]),
              help="Take this part alone; default: all together.")
@click.option("--images", type=Place(exists=True, file_okay=False),
              help="Folder of the images, where they are not beside the annotations.")
@click.option("--copy/--no-copy", default=True, show_default=True, help="Whether a folder gets copies of the images.")
def convert_data(source, out, layout, part, images, copy):
    """Write a data set as a COCO file, or in another layout.

    SOURCE is a COCO file, a folder of COCO, YOLO, DOTA, Pascal VOC, labelme, CVAT or label images, or such a file; OUT
    is a JSON file, with --to a folder, which must be empty or not there yet.
    """
    from roikit.data.conversion import convert_data

    click.echo(convert_data(source, out, layout=layout, part=part, images=images, copy=copy).text())
