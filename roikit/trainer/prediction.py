"""Prediction: a trained model over image files, with overlays and COCO results."""

import contextlib
import itertools
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from roikit.data.remote import mirror_of_results
from roikit.errors import RoikitWarning
from roikit.trainer.distributed import Process
from roikit.trainer.in_order import InOrder
from roikit.trainer.int8 import ranges_file
from roikit.trainer.outputs import annotations_of, check_outputs, image_writers, picture_kinds, whole_files
from roikit.trainer.parts import JOURNAL, PARTS
from roikit.trainer.picture_files import find_pictures, overlay_names, refuse_to_replace
from roikit.trainer.picture_work import PIXELS, Door, Look, PictureWork, Room, one_at_a_time, thread_count
from roikit.trainer.prepared import MANY, prepared
from roikit.trainer.remote_results import writes_to_addresses
from roikit.trainer.result_files import ResultFiles
from roikit.trainer.running import evaluation_of
from roikit.trainer.sentences import sentence_about, sentence_of
from roikit.trainer.shared_results import SharedResults
from roikit.trainer.shares import digest_of_file, own_share, require_same, told_names
from roikit.trainer.tasks import task_of
from roikit.trainer.tiles import tiles_of
from roikit.trainer.trained import image_preparation, load_trained, require_objects
from roikit.trainer.views import check_views, in_views, views_of

__all__ = ["predict"]

LOWEST = 0.05  # score of what a view shows of an image that is looked at in several


