"""The command line. Each command is a thin face of a function of roikit."""

import contextlib
import json
import signal
import sys
import warnings
from pathlib import Path

import click

import roikit
from roikit.errors import BackendError, RoikitWarning
from roikit.trainer.sentences import out_of_memory, sentence_about, sentence_of

__all__ = ["main"]


class _Group(click.Group):
    """Turns the errors that a user can mend into one line; --traceback shows where they arose."""

    def invoke(self, ctx):
        if ctx.params["traceback"]:
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            click.echo(str(stop) or "stopped", err=True)
            sys.exit(130)
        except BrokenPipeError:
            raise  # click ends in silence where the reader of its output has gone
        except (ValueError, OSError, ImportError, ArithmeticError, BackendError) as error:
            raise click.ClickException(sentence_of(error)) from error
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise click.ClickException(sentence_of(error)) from error


def _warned(message, category, filename, lineno, file=None, line=None):
    if issubclass(category, RoikitWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        click.echo(warnings.formatwarning(message, category, filename, lineno, line), err=True,
                   nl=False)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show where an error arose.")
@click.version_option(roikit.__version__, prog_name="roikit")
def main(traceback):
    """Region-detection kernels and the detectors made of them."""
    warnings.showwarning = _warned


@main.command()
def info():
    """Print how this roikit was built and what it finds here."""
    roikit.show_config()


@main.command()
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


@main.command()
@click.argument("words", nargs=-1, metavar="[PRESET_OR_YAML] [dotted.key=value ...]")
@click.option("--out", type=click.Path(file_okay=False),
              help="Folder of the run; default runs/NAME, numbered if it exists.")
@click.option("--resume", is_flag=True,
              help="Go on from the last checkpoint in --out; start where there is none.")
@click.option("--show-config", is_flag=True, help="Print the whole configuration and stop.")
def train(words, out, resume, show_config):
    """Train a detector, or a segmenter.

    PRESET_OR_YAML is a preset (`roikit presets` lists them) or a YAML file; words with "=" put
    values in, say `optimizer.lr=0.01 schedule.steps=500 data.train.images=path`. With --resume it
    may be left out. Under torchrun: `torchrun --nproc-per-node 2 -m roikit train ...`.

    What fails beside the training itself (an evaluation, a picture) is told, and it then ends with status 1.
    """
    names = [w for w in words if "=" not in w or Path(w).is_file()]
    overrides = [w for w in words if w not in names]
    if len(names) > 1:
        raise click.UsageError(f"one preset or YAML file, got {', '.join(names)}")
    if not names and not resume:
        raise click.UsageError("name a preset or a YAML file; `roikit presets` lists the presets")
    source = names[0] if names else None
    if show_config:
        from roikit.trainer.config import config_text, load_config

        click.echo(config_text(load_config(source or str(Path(out or ".") / "config.yaml"),
                                           overrides)), nl=False)
        return
    from roikit.trainer import IncompleteRun

    try:
        roikit.train(source, overrides, out=out, resume=resume)
    except IncompleteRun as error:
        if click.get_current_context().find_root().params["traceback"]:
            raise
        raise click.ClickException(str(error)) from error


@main.command()
def presets():
    """List the configurations inside the package: name, parameters, what each is."""
    from roikit.trainer.preset_list import list_presets, preset_table

    click.echo(preset_table(list_presets()))


@main.command()
@click.argument("words", nargs=-1, metavar="[FILTER ...]")
def zoo(words):
    """List the weights that others publish, with their AP and licence.

    FILTER is words that name, source, system, data or licence must have, say `mask_rcnn x101` or `detectron2 keypoint`.
    Nothing is downloaded.
    """
    from roikit.models.weights.published import published_table

    click.echo(published_table(" ".join(words)))


def _limits(ctx, param, value):
    if value is None:
        return None
    try:
        return tuple(int(n) for n in value.split(","))
    except ValueError:
        raise click.BadParameter("numbers with commas between, say 1,10,200") from None


def _sigmas(ctx, param, value):
    if value is None:
        return None
    try:
        return tuple(float(n) for n in value.split(","))
    except ValueError:
        raise click.BadParameter("numbers with commas between, say 0.03,0.05") from None


@contextlib.contextmanager
def _terminated_as_interrupted():
    """SIGTERM, which schedulers and containers send, ends the work as Ctrl-C does, so that what was found is kept."""
    def stop(number, frame):
        raise KeyboardInterrupt("terminated")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Failures:
    """Names each file that failed and ends the command with status 1 if there were any."""

    def __init__(self):
        self.count = 0

    def __call__(self, path, error):
        self.count += 1
        click.echo(click.format_filename(sentence_about(path, error)), err=True)

    def end(self):
        if self.count:
            raise click.ClickException(f"{self.count} of the files could not be used; each is named above")


def _source(ctx, param, value):
    """A file or folder that is there, or the name of published weights."""
    if not Path(value).exists():
        from roikit.models.weights.published import find_published

        try:
            find_published(value)
        except ValueError as error:
            raise click.BadParameter(f"{click.format_filename(value)} is no file or folder; {error}") from None
    return value


@main.command("eval")
@click.argument("source", callback=_source)
@click.argument("annotations", type=click.Path(exists=True), required=False)
@click.argument("images", type=click.Path(exists=True, file_okay=False), required=False)
@click.option("--iou-type", "iou_types", multiple=True,
              type=click.Choice(["bbox", "rbox", "segm", "keypoints"]),
              help="May be given several times; default: bbox (rbox of rotated boxes), segm and keypoints where known.")
@click.option("--max-detections", callback=_limits, metavar="1,10,100",
              help="Detections an image; AP counts the last number.")
@click.option("--class-agnostic", is_flag=True, help="Let any category match any other.")
@click.option("--sigmas", callback=_sigmas, metavar="0.03,0.05,...",
              help="A number for each keypoint, where they are not COCO's 17.")
@click.option("--out", type=click.Path(file_okay=False),
              help="Folder for metrics.json and detections.json.")
@click.option("--device", default="auto", show_default=True)
@click.option("--batch-size", default=1, show_default=True, type=click.IntRange(1))
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0))
def evaluate(source, annotations, images, iou_types, max_detections, class_agnostic, sigmas, out, device,
             batch_size, workers):
    """COCO's average precision; of a segmenter, mean IoU and accuracies; of segments, panoptic quality.

    SOURCE is a checkpoint, exported weights, the folder of a run or a published name (`roikit zoo`), whose model is run
    over IMAGES (default: the run's val part); or a COCO results file (.json), which is scored as it is. Images that
    cannot be read are named, and their objects count as missed; it then ends with status 1.
    For a segmenter, ANNOTATIONS may be label maps as for `roikit doctor`. A SOURCE that is a COCO panoptic file or a
    folder of PNG label maps is scored as it is, against ANNOTATIONS of the same kind.
    """
    from roikit.trainer.scores import table

    failed = _Failures()
    metrics = roikit.evaluate(source, annotations, images, iou_types=iou_types or None,
                              max_detections=max_detections, use_cats=not class_agnostic, out=out, device=device,
                              batch_size=batch_size, workers=workers, sigmas=sigmas, on_error=failed)
    speed, _ = metrics.pop("speed", None), metrics.pop("unread", None)
    click.echo(table(metrics))
    if speed is not None:
        parts = ", ".join(f"{name} {1000 * speed[name]:.0f}" for name in ("data", "forward", "post"))
        click.echo(f"ms an image: {parts}; {speed['images_per_second']:.2f} images/s")
    failed.end()


