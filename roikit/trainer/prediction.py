"""Prediction: a trained model over image files, with overlays and COCO results."""

import contextlib
import os
import warnings
from pathlib import Path

from roikit.data import read_image
from roikit.data.transforms import image_tensor
from roikit.errors import RoikitWarning
from roikit.trainer.draw import display_image, save_png
from roikit.trainer.picture_files import find_pictures, overlay_names
from roikit.trainer.result_files import ResultFiles
from roikit.trainer.running import evaluation_of
from roikit.trainer.sentences import out_of_memory, sentence_about, sentence_of
from roikit.trainer.tasks import task_of
from roikit.trainer.trained import load_trained, still_transform

__all__ = ["predict"]


def predict(source, images, *, out=None, score_threshold=0.5, max_detections=None, device="auto",
            overlays=True, boxes=True, on_image=None, on_error=None):
    """Find objects, or with a segmenter classes of pixels, on image files.

    An image that cannot be read, or for which memory does not suffice, is named, and the others are gone on with. Files
    of a folder that are no pictures by their names are passed over, with one RoikitWarning that counts them.

    Args:
        source: checkpoint, exported weights, or the folder of a run.
        images: a file; a folder, whose images and those of the folders in it are taken in the order of their paths; or
            a list of those. ``out`` is not looked into.
        out: folder for overlays, ``predictions.json`` (COCO results) and ``images.json`` (the images behind the ids
            and the categories in COCO's form, and the ``unread`` files). Overlays are PNG files at the images' own
            relative paths. Both JSON files are there, and whole, whatever ends the prediction; while it goes on they
            are renewed every few seconds.
        score_threshold: 0.0 to 1.0, detections below are left out.
        max_detections: so many an image at most; default: as configured.
        device: "auto", "cpu", "cuda", ...
        overlays: whether to draw. ``boxes``: whether to draw boxes around masks.
        on_image: called with the path and the results of each image.
        on_error: called with the path and the exception for each image that could not be read or drawn and each folder
            that could not be opened; without it, each is a RoikitWarning.

    Returns:
        list of COCO results: ``image_id`` (1, 2, ... in the order of the files), ``file_name`` (relative to the folder
        given, "/" between its parts), ``category_id`` and ``category_name`` of the training data, ``bbox``
        (x, y, w, h), ``score`` and, where the model has them, ``segmentation``, ``mask_score`` and ``keypoints``, as
        ``coco_results`` has them. Of a segmenter one for each class that is on an image, with its mask as
        ``segmentation`` and the number of its pixels as ``area``; ``score_threshold`` means nothing to it, and ``out``
        gets a PNG label map of each image in the folder ``labels``. Of a panoptic model one for each segment, a thing's
        with its ``score``, and ``out`` gets a COCO panoptic file, ``panoptic.json`` and the folder ``panoptic``.

    Raises:
        FileNotFoundError: no such file, or a folder without images.
        ValueError: an overlay would replace an image.
    """
    files = find_pictures(images, leave_out=out)
    failed = _warn if on_error is None else on_error
    for path, error in files.closed:
        failed(path, error)
    if files.passed:
        warnings.warn(f"predict: {files.passed_text()}", RoikitWarning, stacklevel=2)
    pictures = overlay_names(files.names)
    drawn = [Path(out, name) for name in pictures] if out is not None and overlays else None
    if drawn is not None:
        _refuse_to_replace(files.paths, drawn)
    trained = load_trained(source, device, detections=max_detections, score_threshold=score_threshold)
    still = still_transform(trained.config)
    names = {c["id"]: c["name"] for c in trained.categories}
    prediction = task_of(trained.config.model).prediction(trained, boxes=boxes)
    results = []
    with contextlib.ExitStack() as stack:
        kept = None if out is None else stack.enter_context(ResultFiles(out, trained.categories))
        if out is not None:
            stack.callback(prediction.close, out)
        run = stack.enter_context(evaluation_of(trained.model, trained.device, trained.config.run.amp))
        for number, (path, name) in enumerate(zip(files.paths, files.names, strict=True), start=1):
            image, output = _detected(path, run, still)
            if image is None:
                failed(path, output)
                if kept is not None:
                    kept.add_unread(name, sentence_of(output))
                continue
            found = [{"image_id": number, "file_name": name, "category_id": result["category_id"],
                      "category_name": names[result["category_id"]], **result}
                     for result in prediction.results(output, number)]
            results += found
            if kept is not None:
                kept.add({"id": number, "file_name": name, "height": image.shape[0], "width": image.shape[1]}, found)
                prediction.write(out, pictures[number - 1], output)
            if drawn is not None:
                try:
                    drawn[number - 1].parent.mkdir(parents=True, exist_ok=True)
                    save_png(drawn[number - 1], prediction.picture(display_image(image), output, found))
                except (OSError, MemoryError) as error:
                    failed(drawn[number - 1], error)
            if on_image is not None:
                on_image(path, found)
    return results


def _detected(path, run, still):
    """The image and the model's output on it; or None and the exception of an image that cannot be read."""
    try:
        image = read_image(path)
    except (OSError, ValueError, MemoryError) as error:
        return None, error
    try:
        (output,), *_ = run([image_tensor(image if still is None else still.image(image))])
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return None, error  # this image's size; the next may be smaller
    return image, output


def _warn(path, error):
    warnings.warn(f"predict: {sentence_about(path, error)}", RoikitWarning, stacklevel=3)


def _refuse_to_replace(paths, drawn):
    own = {os.path.realpath(path) for path in paths}
    lost = next((path for path in drawn if os.path.realpath(path) in own), None)
    if lost is not None:
        raise ValueError(f"predict: the overlay {lost} would replace an image; give another folder for the results")
