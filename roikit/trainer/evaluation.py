"""Evaluation: COCO results from a model or from a file, and their average precision."""

import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from roikit.data.findings import counted
from roikit.data.layouts.json_files import read_json
from roikit.data.remote import local_path
from roikit.data.rotated import upright_boxes
from roikit.errors import RoikitWarning, naming
from roikit.trainer.categories import pair_categories
from roikit.trainer.folders import writable_folder
from roikit.trainer.kinds import check_keypoints, kinds_of_model, kinds_of_results, limits_of, results_of
from roikit.trainer.map_files import evaluate_maps, is_label_folder, is_panoptic
from roikit.trainer.reading import say_taken
from roikit.trainer.remote_results import writes_to_addresses
from roikit.trainer.report.detections import paths_below, paths_in, report_detections
from roikit.trainer.report.training import evaluation_words
from roikit.trainer.results import place_results, read_results, told_beside
from roikit.trainer.scores import COCO_KEYPOINTS, DEFAULT_LIMITS, checked_limits, coco_scores
from roikit.trainer.sentences import sentence_about
from roikit.trainer.truth import read_truth

__all__ = ["coco_results", "detect", "evaluate", "evaluate_detector", "score", "warn_of_zero", "write_detections",
           "write_metrics"]


@writes_to_addresses()
def evaluate(source, annotations=None, images=None, *, iou_types=None, max_detections=None,
             use_cats=True, out=None, device="auto", batch_size=1, workers=0, sigmas=None, tile=None, overlap=None,
             tta_flips=(), tta_scales=(), iou=None, prepare=True, int8=False, process=None, on_error=None):
    """Average precision of ready results or of a trained model.

    Categories are paired by name where both sides have names, else by id; where the two differ, a RoikitWarning says
    how they were paired and what is in one only, which is left out. Ready results with ``file_name`` and
    ``category_name``, such as those of ``roikit.predict``, are paired by these, others by their ids. An image that
    cannot be read, or is too large for the memory, is named and the others are gone on with; its objects count as
    missed.

    Args:
        source: a COCO results file (``.json``) or its list; or a checkpoint (``.pt``,
            ``.safetensors``) or the folder of a run, whose model is run over ``images``. Beside ``predictions.json``,
            the ``images.json`` of ``roikit.predict`` tells the images and categories of which nothing was found.
            A COCO panoptic file or a folder of PNG label maps is scored as it is against another one, see
            ``panoptic_quality`` and ``pixel_quality``; no option but ``out`` is for them.
        annotations: COCO annotation file (or what it holds, for ready results), or a folder of DOTA's text files, or
            YOLO's for oriented boxes. Default: the val part that the run was configured with.
        images: folder of the images; needed for a model with ``annotations``. With ready results, it tells the sizes of
            images that the annotations have none of.
        iou_types: of "bbox", "rbox", "segm", "keypoints"; default: bbox, or rbox where boxes are rotated, and the
            others if there are masks and keypoints.
        max_detections: ascending numbers of detections an image; AP counts the last one. Default:
            (1, 10, 100), and 20 for keypoints, or what the run was configured with; see ``coco_scores``.
        use_cats: False lets a detection match an object of any category; the annotations need not list any then.
        out: folder for ``metrics.json``, ``report.html`` with ``analysis.json`` and ``report_images`` (see
            ``report_detections``; not of ready maps) and, from a model, the files of ``write_detections``.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        batch_size, workers: images a forward pass and data-loading processes; with none, a thread reads ahead.
        sigmas: for keypoints other than COCO's 17, if not as the run was configured; see ``coco_scores``.
        tile, overlap: look at images in tiles, as `roikit.predict` does; ``batch_size`` is then the number of tiles.
        tta_flips, tta_scales: look at images in several views, as `roikit.predict` does.
        iou: the overlap from which on an object is found in what ``out`` tells of confusions and best scores; see
            ``roikit.trainer.analyse``. Default: 0.5.
        prepare: whether to run the model as it is prepared for a CPU, as `roikit.predict` does. int8: on 8-bit
            integers, likewise.
        process: this process among several that share the images of a model's evaluation out, of
            `roikit.trainer.distributed.joined`; each of them must call this then, with the same arguments. The first
            one scores what all have found, and writes.
        on_error: called with the path and the exception for each image that cannot be read; without it, each is a
            RoikitWarning.

    Returns:
        dict: each kind of overlap -> its figures (see ``coco_scores``); from a model also
        ``speed``, seconds an image of ``data``, ``forward``, ``post``; and ``unread``, the number of images that could
        not be read. Of several processes each has the same.

    Raises:
        ConnectionError: another process has ended before its share was done.
        OSError: a file cannot be read, none of the images can, or a file cannot be written.
        ValueError: the source is of no known kind, or results do not fit the annotations.
    """
    limits = None if max_detections is None else checked_limits(max_detections)
    is_first = process is None or process.first
    if out is not None and is_first:
        writable_folder(out, "evaluate")
    source, annotations, images = local_path(source, texts=False), local_path(annotations), local_path(images)
    ready = _is_results(source)
    read = ready and annotations is not None and not isinstance(source, list)
    content = read_json(source) if read else source
    are_maps = is_panoptic(content) or isinstance(source, (str, Path)) and is_label_folder(source)
    if (ready or are_maps) and not is_first:
        return process.share_first(None)
    if are_maps:
        metrics = evaluate_maps(source, annotations, images, iou_types=iou_types, max_detections=limits, sigmas=sigmas,
                                use_cats=None if use_cats else False)
        if out is not None:
            write_metrics(out, metrics)
        return metrics if process is None else process.share_first(metrics)
    if ready:
        if annotations is None:
            raise ValueError("evaluate: annotations must be given to score ready results")
        truth = _told_truth(annotations, use_cats=use_cats, images=images)
        results = read_results(content)
        told = told_beside(source, results)
        metrics = score(truth, results, iou_types=iou_types, max_detections=limits, use_cats=use_cats, sigmas=sigmas,
                        **told)
        if out is not None:
            write_metrics(out, metrics)
            name = "results" if isinstance(source, list) else Path(source).name
            _report(out, truth, results, metrics, path_of=paths_below(images, truth), use_cats=use_cats, told=told,
                    max_detections=dict.fromkeys(metrics, limits or DEFAULT_LIMITS), iou=iou or 0.5,
                    title=f"evaluation of {name}")
        return metrics if process is None else process.share_first(metrics)
    from roikit.trainer.distributed import Process
    from roikit.trainer.prepared import prepared
    from roikit.trainer.shares import digest_of_file, require_same
    from roikit.trainer.tasks import task_of
    from roikit.trainer.tiles import tiles_of
    from roikit.trainer.trained import load_trained, require_objects
    from roikit.trainer.views import check_views, views_of  # they import torch

    process = Process() if process is None else process
    tiles, views = tiles_of(tile, overlap, batch_size), views_of(tta_flips, tta_scales)
    trained, more = load_trained(source, process.device(device), at_least=limits[-1] if limits else 0), {}
    if process.world > 1:
        require_same(process, "evaluate", weights=digest_of_file(trained.path), iou_types=iou_types, limits=limits,
                     tile=tile, overlap=overlap, tta_flips=tta_flips, tta_scales=tta_scales, batch_size=batch_size)
    if tiles is not None:
        require_objects(trained, "tile")
        more["tiles"] = tiles
    if views is not None:
        require_objects(trained, "test-time augmentation")
        check_views(trained.config.model)
        more["views"] = views
    if iou is not None:
        require_objects(trained, "iou")
        more["iou"] = iou
    trained = prepared(trained, prepare=prepare, int8=int8, process=process)
    return task_of(trained.config.model).evaluate(
        trained, annotations, images, iou_types=iou_types, limits=limits, use_cats=use_cats, out=out, sigmas=sigmas,
        process=process, on_error=on_error, batch_size=batch_size, workers=workers, **more)