@main.command()
@click.argument("source", callback=_source)
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
    failed = _Failures()

    def tell(path, found):
        what = "objects" if all("score" in result for result in found) else "classes"
        click.echo(f"{click.format_filename(path)}: {len(found)} {what}")

    with _terminated_as_interrupted():
        roikit.predict(source, list(images), out=out, score_threshold=score_threshold,
                       max_detections=max_detections, device=device, boxes=boxes, overlays=overlays,
                       on_image=tell, on_error=failed)
    click.echo(f"{out}: predictions.json" + (" and overlays" if overlays else ""))
    failed.end()


@main.command()
@click.argument("source", callback=_source)
@click.argument("path", type=click.Path(dir_okay=False))
@click.option("--layout", type=click.Choice(["roikit", "torchvision", "detectron2"]), default="roikit",
              show_default=True, help="Whose names and conventions the file is to have.")
@click.option("--model", metavar="NAME", help="What SOURCE is of, where it does not say so itself.")
def convert(source, path, layout, model):
    """Write a model's weights as another library loads them.

    SOURCE is a checkpoint, exported weights, the folder of a run or a published name; with --model a file of weights of
    roikit, torchvision, detectron2 or mmdetection. A .pkl file of detectron2's layout is a pickle of NumPy arrays.
    """
    from roikit.trainer.converting import convert

    found = convert(source, path, layout=layout, model=model)
    click.echo(f"{click.format_filename(path)}: {len(found.state_dict())} tensors in {layout}'s layout")


@main.command()
@click.argument("source", callback=_source)
@click.argument("path", type=click.Path(dir_okay=False), metavar="FILE.onnx")
@click.option("--image", required=True, type=click.Path(exists=True, dir_okay=False),
              help="An image of the size that the file is to take; the two are compared on it.")
