"""A class for each pixel."""

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from roikit import data, models
from roikit import masks as rle
from roikit.data.findings import counted
from roikit.data.layouts import find_source
from roikit.data.remote import local_path
from roikit.data.semantic_dataset import is_semantic_source, semantic_content
from roikit.errors import RoikitWarning
from roikit.trainer import pixel_evaluation as pixels
from roikit.trainer.augmentation import augmented
from roikit.trainer.chosen import chosen_ids, is_choosy
from roikit.trainer.draw_pixels import class_colors, draw_classes, save_labels
from roikit.trainer.evaluation import write_metrics
from roikit.trainer.failures import telling
from roikit.trainer.fields import ConfigError
from roikit.trainer.kinds import class_figures, first_figure
from roikit.trainer.pixel_scores import pixel_scores
from roikit.trainer.reading import read_annotations
from roikit.trainer.report.training import evaluation_words
from roikit.trainer.sentences import sentence_about
from roikit.trainer.shares import own_share, require_same, speed_of_all, told_names
from roikit.trainer.trained import part_paths, still_transform, told_name

__all__ = ["TASK", "Segmentation"]


@dataclass(frozen=True)
class _Files:
    """Where images and label maps of a part are."""

    annotations: str | None
    semantic: str | None
    images: str


class Segmentation:
    """The task of a ``SegmenterConfig``."""

    finds_objects = False

    def build(self, model):
        return models.build_segmenter(model)

    def network(self, model):
        return getattr(model.backbone, "body", model.backbone), model.classifier

    def require_paths(self, config):
        files = _files(config, "train")
        if files is None:
            raise ValueError("config: data.train.images must be given, and data.train.semantic, a folder of label maps "
                             "or a panoptic file, or data.train.annotations, a COCO file with masks")
        if config.data.classes is not None and _class_count(config, files.semantic) is None:
            raise ValueError("config: data.classes names the values of PNG label maps, and the training part has none: "
                             "its file names its categories")

    def train_set(self, config):
        for field, is_given in (("data.repeat_below", config.data.repeat_below is not None),
                                ("augment.copy_paste", config.augment.copy_paste > 0)):
            if is_given:
                raise ConfigError(f"config: {field} is about objects, and a segmenter learns a class for each pixel")
        return augmented(_dataset(config, _files(config, "train"), "train", None, config.run.seed,
                                  told=told_name(config, "train")), config, objects=False)

    def reports(self, config):
        for name in ("train", "val") if config.data.val.fraction is None else ("train",):
            files = _files(config, name)
            if files is not None:
                yield name, data.inspect_semantic(files.images, files.annotations, files.semantic,
                                                  classes=_class_count(config, files.semantic))

    def fitted(self, config, dataset):
        if not len(dataset):
            raise ValueError("train: there is no training image")
        count = len(dataset.class_names)
        return replace(config, model=replace(config.model, num_classes=count))

    def prepare_validation(self, config, categories, process):
        files = _files(config, "val")
        best = first_figure(config.eval.best, [*pixels.FIGURES, *class_figures(
            [pixels.KIND], [c["name"] for c in categories])])
        if files is None:
            return None
        with telling("the val part"):
            dataset = _dataset(config, files, "val", still_transform(config), told=told_name(config, "val"))
            table, note = pixels.label_table(categories, dataset, ("the training part", "the val part"))
        return pixels.PixelValidation(dataset, categories, table, best, () if note is None else (note,))

    def adjusted(self, config, *, detections=None, at_least=0, score_threshold=None):
        """As it is: every pixel has a class, so that there is no score to be above."""
        if detections is not None or at_least:
            raise ValueError("max_detections is for detectors, and this model is a segmenter")
        return config

    def num_classes(self, categories):
        return len(categories)

    def evaluate(self, trained, annotations, images, *, iou_types, limits, use_cats, out, sigmas, on_error, process,
                 batch_size, workers):
        for name, is_given in (("iou_types", iou_types is not None), ("sigmas", sigmas is not None),
                               ("use_cats", not use_cats)):
            if is_given:
                raise ValueError(f"evaluate: {name} is for detectors, and {trained.path} is a segmenter")
        config = trained.config
        dataset = _dataset(config, *_asked_for(config, annotations, images), still_transform(config), told="evaluate")
        names = [c["name"] for c in trained.categories]
        table, note = pixels.label_table(trained.categories, dataset, ("the model", "the annotations"))
        if note is not None and process.first:
            warnings.warn(f"evaluate: {note}", RoikitWarning, stacklevel=3)
        require_same(process, "evaluate", images=told_names(dataset.image_ids))
        unread = []

        def failed(path, error):
            unread.append(path)
            if on_error is not None:
                on_error(path, error)
            else:
                warnings.warn(f"evaluate: {sentence_about(path, error)}", RoikitWarning, stacklevel=5)

        share = own_share(dataset.image_ids, process)
        matrix, _, speed = pixels.look(trained.model, dataset, table, len(names), share=share, device=trained.device,
                                       amp=config.run.amp, batch_size=batch_size, workers=workers, on_error=failed)
        matrix, unread = sum(process.gather(matrix)), sum(process.gather(unread), [])
        speed = speed_of_all(process, speed, len(share))
        if unread and len(unread) == len(dataset):
            raise OSError(f"evaluate: none of the {counted(len(unread), 'image')} could be read")
        metrics = {pixels.KIND: pixel_scores(matrix, names), "speed": speed, "unread": len(unread)}
        if not process.first:
            return process.share_first(None)
        pixels.warn_of_no_overlap(metrics[pixels.KIND], stacklevel=4)
        if out is not None:
            write_metrics(out, metrics)
            pixels.write_confusion(out, matrix, names)
            if config.run.report:
                pixels.report_pixels(out, matrix, names, scores={pixels.KIND: metrics[pixels.KIND]},
                                     **evaluation_words(trained, dataset.images))
        return process.share_first(metrics)

    def prediction(self, trained, *, boxes=True):
        return _Found([c["name"] for c in trained.categories])


