"""`roikit export`: a model as an ONNX file."""

import click

from roikit.commands.arguments import Place, source
from roikit.commands.memory import keeps_memory

__all__ = ["export"]


@click.command()
@click.argument("source", callback=source)
@click.argument("path", type=click.Path(dir_okay=False), metavar="FILE.onnx")
@click.option("--image", required=True, type=Place(exists=True, dir_okay=False),
              help="An image of the size that the file is to take; the two are compared on it.")
@click.option("--any-size", is_flag=True, help="Take images of any size, as they are, instead of resizing.")
@click.option("--masks", "mask_format", type=click.Choice(["soft", "bool"]), default="soft", show_default=True)
@click.option("--score-threshold", type=click.FloatRange(0, 1), help="Default: as trained.")
@click.option("--opset", type=click.IntRange(18), help="Default: the one that torch recommends.")
@keeps_memory
def export(source, path, **options):
    """Write a trained model as an ONNX file.

    SOURCE is as for `roikit eval`. Needs onnx and onnxscript; with onnxruntime the file is compared with the model.
    """
    from roikit.trainer import export_onnx

    click.echo(export_onnx(source, path, **options).text())