@writes_to_addresses(journal=JOURNAL, parts=PARTS)
def predict(source, images, *, out=None, write=None, score_threshold=0.5, max_detections=None, device="auto",
            overlays=True, boxes=True, resume=False, tile=None, overlap=None, tta_flips=(), tta_scales=(),
            upright=True, max_pixels=None, pixel_size=None, prepare=True, int8=False, process=None, on_image=None,
            on_error=None, progress=None):
    """Find objects, or with a segmenter classes of pixels, on image files.

    The network sees one image at a time, while others are read, drawn and written by other threads; results, files and
    calls are in the order of the images, the same as one by one. Of large images fewer are in memory at once.

    An image that cannot be read, or for which memory does not suffice, is named, and the others are gone on with. Files
    of a folder that are no pictures by their names are passed over, with one RoikitWarning that counts them.

    Args:
        source: checkpoint, exported weights, or the folder of a run; or the address of one.
        images: a file; a folder, whose images and those of the folders in it are taken in the order of their paths; a
            pattern such as ``photos/**/*.jpg``; a text file (``.txt``) with a path on each line; or a list of those.
            ``out`` is not looked into.
        out: folder for what is written, or an address that it is copied to as it grows. ``predictions.jsonl`` is the
            journal: a line for each image, which is there as soon as the image and its files are done, whatever happens
            afterwards. ``images.json`` has the images behind the ids, the categories in COCO's form, and the ``unread``
            files.
        write: of what is written besides, any of "overlays" (PNG files at the images' own relative paths), "coco"
            (``predictions.json``, COCO results), "csv" (``objects.csv``, a row an object with what is measured on it),
            "instances" (16-bit PNG files, each pixel the number of its object), "yolo" and "labelme" (annotations, a
            file an image, in the folder of that name); default: overlays and coco. The JSON and CSV files are there,
            and whole, whatever ends the prediction; while it goes on they are renewed every few seconds.
        score_threshold: 0.0 to 1.0, detections below are left out.
        max_detections: so many an image at most; default: as configured.
        device: "auto", "cpu", "cuda", ...
        overlays: False leaves the overlays out of the default of ``write``. ``boxes``: whether to draw boxes around
            masks.
        resume: go on with what ``out`` has: images in the journal are not looked at again, and keep their ids. Those
            that could not be read are tried again, and so are those without a file of their own that ``write`` asks
            for (at an address such files are taken to be there).
        tile: look at pictures in tiles of so many pixels a side, for pictures that are larger than the network is to
            see at once; the objects of all tiles are joined. The network sees a tile as it would see an image of that
            size, and ``max_detections`` as configured are those of a tile. A picture that fits one tile has the results
            that it has without.
        overlap: pixels that neighbouring tiles have in common, at most half a tile: more than an object is long, but
            for few. Default: 128, or a quarter of a tile below 512.
        tta_flips: look at each image mirrored as well, any of "horizontal", "vertical", "both". tta_scales: look at it
            at these factors of the size that the network sees, say (0.8, 1.0, 1.25). What all views show of an object
            is put together; see `roikit.trainer.views`.
        upright: whether to turn images as EXIF says, as photographs are meant to be seen; their records in
            ``images.json`` have that size. False takes the pixels as stored, which is what annotations of a data set
            are made on.
        max_pixels: refuse larger images before decoding them; default: Pillow's limit, 179 million.
        pixel_size: length of a pixel's side, for the measures in ``objects.csv``; default: they are in pixels.
        prepare: on a CPU, whether to run the model as `roikit.models.prepare_for_inference` makes it: faster, with the
            same results but for last digits. What cannot be prepared runs as it is.
        int8: run it on 8-bit integers, by the ranges that `roikit.trainer.quantize` wrote beside the weights; results
            are near those of the model, not the same.
        process: this process among several that share the images out, of `roikit.trainer.distributed.joined`; each of
            them must call this then, with the same arguments. Each works on images of its own and calls ``on_image``
            and ``on_error`` for them. What is written, by the first process when all are done, is the same as of one
            process; ``out`` must be on a disk that all of them share, or an address. Where one ends before, the others
            end with a ConnectionError, and ``resume``, with any number of processes, goes on with what each has found.
        on_image: called with the path and the results of each image, when its files are there.
        on_error: called with the path and the exception for each image that could not be read or drawn and each folder
            that could not be opened; without it, each is a RoikitWarning.
        progress: called with the number of images done, those of before among them, and of all; of several processes
            in the first one alone, with the images of its share, and in the end with all.

    Returns:
        list of COCO results: ``image_id`` (1, 2, ... in the order of the files), ``file_name`` (relative to the folder
        given, "/" between its parts), ``category_id`` and ``category_name`` of the training data, ``bbox``
        (x, y, w, h), ``score`` and, where the model has them, ``segmentation``, ``mask_score`` and ``keypoints``, as
        ``coco_results`` has them. Of a segmenter one for each class that is on an image, with its mask as
        ``segmentation`` and the number of its pixels as ``area``; ``score_threshold`` means nothing to it, and ``out``
        gets a PNG label map of each image in the folder ``labels``. Of a panoptic model one for each segment, a thing's
        with its ``score``, and ``out`` gets a COCO panoptic file, ``panoptic.json`` and the folder ``panoptic``. With
        ``resume``, the results of before are among them. Of several processes the first one has them, the others have
        an empty list.

    Raises:
        FileNotFoundError: no such file, or a folder without images.
        ConnectionError: another process has ended before its share was done.
        ValueError: a picture would replace an image, or another picture; an output is unknown; or what is to be gone on
            with was made with another model or other options; or processes that share the images see other ones, or
            other weights.
    """
    process = Process() if process is None else process
    write = check_outputs((("overlays", "coco") if overlays else ("coco",)) if write is None else write)
    if pixel_size is not None and not 0 < pixel_size < float("inf"):
        raise ValueError(f"predict: pixel_size must be above 0, got {pixel_size}")
    if resume and out is None:
        raise ValueError("predict: resume needs the folder out, whose journal is gone on with")
    tiles, views = tiles_of(tile, overlap), views_of(tta_flips, tta_scales)
    files = find_pictures(images, leave_out=out)
    failed = partial(_warn, stacklevel=7) if on_error is None else on_error  # of the caller, from within `tell`
    for path, error in files.closed if process.first else ():
        (_warn if on_error is None else on_error)(path, error)
    if files.passed and process.first:
        warnings.warn(f"predict: {files.passed_text()}", RoikitWarning, stacklevel=3)
    kinds = picture_kinds(write)
    if out is not None:
        refuse_to_replace(files.paths, out, overlay_names(files.names), kinds)
    # The mean of an object's scores decides; a view by itself is to show it below the threshold, too.
    lowest = score_threshold if views is None else min(score_threshold, LOWEST)
    trained = load_trained(source, process.device(device), detections=max_detections, score_threshold=lowest)
    _check_options(trained, tiles, views)
    trained = prepared(trained, len(files.names) if tiles is None else MANY, prepare=prepare, int8=int8,
                       process=process)
    if tiles is not None and trained.device.type == "cpu":
        tiles = replace(tiles, batch=1)  # several at once need the more memory and no less time
    names = {c["id"]: c["name"] for c in trained.categories}
    prediction = task_of(trained.config.model).prediction(trained, boxes=boxes)
    kinds |= prediction.kinds
    if out is not None and prediction.kinds:
        refuse_to_replace(files.paths, out, overlay_names(files.names), kinds)
    results, kept, writers, layouts, pictures = [], None, [], [], {}
    with contextlib.ExitStack() as stack:
        about = {"weights": digest_of_file(trained.path), "score_threshold": score_threshold, "upright": upright,
                 "max_detections": max_detections, "tile": tiles and tiles.size, "overlap": tiles and tiles.overlap,
                 "tta_flips": views and views.flips, "tta_scales": views and views.scales}
        if int8:
            about["int8"] = digest_of_file(ranges_file(trained.path))
        require_same(process, "predict", **about, images=told_names(files.names), write=write, resume=resume)
        if out is not None:
            kept = ResultFiles(out, trained.categories, about=about, resume=resume,
                               writers=whole_files(write, trained.categories, pixel_size))
            kept = stack.enter_context(kept if process.world == 1 else SharedResults(out, about, process, kept))
            layouts = annotations_of(write, out, trained.categories)
            writers = image_writers(write, out, prediction, layouts)
        known, before = ({}, set()) if kept is None else kept.known()
        ids = _numbered(files.names, known)
        if out is not None:
            pictures = dict(zip(ids, overlay_names(list(ids)), strict=True))
            if resume:
                refuse_to_replace(files.paths, out, list(pictures.values()), kinds)
                before = process.share_first(_with_files(before, out, pictures, kinds, layouts))
            if process.first:
                stack.callback(lambda: prediction.close(out, kept.images(), pictures))
            for layout in layouts:
                layout.begin(ids, process.first)
                stack.callback(layout.end)
        run = stack.enter_context(evaluation_of(trained.model, trained.device, trained.config.run.amp))
        if views is not None:
            run = in_views(run, trained.model, views, limit=trained.config.model.box.detections_per_image,
                           threshold=score_threshold)
        look = Look(one_at_a_time(run), image_preparation(trained.config), tiles, max_detections)
        todo = [(path, name) for path, name in zip(files.paths, files.names, strict=True) if name not in before]
        done = len(files.names) - len(todo)
        todo = [todo[place] for place in own_share([name for _, name in todo], process)]
        begun, total = itertools.count(done), done + len(todo)
        # Of a picture in tiles there is much to do at a time, and much in memory.
        threads = 1 if tiles is not None else thread_count()
        room = Room(threads - 1)
        work = PictureWork(look, prediction, names, out, writers, {"upright": upright, "max_pixels": max_pixels},
                           None if threads == 1 else Door(PIXELS))

        def shown():
            if progress is not None and process.first:
                progress(next(begun), total)

        def tell(path, name, done):
            if done.record is None:
                failed(path, done.faults[0])
                if kept is not None:
                    kept.add_unread(name, ids[name], sentence_of(done.faults[0]))
            else:
                room.note((done.record["height"], done.record["width"]))
                for error in done.faults:
                    failed(Path(out, pictures[name]), error)
                if kept is not None:
                    kept.add(done.record, done.found)
                else:
                    results.extend(done.found)
                if on_image is not None:
                    on_image(path, done.found)
            shown()

        shown()
        with InOrder(threads, room) as line:
            for path, name in todo:
                line.add(partial(work, path, name, ids[name], pictures.get(name)), partial(tell, path, name))
        if process.world > 1:
            results = _together(process, kept, layouts, results)
            if progress is not None and process.first:
                progress(len(files.names), len(files.names))
        if kept is not None and process.first:
            results = [result for _, found in kept.images() for result in found]
    return results


