"""What a finished run leaves beside its checkpoints."""

import json
import warnings

from roikit.errors import RoikitWarning
from roikit.trainer import checkpoint
from roikit.trainer.draw import display_image, draw_objects, save_png, side_by_side
from roikit.trainer.evaluation import warn_of_zero, write_metrics
from roikit.trainer.fields import plain
from roikit.trainer.records import draw_curves, read_records
from roikit.trainer.scores import read_json
from roikit.trainer.trained import val_paths

__all__ = ["write"]


def write(out, state, config, categories, val, judged, done):
    """Write ``metrics.json``, ``model.safetensors``, the curves and the pictures.

    Args:
        out: the run's folder.
        state: ``TrainState`` at the end.
        val: the val data set, or None.
        judged: None, or {"scores", "speed", "results"} of the last evaluation.
        done: {"steps", "seconds", "images"} of the training.

    Returns:
        what is in ``metrics.json``.
    """
    metrics = {"step": state.step, "best": state.best, "training": done}
    if judged is not None:
        metrics |= {**judged["scores"], "speed": judged["speed"]}
        (out / "detections.json").write_text(json.dumps(judged["results"]))
        warn_of_zero(judged["scores"], read_json(val_paths(config)[0]), judged["results"])
    write_metrics(out, metrics)
    _where_installed(lambda: draw_curves(read_records(out / "log.jsonl"), out / "curves.png"))
    if judged is not None:
        _where_installed(lambda: _draw(out / "predictions", config, val, judged["results"],
                                       {c["id"]: c["name"] for c in categories}))
    _where_installed(lambda: checkpoint.export_safetensors(
        out / "model.safetensors", state.judged.state_dict(), plain(config), categories))
    return metrics


def _where_installed(task):
    try:
        task()
    except ImportError as error:  # a finished training must not end in a traceback
        warnings.warn(str(error), RoikitWarning, stacklevel=3)


def _draw(folder, config, val, results, names):
    """The first val images, with the truth beside what was found."""
    folder.mkdir(exist_ok=True)
    truth = read_json(val_paths(config)[0])["annotations"]
    for index, image_id in enumerate(val.image_ids[:config.run.predictions]):
        image = display_image(val.sample(index).image)
        found = [r for r in results if r["image_id"] == image_id
                 and r["score"] >= config.run.score_threshold]
        known = [a for a in truth if a["image_id"] == image_id]
        sheet = side_by_side(
            [draw_objects(image, found, names), draw_objects(image, known, names, boxes=False)],
            [f"predicted: {len(found)} with score >= {config.run.score_threshold:g}",
             f"annotated: {len(known)}"])
        save_png(folder / f"{val.image_path(index).stem}.png", sheet)