def evaluate_detector(trained, annotations, images, *, iou_types, limits, use_cats, out, sigmas, on_error, process,
                      tiles=None, views=None, iou=0.5, **loading):
    """``evaluate`` of a loaded detector; ``limits`` are checked ``max_detections``, or None."""
    from roikit.trainer.detecting import detect_all
    from roikit.trainer.trained import evaluation_paths, val_set

    files = evaluation_paths(trained.config, annotations, images)
    truth = _told_truth(files[0], use_cats=use_cats, images=files[1])
    categories = _paired(trained.categories, truth, use_cats)
    dataset = val_set(trained.config, annotations, images, content=None if use_cats else truth.content,
                      keep_missing=True)  # their objects count as missed
    sigmas = trained.config.eval.sigmas if sigmas is None else sigmas
    if iou_types is None:
        iou_types = kinds_of_model(trained.config.model, masks=True, keypoints=dataset.has_keypoints)
    if "keypoints" in iou_types:
        check_keypoints(trained.categories, dataset, sigmas)
    results, speed, unread = detect_all(trained, dataset, categories, tiles, views, process,
                                        on_error=on_error or _warn_of_unread, **loading)
    if unread and len(unread) == len(dataset):
        raise OSError(f"evaluate: none of the {counted(len(unread), 'image')} could be read")
    if unread and process.first:
        warnings.warn(f"evaluate: {len(unread)} of {len(dataset)} images could not be read; their objects count as "
                      "missed", RoikitWarning, stacklevel=3)
    if not process.first:
        return process.share_first(None)
    limits = dict.fromkeys(iou_types, limits) if limits else {
        kind: limits_of(kind, trained.config.eval) for kind in iou_types}
    scores = score(truth, results, iou_types=iou_types, use_cats=use_cats, image_ids=dataset.image_ids, sigmas=sigmas,
                   max_detections=limits)
    metrics = scores | {"speed": speed, "unread": len(unread)}
    if out is not None:
        write_metrics(out, metrics)
        write_detections(out, results)
        run = trained.config.run
        if run.report:
            _report(out, truth, results, scores, path_of=paths_in(dataset), use_cats=use_cats, max_detections=limits,
                    image_ids=dataset.image_ids, score_threshold=run.score_threshold, iou=iou, pictures=run.report,
                    **evaluation_words(trained, files[1]))
    return process.share_first(metrics)


