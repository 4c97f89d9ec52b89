"""`roikit predict`: objects on images."""

import click

import roikit
from roikit.commands.arguments import source
from roikit.commands.stopping import Failures, terminated_as_interrupted

__all__ = ["predict"]


@click.command()
@click.argument("source", callback=source)
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--out", type=click.Path(file_okay=False), default="predictions",
              show_default=True, help="Folder for the overlays and predictions.json.")
@click.option("--score-threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1))
@click.option("--max-detections", type=click.IntRange(1), help="Detections an image.")
@click.option("--device", default="auto", show_default=True)
@click.option("--boxes/--no-boxes", default=True, show_default=True,
              help="Whether to draw boxes around masks.")
@click.option("--overlays/--no-overlays", default=True, show_default=True,
              help="Whether to write pictures.")
def predict(source, images, out, score_threshold, max_detections, device, boxes, overlays):
    """Find objects, or classes of pixels, on IMAGES (files, or folders with the folders in them) with a trained model.

    SOURCE is a checkpoint, exported weights, the folder of a run, or a published name (`roikit zoo` lists them), whose
    weights are downloaded the first time. Images that cannot be read are named and the others are gone on with; it then
    ends with status 1.
    """
    failed = Failures()

    def tell(path, found):
        what = "objects" if all("score" in result for result in found) else "classes"
        click.echo(f"{click.format_filename(path)}: {len(found)} {what}")

    with terminated_as_interrupted():
        roikit.predict(source, list(images), out=out, score_threshold=score_threshold,
                       max_detections=max_detections, device=device, boxes=boxes, overlays=overlays,
                       on_image=tell, on_error=failed)
    click.echo(f"{out}: predictions.json" + (" and overlays" if overlays else ""))
    failed.end()
