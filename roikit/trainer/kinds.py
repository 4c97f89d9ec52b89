"""The kinds of overlap that a model is judged by: "bbox" or "rbox", "segm", "keypoints"; and what each takes."""

import difflib

from roikit.data.annotations import has_mask
from roikit.data.keypoints import skeletons_of
from roikit.data.rotated import has_rotated_box
from roikit.trainer.asked import asks_for_keypoints
from roikit.trainer.fields import ConfigError
from roikit.trainer.scores import COCO_KEYPOINTS

__all__ = ["check_keypoints", "class_figures", "figure_of", "first_figure", "kinds_of_model", "kinds_of_results",
           "known_figure", "limits_of", "results_of"]

_CLASS = "per_class/"


def kinds_of_model(model, *, masks, keypoints):
    """The kinds that a model of this ``DetectorConfig`` is judged by where the data have masks and keypoints."""
    kinds = ["rbox" if model.boxes == "rotated" else "bbox"]
    if model.mask is not None and masks:
        kinds.append("segm")
    if asks_for_keypoints(model) and keypoints:
        kinds.append("keypoints")
    return tuple(kinds)


def kinds_of_results(results, truth):
    """The kinds that all of some results can be judged by; "bbox" where there are no results."""
    kinds = []
    if results and all(r.get("rbox") is not None for r in results) and any(
            has_rotated_box(a) or has_mask(a) for a in truth.annotations):
        kinds.append("rbox")
    elif all(r.get("bbox") is not None or r.get("segmentation") is not None for r in results):
        kinds.append("bbox")
    if results and all(r.get("segmentation") is not None for r in results):
        kinds.append("segm")
    if results and all(r.get("keypoints") is not None for r in results) and any(
            annotation.get("keypoints") for annotation in truth.annotations):
        kinds.append("keypoints")
    return tuple(kinds) or ("bbox",)


def limits_of(kind, config):
    """The numbers of detections an image that an ``EvalConfig`` has for a kind."""
    return (config.max_keypoint_detections,) if kind == "keypoints" else tuple(config.max_detections)


def results_of(results, kind):
    """COCO results as one kind takes them: those of "segm" have the mask's score, where there is one, as their score.

    Returns:
        list of dicts without ``mask_score``.
    """
    found = []
    for result in results:
        result = dict(result)
        score = result.pop("mask_score", None)
        if kind == "segm" and score is not None:
            result["score"] = score
        found.append(result)
    return found


def check_keypoints(categories, dataset, sigmas):
    """Refuse data whose keypoints cannot be compared with a model's.

    Args:
        categories: of the model; those with keypoints name them.
        dataset: ``CocoDataset`` of the objects to compare with.
        sigmas: a number for each keypoint, or None for COCO's.

    Raises:
        ValueError: the model has none, the two name other keypoints, or there are no sigmas for so many.
    """
    if not skeletons_of(categories):
        raise ValueError("evaluate: iou_type 'keypoints' needs a model with keypoints, and this one has none")
    names = [[s.names for s in found.values()][:1] for found in (skeletons_of(categories), dataset.skeletons)]
    if names[0] != names[1]:
        own, other = (", ".join(found[0]) if found else "none" for found in names)
        raise ValueError(f"evaluate: the keypoints of the annotations must be those of the model, {own}; got {other}")
    count = COCO_KEYPOINTS if sigmas is None else len(sigmas)
    if dataset.num_keypoints != count:
        raise ValueError(f"evaluate: objects have {dataset.num_keypoints} keypoints and need as many sigmas, which "
                         f"eval.sigmas holds; there are {count}{' of COCO' if sigmas is None else ''}")


def class_figures(kinds, names):
    """The names of the figures of single classes, "segm/per_class/cell" say."""
    return [f"{kind}/{_CLASS}{name}" for kind in kinds for name in names]


def figure_of(scores, figure):
    """The value of a figure, "segm/AP" or "segm/per_class/cell"; -1, as of an AP without an object, where it is none.

    Args:
        scores: kind -> name -> value, or for ``per_class`` name of a class -> value.
    """
    kind, _, name = figure.partition("/")
    found = scores.get(kind, {})
    if name.startswith(_CLASS):
        return found.get("per_class", {}).get(name.removeprefix(_CLASS), -1.0)
    return found.get(name, -1.0)


def known_figure(wanted, meant, known):
    """The figure that picks the best checkpoint.

    Args:
        wanted: ``eval.best``.
        meant: the name kind/figure that it stands for.
        known: those that there are.

    Raises:
        ConfigError: it is none of them.
    """
    if meant in known:
        return meant
    near = difflib.get_close_matches(meant, known, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise ConfigError(f"config: eval.best must be kind/figure such as {known[0]}, got {wanted!r}; {hint}")


def first_figure(wanted, known):
    """As `known_figure`; the default of ``eval.best``, which is of detectors, means the first one known."""
    return known_figure(wanted, known[0] if wanted == "segm/AP" else wanted, known)
