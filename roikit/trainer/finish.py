"""What a finished run leaves beside its weights."""

from roikit.data.segmentation import encode
from roikit.trainer.draw import display_image, draw_objects, sample_objects, save_png, side_by_side
from roikit.trainer.evaluation import write_metrics
from roikit.trainer.records import draw_curves, read_records
from roikit.trainer.report import Report, write_page
from roikit.trainer.report.training import curves_of, facts_of

__all__ = ["detection_sheet", "write"]


def write(out, state, config, val, judged, done, failures):
    """Write ``metrics.json``, what was found, the curves, the pictures and the report, each whatever becomes of the
    others.

    Args:
        out: the run's folder.
        state: ``TrainState`` at the end.
        val: ``Validation`` or another task's, or None.
        judged: None, or {"scores", "speed", "results"} of the last evaluation.
        done: {"steps", "seconds", "images"} of the training.
        failures: ``Failures``, which takes in what cannot be written.

    Returns:
        what is in ``metrics.json``.
    """
    metrics = {"step": state.step, "best": state.best, "training": done}
    if judged is not None:
        metrics |= {**judged["scores"], "speed": judged["speed"]}
    failures.attempt("metrics.json", write_metrics, out, metrics)
    failures.attempt("curves.png", lambda: draw_curves(read_records(out / "log.jsonl"), out / "curves.png"))
    if judged is not None:
        failures.attempt(val.written, val.write, out, judged["results"])
        taken = set()
        for index in range(min(config.run.predictions, len(val.dataset))):
            failures.attempt("predictions", _draw, out / "predictions", config, val, index, judged["results"], taken)
        val.warn(judged)
    if config.run.report:
        failures.attempt("report.html", _report, out, state, config, val, judged, done)
    return metrics


def _report(out, state, config, val, judged, done):
    words = {"title": config.run.name, "facts": facts_of(config, state, done),
             "curves": curves_of(read_records(out / "log.jsonl"))}
    if judged is None:
        write_page(out / "report.html", Report(**words))
    else:
        val.report(out, judged, config, **words)


def _draw(folder, config, val, index, results, taken):
    """A val image with the truth beside what was found, under a name that is not ``taken``."""
    folder.mkdir(exist_ok=True)
    sheet = val.sheet(index, results, config)
    name = val.dataset.image_path(index).stem
    name = f"{name}-{val.dataset.image_ids[index]}" if name in taken else name
    taken.add(name)
    save_png(folder / f"{name}.png", sheet)


def detection_sheet(val, index, results, config):
    """The index-th val image with the detections that are sure enough, beside it with the annotations."""
    dataset, image_id = val.dataset, val.dataset.image_ids[index]
    found = [r for r in results if r["image_id"] == image_id
             and r["score"] >= config.run.score_threshold]
    sample = dataset.sample(index)
    image, known = display_image(sample.image), _objects(sample, dataset)
    rotated = any("rbox" in item for item in known)  # an upright box says no more than the mask in it
    return side_by_side(
        [draw_objects(image, found, val.names, skeletons=val.skeletons),
         draw_objects(image, known, val.names, boxes=rotated, skeletons=val.skeletons)],
        [f"predicted: {len(found)} with score >= {config.run.score_threshold:g}",
         f"annotated: {len(known)}"])


def _objects(sample, dataset):
    """The objects of a sample as COCO annotations: what the data set made of the file, however that may look."""
    masks = None if sample.masks is None else [encode(mask, *sample.size) for mask in sample.masks]
    return sample_objects(sample, dataset.category_ids, dataset.rotated_boxes(sample, masks))