@dataclass(frozen=True)
class _Found:
    """Results and pictures of what a segmenter gives."""

    names: list
    kinds: ClassVar[dict] = {"label map": "labels"}

    def results(self, output, image_id):
        """COCO results of stuff: a mask for each class that is there; with the number of its pixels, ``area``."""
        classes, found = output["classes"].cpu().numpy(), []
        for value in np.unique(classes).tolist():
            mask = rle.encode(np.asfortranarray(classes == value, np.uint8))
            found.append({"image_id": image_id, "category_id": value, "area": int(rle.area(mask)), "segmentation": {
                "size": [int(n) for n in mask["size"]], "counts": mask["counts"].decode("ascii")}})
        return found

    def picture(self, image, output, results):
        return draw_classes(image, output["classes"].cpu().numpy(), self.names)

    def write(self, folder, name, output):
        """The label map, as ``labels/NAME.png``."""
        path = Path(folder) / "labels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_labels(path, output["classes"].cpu().numpy(), class_colors(len(self.names), self.names))

    def close(self, folder, images, names):
        """Nothing, for each label map stands for itself."""


def _files(config, part):
    """The files of "train" or "val", or None where none are named."""
    named = getattr(config.data, part)
    if named.fraction is not None:
        return _files(config, "train")
    if named.images is not None:
        return _Files(named.annotations, named.semantic, named.images)
    # With files of one's own for training, the bundled val part would be another data set.
    found = part_paths(config, part) if config.data.train.images is None else None
    return None if found is None else _Files(found[0], named.semantic, found[1])


def _asked_for(config, annotations, images):
    """The files to evaluate on, and the name of their part: those given, which are of none, or the val part.

    The images of annotations that are no label maps may be left out, and are looked for beside them.
    """
    if images is None and isinstance(annotations, (str, os.PathLike)) and not is_semantic_source(annotations):
        _, annotations, images = find_source(annotations)
    if (annotations is None) != (images is None):
        raise ValueError(f"evaluate: annotations and images must be given together, got {annotations} and {images}")
    if annotations is not None:
        is_semantic = is_semantic_source(annotations)
        named = (None, annotations) if is_semantic else (annotations, None)
        return _Files(*named, images), None
    files = _files(config, "val")
    if files is None:
        raise ValueError("evaluate: annotations and images must be given; the run had no val part")
    return files, "val"


def _class_count(config, semantic):
    """The number of values that label maps of a folder may have; None where the file says so itself."""
    if semantic is None or not os.path.isdir(local_path(semantic)):
        return None
    return config.model.num_classes if config.data.classes is None else len(config.data.classes)


def _dataset(config, files, part, transform, seed=0, *, told):
    """The images and label maps of ``files``, those of ``part``, "train" or "val"; all of None.

    ``told`` is the name of `read_annotations`.
    """
    content = files.annotations
    if content is not None:
        content = read_annotations(content, files.images, told)
    elif is_choosy(config, part):
        content = semantic_content(files.semantic, files.images)
    ids = None if content is None else chosen_ids(config, part, content)
    classes = _class_count(config, files.semantic)
    return data.SemanticDataset(files.images, content, files.semantic,
                                classes=classes if classes is None else config.data.classes or classes,
                                transform=transform, seed=seed, ids=ids,
                                keep_empty=part is None or getattr(config.data, part).keep_empty)


TASK = Segmentation()
