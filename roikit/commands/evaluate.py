"""`roikit eval`: how good a model or its results are."""

import warnings

import click

import roikit
from roikit.commands.arguments import Place, limits, numbers, source, words
from roikit.commands.memory import keeps_memory
from roikit.commands.processes import among_processes, is_first
from roikit.commands.stopping import Failures
from roikit.errors import RoikitWarning

__all__ = ["evaluate"]


@click.command("eval")
@click.argument("source", callback=source)
@click.argument("annotations", type=Place(exists=True), required=False)
@click.argument("images", type=Place(exists=True, file_okay=False), required=False)
@click.option("--iou-type", "iou_types", multiple=True,
              type=click.Choice(["bbox", "rbox", "segm", "keypoints"]),
              help="May be given several times; default: bbox (rbox of rotated boxes), segm and keypoints where known.")
@click.option("--max-detections", callback=limits, metavar="1,10,100",
              help="Detections an image; AP counts the last number.")
@click.option("--class-agnostic", is_flag=True, help="Let any category match any other.")
@click.option("--sigmas", callback=numbers, metavar="0.03,0.05,...",
              help="A number for each keypoint, where they are not COCO's 17.")
@click.option("--tile", type=click.IntRange(1), metavar="PIXELS",
              help="Look at images in tiles of this side, for images larger than the network is to see at once.")
@click.option("--overlap", type=click.IntRange(0), metavar="PIXELS",
              help="What neighbouring tiles have in common; default: 128, or a quarter of tiles below 512.")
@click.option("--tta-flips", callback=words, metavar="horizontal,vertical,both",
              help="Look at images mirrored as well, and put together what all views show.")
@click.option("--tta-scales", callback=numbers, metavar="0.8,1,1.25",
              help="Look at images at several sizes, factors of the network's, and put together what all views show.")
@click.option("--iou", type=click.FloatRange(0, 1, min_open=True), metavar="0.5",
              help="Overlap from which on an object is found, for the confusions and best scores in analysis.json.")
@click.option("--out", type=Place(file_okay=False),
              help="Folder for metrics.json, analysis.json, report.html and detections.json.")
@click.option("--device", default="auto", show_default=True)
@click.option("--prepared/--plain", "prepare", default=True, show_default=True,
              help="On a CPU, whether to prepare the model for speed; results differ in last digits.")
@click.option("--int8", is_flag=True,
              help="On a CPU, run the model on 8-bit integers, as `roikit quantize` has prepared it.")
@click.option("--batch-size", default=1, show_default=True, type=click.IntRange(1))
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0))
@keeps_memory
def evaluate(source, annotations, images, iou_types, max_detections, class_agnostic, sigmas, tile, overlap, tta_flips,
             tta_scales, iou, out, device, prepare, int8, batch_size, workers):
    """COCO's average precision; of a segmenter, mean IoU and accuracies; of segments, panoptic quality.

    SOURCE is a checkpoint, exported weights, the folder of a run or a published name (`roikit zoo`), whose model is run
    over IMAGES (default: the run's val part); or a COCO results file (.json), which is scored as it is. Images that
    cannot be read are named, and their objects count as missed; it then ends with status 1.
    For a segmenter, ANNOTATIONS may be label maps as for `roikit doctor`. A SOURCE that is a COCO panoptic file or a
    folder of PNG label maps is scored as it is, against ANNOTATIONS of the same kind.
    Under torchrun the processes share the images of a model: `torchrun --nproc-per-node 2 -m roikit eval ...`.
    """
    from roikit.trainer.scores import table

    failed = Failures()
    with among_processes() as process:
        if not is_first(process):
            warnings.simplefilter("ignore", RoikitWarning)  # the first one has the same
        metrics = roikit.evaluate(source, annotations, images, iou_types=iou_types or None,
                                  max_detections=max_detections, use_cats=not class_agnostic, out=out, device=device,
                                  batch_size=batch_size, workers=workers, sigmas=sigmas, tile=tile, overlap=overlap,
                                  tta_flips=tta_flips, tta_scales=tta_scales, iou=iou, prepare=prepare, int8=int8,
                                  process=process, on_error=failed)
        failed.add_those_of_others(process)
    if not is_first(process):
        return
    speed, _ = metrics.pop("speed", None), metrics.pop("unread", None)
    click.echo(table(metrics))
    if speed is not None:
        parts = ", ".join(f"{name} {1000 * speed[name]:.0f}" for name in ("data", "forward", "post"))
        click.echo(f"ms an image: {parts}; {speed['images_per_second']:.2f} images/s")
    failed.end()