@click.option("--any-size", is_flag=True, help="Take images of any size, as they are, instead of resizing.")
@click.option("--masks", "mask_format", type=click.Choice(["soft", "bool"]), default="soft", show_default=True)
@click.option("--score-threshold", type=click.FloatRange(0, 1), help="Default: as trained.")
@click.option("--opset", type=click.IntRange(18), help="Default: the one that torch recommends.")
def export(source, path, **options):
    """Write a trained model as an ONNX file.

    SOURCE is as for `roikit eval`. Needs onnx and onnxscript; with onnxruntime the file is compared with the model.
    """
    from roikit.trainer import export_onnx

    click.echo(export_onnx(source, path, **options).text())


def _thread_counts(ctx, param, value):
    counts = _limits(ctx, param, value)
    if counts is not None and min(counts) < 1:
        raise click.BadParameter("numbers of threads are 1 or more")
    return counts


@main.command()
@click.argument("ops", nargs=-1, metavar="[OP ...]")
@click.option("--threads", callback=_thread_counts, metavar="1,2",
              help="Numbers of threads to take the table at; default: torch's.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write the rows to this file too.")
@click.option("--chart", "chart_path", type=click.Path(dir_okay=False),
              help="Write a bar chart (PNG); needs matplotlib.")
@click.option("--torchvision-ops", type=click.Path(exists=True, dir_okay=False),
              help="Library that registers torchvision's operators, where its own binary does not load.")
@click.option("--quick", is_flag=True, help="The standard works only, and fewer runs of each.")
@click.option("--scaling", is_flag=True,
              help="Follow time and peak memory as works grow: 8 minutes, 1 with --quick; --chart writes a PNG an op.")
def bench(ops, threads, device, json_path, chart_path, torchvision_ops, quick, scaling):
    """Time the ops beside every peer that is installed.

    OP is a page of docs/ops, say `nms` or `roi_align`; without any, all of them. The peers are torchvision,
    detectron2, mmcv and pycocotools. Ends with status 1 if a work fails.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ImportError("roikit bench needs torch") from None
    from roikit.bench import run, run_scaling

    given = {"threads": threads, "quick": quick, "torchvision_ops": torchvision_ops, "json_path": json_path,
             "chart_path": chart_path, "say": click.echo}
    if scaling:
        if device != "cpu":
            raise ValueError(f"bench: --scaling follows the CPU's ops, got --device {device}")
        # A peer that fails ends its curve and no more.
        sys.exit(any("failed" in end and end["rival"] == "roikit" for end in run_scaling(ops, **given)["ends"]))
    sys.exit(any("failed" in row for row in run(ops, device=device, **given)["rows"]))


@main.command()
@click.argument("function", required=False, metavar="[MODULE:FUNCTION]")
@click.option("--op", help="The op that the function claims to be, say nms or roi_align.")
@click.option("--self", "own", is_flag=True, help="Check roikit's own kernels and ops instead.")
@click.option("--cases", type=click.IntRange(1), help="Cases a function; default 10000, and 1000 with --self.")
@click.option("--arrays", type=click.Choice(["auto", "torch", "numpy"]), default="auto", show_default=True,
              help="What the function takes; auto finds out by trying.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--seed", default=0, show_default=True, help="The same seed draws the same cases.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write the report to this file too.")
def verify(function, op, own, cases, arrays, device, seed, json_path):
    """Compare a function with the reference and say which convention it follows.

    MODULE:FUNCTION takes torch tensors or NumPy arrays in the order of roikit's op. Needs hypothesis. Ends with status
    0 if it agrees, 1 if it differs, 2 if it could not be checked.
    """
    if own == (function is not None) or own == (op is not None):
        raise click.UsageError("give MODULE:FUNCTION and --op NAME, or --self alone")
    try:
        from roikit.testing import check, check_floors

        if own:
            reports = check_floors(cases=cases or 1_000, device=device, seed=seed, say=lambda r: click.echo(r.line()))
            for report in reports:
                if not report.agrees:
                    click.echo("\n" + report.text())
        else:
            reports = [check(function, op, cases=cases or 10_000, arrays=arrays, device=device, seed=seed)]
            click.echo(reports[0].text())
    except (ImportError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    if json_path:
        found = [report.as_dict() for report in reports]
        try:
            Path(json_path).write_text(json.dumps(found if own else found[0], indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"verify: cannot write {json_path}: {error.strerror}") from error
    sys.exit(0 if all(report.agrees for report in reports) else 1)


if __name__ == "__main__":
    main()
