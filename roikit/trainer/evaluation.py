"""Evaluation: COCO results from a model or from a file, and their average precision."""

import json
import time
import warnings
from pathlib import Path

import numpy as np

from roikit.errors import RoikitWarning
from roikit.trainer.scores import coco_scores, read_json

__all__ = ["coco_results", "detect", "evaluate", "score", "warn_of_zero", "write_metrics"]


def evaluate(source, annotations=None, images=None, *, iou_types=None, max_detections=None,
             use_cats=True, out=None, device="auto", batch_size=1, workers=0):
    """Average precision of ready results or of a trained model.

    Args:
        source: a COCO results file (``.json``) or its list; or a checkpoint (``.pt``,
            ``.safetensors``) or the folder of a run, whose model is run over ``images``.
        annotations: COCO annotation file (or what it holds, for ready results). Default: the val
            part that the run was configured with.
        images: folder of the images; needed for a model with ``annotations``.
        iou_types: of "bbox", "segm", "keypoints"; default: bbox, and segm if there are masks.
        max_detections: ascending numbers of detections an image; AP counts the last one. Default:
            (1, 10, 100), or what the run was configured with; see ``coco_scores``.
        use_cats: False lets a detection match an object of any category.
        out: folder for ``metrics.json`` and, from a model, ``detections.json``.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        batch_size, workers: images a forward pass and data-loading processes.

    Returns:
        dict: each kind of overlap -> its figures (see ``coco_scores``); from a model also
        ``speed``, seconds an image of ``data``, ``forward``, ``post``.

    Raises:
        ValueError: the source is of no known kind, or results do not fit the annotations.
    """
    if _is_results(source):
        if annotations is None:
            raise ValueError("evaluate: annotations must be given to score ready results")
        metrics = score(annotations, read_json(source), iou_types=iou_types,
                        max_detections=max_detections, use_cats=use_cats)
        if out is not None:
            write_metrics(out, metrics)
        return metrics
    from roikit.trainer.trained import evaluation_paths, load_trained, val_set  # they import torch

    trained = load_trained(source, device, detections=max_detections and max_detections[-1])
    dataset = val_set(trained.config, annotations, images)
    limits = tuple(max_detections or trained.config.eval.max_detections)
    results, speed = detect(trained.model, dataset, trained.categories, device=trained.device,
                            amp=trained.config.run.amp, batch_size=batch_size, workers=workers)
    if iou_types is None:
        iou_types = ("bbox", "segm") if trained.has_masks else ("bbox",)
    truth = evaluation_paths(trained.config, annotations, images)[0]
    metrics = score(truth, results, iou_types=iou_types, max_detections=limits,
                    use_cats=use_cats, image_ids=dataset.image_ids)
    metrics["speed"] = speed
    if out is not None:
        write_metrics(out, metrics)
        (Path(out) / "detections.json").write_text(json.dumps(results))
    return metrics


def _is_results(source):
    if isinstance(source, list):
        return True
    return isinstance(source, (str, Path)) and Path(source).suffix == ".json"


def write_metrics(out, metrics):
    """Write ``metrics.json`` into the folder ``out``, which is made if need be."""
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")


def score(annotations, results, *, iou_types=None, max_detections=None, use_cats=True,
          image_ids=None):
    """``coco_scores`` of several kinds; warns when an AP is exactly 0.

    An AP of 0.0 nearly always means that category ids or coordinates do not fit, seldom that
    nothing was learnt.
    """
    if iou_types is None:
        masks = bool(results) and all("segmentation" in r for r in results)
        iou_types = ("bbox", "segm") if masks else ("bbox",)
    annotations = read_json(annotations)
    metrics = {kind: coco_scores(annotations, results, kind, max_detections=max_detections,
                                 use_cats=use_cats, image_ids=image_ids) for kind in iou_types}
    warn_of_zero(metrics, annotations, results)
    return metrics