def _together(process, kept, layouts, results):
    """End the work of several processes; the results that are in no file, on the first."""
    for layout in layouts:
        lost = process.gather(layout.lost)
        layout.lost = sum(lost, Counter()) if process.first else Counter()
    if kept is not None:
        kept.finish()
        return []
    results = [result for part in process.gather(results) for result in part]
    return sorted(results, key=lambda result: result["image_id"]) if process.first else []


def _check_options(trained, tiles, views):
    if tiles is not None:
        require_objects(trained, "tile")
    if views is not None:
        require_objects(trained, "test-time augmentation")
        check_views(trained.config.model)


def _with_files(names, out, pictures, kinds, layouts):
    """Of images that have their results, those that have their own files, too; of those at an address all."""
    if mirror_of_results(out) is not out:
        return names
    return {name for name in names
            if all(Path(out, folder, pictures[name]).is_file() for folder in kinds.values())
            and all(layout.place(name, pictures[name]).is_file() for layout in layouts)}


def _numbered(names, known):
    """File name -> image id, those known and the new ones, which get the next numbers that are free; by the ids."""
    taken = set(known.values())
    free = (number for number in itertools.count(1) if number not in taken)
    ids = {**known, **{name: next(free) for name in names if name not in known}}
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def _warn(path, error, stacklevel=4):
    warnings.warn(f"predict: {sentence_about(path, error)}", RoikitWarning, stacklevel=stacklevel)
