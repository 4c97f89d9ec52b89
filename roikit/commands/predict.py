"""`roikit predict`: objects on images."""

import contextlib

import click

import roikit
from roikit.commands.arguments import Place, numbers, source, words
from roikit.commands.memory import keeps_memory
from roikit.commands.processes import among_processes, goes_on, is_first
from roikit.commands.stopping import Failures, terminated_as_interrupted

__all__ = ["predict"]


@click.command()
@click.argument("source", callback=source)
@click.argument("images", nargs=-1, required=True, type=Place())
@click.option("--out", type=Place(file_okay=False), default="predictions", show_default=True,
              help="Folder for what is written.")
@click.option("--resume", is_flag=True,
              help="Go on with what --out has: images that it lacks, or lacks a file of, are looked at.")
@click.option("--write", callback=words, metavar="WHAT,...",
              help="Any of overlays, coco (predictions.json), csv (objects.csv: class, score, box, area, perimeter, "
                   "equivalent diameter), instances (label images), yolo, labelme (annotations).  "
                   "[default: overlays,coco]")
@click.option("--pixel-size", type=click.FloatRange(0, min_open=True), metavar="LENGTH",
              help="Length of a pixel's side, in whose unit objects.csv measures.")
@click.option("--score-threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1))
@click.option("--max-detections", type=click.IntRange(1), help="Detections an image.")
@click.option("--tile", type=click.IntRange(1), metavar="PIXELS",
              help="Look at images in tiles of this side, for images larger than the network is to see at once.")
@click.option("--overlap", type=click.IntRange(0), metavar="PIXELS",
              help="What neighbouring tiles have in common; default: 128, or a quarter of tiles below 512.")
@click.option("--tta-flips", callback=words, metavar="horizontal,vertical,both",
              help="Look at images mirrored as well, and put together what all views show.")
@click.option("--tta-scales", callback=numbers, metavar="0.8,1,1.25",
              help="Look at images at several sizes, factors of the network's, and put together what all views show.")
@click.option("--device", default="auto", show_default=True)
@click.option("--prepared/--plain", "prepare", default=True, show_default=True,
              help="On a CPU, whether to prepare the model for speed; results differ in last digits.")
@click.option("--int8", is_flag=True,
              help="On a CPU, run the model on 8-bit integers, as `roikit quantize` has prepared it.")
@click.option("--boxes/--no-boxes", default=True, show_default=True, help="Whether to draw boxes around masks.")
@click.option("--overlays/--no-overlays", default=True, show_default=True,
              help="Whether to write pictures, where --write does not say so.")
@click.option("--upright/--as-stored", default=True, show_default=True,
              help="Whether to turn photographs as EXIF says; pixels as stored are those of a data set's annotations.")
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger images; default: 178956970.")
@keeps_memory
def predict(source, images, out, resume, **options):
    """Find objects, or classes of pixels, on IMAGES with a trained model.

    SOURCE is a checkpoint, exported weights, the folder of a run, or a published name (`roikit zoo` lists them), whose
    weights are downloaded the first time. IMAGES are files, folders with the folders in them, patterns in quotes
    ('photos/**/*.jpg'), or text files (.txt) with a path on each line. Images that cannot be read are named and the
    others are gone on with; it then ends with status 1. What was found is kept whatever ends it, and --resume goes on.
    Under torchrun the processes share the images: `torchrun --nproc-per-node 2 -m roikit predict ...`.
    """
    from roikit.trainer.image_progress import ImageProgress
    from roikit.trainer.parts import JOURNAL

    progress = ImageProgress()
    failed = Failures(progress.say)

    def tell(path, found):
        what = "objects" if all("score" in result for result in found) else "classes"
        click.echo(f"{click.format_filename(path)}: {len(found)} {what}")

    with terminated_as_interrupted(), contextlib.closing(progress), among_processes() as process:
        progress.show(is_first(process))
        roikit.predict(source, list(images), out=out, on_image=None if progress.is_terminal else tell, on_error=failed,
                       progress=progress, process=process, resume=resume or process is not None and goes_on(),
                       **options)
        failed.add_those_of_others(process)
    if is_first(process):
        click.echo(f"{out}: {progress.text()}; {JOURNAL} and what is made of it")
        failed.end()