def warn_of_zero(metrics, annotations, results):
    """Warn when an AP is exactly 0, and say so if the category ids are why.

    Args:
        metrics: kind of overlap -> figures.
        annotations: what the annotation file holds.
        results: the COCO results that were scored.
    """
    zero = [kind for kind, figures in metrics.items() if figures["AP"] == 0.0]
    if zero:
        known = {c["id"] for c in annotations.get("categories", [])}
        used = {r["category_id"] for r in results}
        hint = (f"; the results use the category ids {sorted(used - known)[:5]}, which the "
                "annotations do not have" if used - known else "")
        warnings.warn(f"evaluate: AP is exactly 0 for {', '.join(zero)} with {len(results)} "
                      f"detections{hint}", RoikitWarning, stacklevel=3)


def coco_results(output, image_id, category_ids):
    """One image's output of a model as COCO results.

    Args:
        output: dict ``boxes`` (N, 4) xyxy, ``labels`` (N,) from 1, ``scores`` (N,) and, where the
            model has masks, ``masks``, a list of N COCO RLEs.
        image_id: goes into every result.
        category_ids: the annotation file's category id of label 1, 2, ...

    Returns:
        list of dicts ``image_id``, ``category_id``, ``bbox`` (x, y, w, h), ``score`` and
        ``segmentation`` (RLE with ``counts`` as str), ready for JSON.
    """
    boxes = output["boxes"].detach().float().cpu().numpy().astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    boxes = boxes.round(3).tolist()
    labels, scores = output["labels"].tolist(), output["scores"].tolist()
    results = [{"image_id": image_id, "category_id": category_ids[label - 1], "bbox": box,
                "score": value}
               for box, label, value in zip(boxes, labels, scores, strict=True)]
    for result, rle in zip(results, output.get("masks", ()), strict=False):
        counts = rle["counts"]
        result["segmentation"] = {
            "size": [int(n) for n in rle["size"]],
            "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
        }
    return results


def detect(model, dataset, categories, *, device="cpu", amp="off", batch_size=1, workers=0,
           process=None, progress=None):
    """Run a model over a data set.

    Args:
        model: a detector; its mode and mask format are put back.
        dataset: a ``CocoDataset`` or any data set whose items are (image, target) with
            ``target["image_id"]``.
        categories: [{"id", "name"}, ...] in the order of the labels 1, 2, ...
        amp: "off", "auto", "bf16" or "fp16".
        process: one of several processes, which then runs over its share; the results of all
            arrive at rank 0, the others get an empty list.
        progress: called with the number of images done and of all.

    Returns:
        COCO results in the order of the data set, and seconds an image by part: ``data`` waiting
        for images, ``forward`` the network down to boxes and mask probabilities, ``post``
        masks into RLE and results, ``images`` per second over all.
    """
    from roikit.trainer.running import evaluation_of, loader_of  # they import torch

    ids = [c["id"] for c in categories]
    share = range(len(dataset))
    if process is not None:
        share = share[process.rank::process.world]
    found, spent = {}, {"data": 0.0, "forward": 0.0, "post": 0.0}
    with evaluation_of(model, device, amp) as run:
        begun = mark = time.perf_counter()
        for start, images, targets in loader_of(dataset, share, batch_size, workers):
            spent["data"] += time.perf_counter() - mark
            outputs, forward, paste = run(images)
            spent["forward"] += forward
            mark = time.perf_counter()
            for k, (output, target) in enumerate(zip(outputs, targets, strict=True)):
                found[share[start + k]] = coco_results(output, int(target["image_id"]), ids)
            if progress is not None:
                progress(len(found), len(share))
            now = time.perf_counter()
            spent["post"] += paste + now - mark
            mark = now
        total = max(mark - begun, 1e-9)
    seen = max(1, len(share))
    speed = {name: value / seen for name, value in spent.items()}
    speed["images_per_second"] = len(share) / total
    if process is not None:
        parts = process.gather(found)
        found = {k: v for part in parts for k, v in part.items()} if process.first else {}
    return [r for index in sorted(found) for r in found[index]], speed