def _told_truth(annotations, **options):
    """`read_truth`, and a line about what was taken for what it means."""
    taken = Counter()
    truth = read_truth(annotations, taken=taken, **options)
    say_taken("evaluate", taken)
    return truth


def _report(out, truth, results, scores, **options):
    """Write the report; where a library for it is missing, that is told, for the figures are there already."""
    try:
        report_detections(out, truth, results, list(scores), scores=scores, **options)
    except ImportError as error:
        warnings.warn(f"evaluate: report.html was not written: {error}", RoikitWarning, stacklevel=4)


def _paired(categories, truth, use_cats):
    """The model's categories with the annotations' ids, None for those that they do not have."""
    pairing = pair_categories(categories, truth.categories, sides=("the model", "the annotations"))
    ids = pairing.ids
    if not use_cats and truth.categories:  # any category will do
        ids = [truth.categories[0]["id"] if i is None else i for i in ids]
    elif all(i is None for i in ids):
        raise ValueError(f"evaluate: the model and the annotations have no category in common: {pairing.text()}")
    elif pairing.differ:
        warnings.warn(f"evaluate: {pairing.text()}", RoikitWarning, stacklevel=4)
    return [{**category, "id": i} for category, i in zip(categories, ids, strict=True)]


def _warn_of_unread(path, error):
    warnings.warn(f"evaluate: {sentence_about(path, error)}", RoikitWarning, stacklevel=4)


def _is_results(source):
    if isinstance(source, list):
        return True
    return isinstance(source, (str, Path)) and Path(source).suffix.lower() == ".json"


def write_metrics(out, metrics):
    """Write ``metrics.json`` into the folder ``out``, which is made if need be."""
    Path(out).mkdir(parents=True, exist_ok=True)
    _write_json(out, "metrics.json", json.dumps(metrics, indent=1) + "\n")


def write_detections(out, results):
    """Write ``detections.json`` into the folder ``out``.

    Where the results have ``mask_score``, ``detections_segm.json`` is written, too: the same with the mask's score as
    the score, as an evaluation of masks is to have it.
    """
    _write_json(out, "detections.json", json.dumps(results))
    if any("mask_score" in result for result in results):
        _write_json(out, "detections_segm.json", json.dumps(results_of(results, "segm")))


def _write_json(out, name, text):
    with naming(Path(out) / name):
        (Path(out) / name).write_text(text)


def score(annotations, results, *, iou_types=None, max_detections=None, use_cats=True,
          image_ids=None, sigmas=None, categories=None, file_names=()):
    """``coco_scores`` of several kinds; warns when an AP is exactly 0.

    An AP of 0.0 nearly always means that category ids or coordinates do not fit, seldom that
    nothing was learnt. ``max_detections`` may be a dict, kind -> numbers. ``categories`` and ``file_names``: see
    ``place_results``.
    """
    truth, results = read_truth(annotations, use_cats=use_cats), read_results(results)
    placed = place_results(results, truth, use_cats=use_cats, categories=categories, file_names=file_names)
    if iou_types is None:
        iou_types = _scorable(kinds_of_results(results, truth), results, sigmas)
    limits = max_detections if isinstance(max_detections, dict) else dict.fromkeys(iou_types, max_detections)
    metrics = {kind: coco_scores(truth, placed, kind, max_detections=limits[kind],
                                 use_cats=use_cats, image_ids=image_ids, sigmas=sigmas) for kind in iou_types}
    warn_of_zero(metrics, {"annotations": truth.annotations}, results)
    return metrics


def _scorable(kinds, results, sigmas):
    """The kinds, but for keypoints of which nobody has told the sigmas."""
    if "keypoints" not in kinds or len(kinds) == 1 or sigmas is not None:
        return kinds
    count = len(results[0]["keypoints"]) // 3
    if count == COCO_KEYPOINTS:
        return kinds
    warnings.warn(f"evaluate: the {count} keypoints of the results are not scored, which needs as many sigmas",
                  RoikitWarning, stacklevel=4)
    return kinds[:-1]


