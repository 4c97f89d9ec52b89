"""`roikit quantize`: a trained model for 8-bit integers."""

import contextlib

import click

from roikit.commands.arguments import Place, source
from roikit.commands.memory import keeps_memory
from roikit.commands.stopping import Failures

__all__ = ["quantize"]


@click.command()
@click.argument("source", callback=source)
@click.option("--images", multiple=True, required=True, type=Place(),
              help="Pictures such as are to come: files, folders, patterns, lists. May be given several times.")
@click.option("--most", default=64, show_default=True, type=click.IntRange(1),
              help="Pictures to look at, evenly spread over those given.")
@click.option("--upright/--as-stored", default=True, show_default=True,
              help="Whether to turn photographs as EXIF says.")
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger images; default: 178956970.")
@keeps_memory
def quantize(source, images, **options):
    """Calibrate a trained model for 8-bit integers, with which `predict --int8` and `eval --int8` run it.

    SOURCE is a checkpoint, exported weights, the folder of a run, or a published name. The ranges that its maps lie in
    are written beside the weights (best.int8.json beside best.pt). Images that cannot be read are named and the others
    are gone on with; it then ends with status 1.
    """
    from roikit.trainer import quantize
    from roikit.trainer.image_progress import ImageProgress

    progress = ImageProgress()
    failed = Failures(progress.say)
    with contextlib.closing(progress):
        path = quantize(source, list(images), on_error=failed, progress=progress, **options)
    click.echo(f"{click.format_filename(path)}: the ranges of {progress.text()}")
    failed.end()