def warn_of_zero(metrics, annotations, results):
    """Warn when an AP is exactly 0.

    Args:
        metrics: kind of overlap -> figures.
        annotations: what the annotation file holds.
        results: the COCO results that were scored.
    """
    zero = [kind for kind, figures in metrics.items() if figures["AP"] == 0.0]
    if zero:
        warnings.warn(f"evaluate: AP is exactly 0 for {', '.join(zero)} with {counted(len(results), 'detection')} and "
                      f"{counted(len(annotations['annotations']), 'annotation')}", RoikitWarning, stacklevel=3)


def coco_results(output, image_id, category_ids):
    """One image's output of a model as COCO results.

    Args:
        output: dict ``boxes`` (N, 4) xyxy or (N, 5) rotated, ``labels`` (N,) from 1, ``scores`` (N,) and, where the
            model has them, ``masks``, a list of N COCO RLEs; ``mask_scores`` (N,); ``keypoints`` (N, K, 3), x, y
            and a number that is not read, and ``keypoints_scores`` (N, K).
        image_id: goes into every result.
        category_ids: the annotation file's category id of label 1, 2, ...; None leaves objects of that label out.

    Returns:
        list of dicts ``image_id``, ``category_id``, ``bbox`` (x, y, w, h; around a rotated box, which is ``rbox``),
        ``score`` (the box's) and, where the model
        has them, ``segmentation`` (RLE with ``counts`` as str), ``mask_score`` and ``keypoints`` (3K numbers: x, y and
        score of each), ready for JSON.
    """
    boxes = output["boxes"].detach().float().cpu().numpy().astype(np.float64)
    turned = boxes.round(3).tolist() if boxes.shape[1] == 5 else None
    if turned is not None:
        boxes = upright_boxes(boxes)
    boxes[:, 2:] -= boxes[:, :2]
    boxes = boxes.round(3).tolist()
    labels, scores = output["labels"].tolist(), output["scores"].tolist()
    results = [{"image_id": image_id, "category_id": category_ids[label - 1], "bbox": box,
                "score": value}
               for box, label, value in zip(boxes, labels, scores, strict=True)]
    for result, box in zip(results, turned or (), strict=False):
        result["rbox"] = box
    for result, rle in zip(results, output.get("masks", ()), strict=False):
        counts = rle["counts"]
        result["segmentation"] = {
            "size": [int(n) for n in rle["size"]],
            "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
        }
    if "mask_scores" in output:
        for result, value in zip(results, output["mask_scores"].tolist(), strict=True):
            result["mask_score"] = value
    if "keypoints" in output:
        points = output["keypoints"].detach().double().cpu().numpy()[..., :2].round(3)
        points = np.dstack([points, output["keypoints_scores"].detach().double().cpu().numpy()])
        for result, found in zip(results, points, strict=True):
            result["keypoints"] = found.reshape(-1).tolist()
    return [result for result in results if result["category_id"] is not None]


def detect(model, dataset, categories, *, device="cpu", amp="off", batch_size=1, workers=0,
           progress=None, on_error=None, around=None):
    """Run a model over a data set.

    Images that cannot be read, or for which memory does not suffice, are named, and the others are gone on with.

    Args:
        model: a detector; its mode and mask format are put back.
        dataset: a ``CocoDataset`` or any data set whose items are (image, target) with
            ``target["image_id"]``.
        categories: [{"id", "name"}, ...] in the order of the labels 1, 2, ...; objects of a label whose id is None
            are left out.
        amp: "off", "auto", "bf16" or "fp16".
        progress: called with the number of images done and of all.
        on_error: called with the path and the exception for each image that could not be read;
            without it, each is a RoikitWarning.
        around: the function that runs the model -> the one that is used, such as that of `in_views`.

    Returns:
        COCO results in the order of the data set, and the ``speed`` of `roikit.trainer.running.Looking`.
    """
    from roikit.trainer.running import Looking, evaluation_of  # they import torch

    ids, found = [c["id"] for c in categories], {}
    with evaluation_of(model, device, amp) as run:
        looking = Looking(run if around is None else around(run), dataset, batch_size=batch_size, workers=workers,
                          progress=progress)
        for place, output, target in looking:
            found[place] = coco_results(output, int(target["image_id"]), ids)
    for place, text in sorted(looking.failed.items()):
        (on_error or _warn_of_unread)(_path_of(dataset, place), OSError(text))
    return [r for index in sorted(found) for r in found[index]], looking.speed


def _path_of(dataset, place):
    return dataset.image_path(place) if hasattr(dataset, "image_path") else f"image at place {place}"
