"""Finished models from a run's files, and the data sets that a configuration names."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from roikit import data
from roikit.data import transforms
from roikit.data.annotations import load_annotations
from roikit.data.layouts import find_source
from roikit.data.remote import is_address, local_path
from roikit.models.weights.categories import categories_of
from roikit.models.weights.download import fetch
from roikit.models.weights.published import find_published, published
from roikit.models.weights.published_model import named_model
from roikit.trainer import checkpoint
from roikit.trainer.asked import asks_for_keypoints, asks_for_rotated, asks_for_semantic, semantic_classes
from roikit.trainer.augmentation import augmented
from roikit.trainer.chosen import chosen_ids, part_of_source, val_beside
from roikit.trainer.config import TrainConfig, load_config
from roikit.trainer.distributed import pick_device
from roikit.trainer.extras import extra
from roikit.trainer.reading import read_annotations
from roikit.trainer.tasks import task_of

__all__ = ["Trained", "evaluation_paths", "image_preparation", "inspected_parts", "is_published",
           "load_trained", "part_paths", "require_objects", "still_transform", "told_name", "train_paths", "train_set",
           "val_paths", "val_set", "weights_file"]


@dataclass(frozen=True)
class Trained:
    """A model with what its numbers mean.

    Attributes:
        model: in evaluation mode on ``device``.
        config: of the run that made it.
        categories: as the checkpoint has them, in the order of the labels 1, 2, ...
        path: the file it came from.
    """

    model: nn.Module
    config: TrainConfig
    categories: list[dict[str, Any]]
    device: torch.device
    path: Path

    @property
    def has_masks(self):
        return getattr(self.config.model, "mask", None) is not None


def load_trained(source, device="auto", *, detections=None, at_least=0, score_threshold=None):
    """The model of a checkpoint, of exported weights, of a run's folder, or of published weights.

    Args:
        source: ``.pt`` written by the trainer, ``.safetensors`` exported by it, or the folder of
            a run (``best.pt`` where there is one, else ``last.pt`` or ``model.safetensors``); or where no such file is
            there, a name of `published`, whose weights are downloaded unless they have been before.
        device: "auto", "cpu", "cuda", ...
        detections: detections an image at most, if not as configured.
        at_least: raises that number where it is lower, so that an evaluation gets as many as it counts.
        score_threshold: detections below this score are not given, if not as configured.

    Raises:
        FileNotFoundError, ValueError: no such file, or one that is something else.
        ConnectionError: published weights cannot be downloaded.
    """
    if is_published(source):
        return _load_published(str(source), device, detections, at_least, score_threshold)
    path = weights_file(source)
    if path.suffix == ".safetensors":
        weights, config, categories = _read_safetensors(path)
    else:
        state = checkpoint.load(path)
        weights, config, categories = state["model"], state["config"], state["categories"]
    config = _configured(config, categories, path)
    task = task_of(config.model)
    config = task.adjusted(config, detections=detections, at_least=at_least, score_threshold=score_threshold)
    model = task.build(config.model)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoint: the weights of {path} do not fit its configuration: {error}") from None
    place = pick_device(device)
    model.to(place, memory_format=torch.channels_last if config.run.channels_last
             else torch.preserve_format)
    return Trained(model.eval(), config, categories, place, path)


def is_published(source):
    """Whether this is the name of published weights, and not a file or folder."""
    return not (is_address(source) or Path(source).exists()) and any(e.name == str(source) for e in published())


def _load_published(name, device, detections, at_least, score_threshold):
    entry = find_published(name)
    path = fetch(entry)
    model = named_model(name, path)
    place = pick_device(device)
    if not hasattr(model.config, "box"):
        config = task_of(model.config).adjusted(TrainConfig(model=model.config), detections=detections,
                                                at_least=at_least, score_threshold=score_threshold)
        return Trained(model.to(place).eval(), config, categories_of(entry, model.config.num_classes), place, path)
    box = model.config.box
    count = box.detections_per_image if detections is None else detections
    threshold = box.score_threshold if score_threshold is None else score_threshold
    model.box = replace(box, detections_per_image=max(count, at_least), score_threshold=threshold)
    model.config = replace(model.config, box=model.box)
    if model.config.panoptic is not None and score_threshold is not None:
        model.panoptic = replace(model.panoptic, score_threshold=score_threshold)
        model.config = replace(model.config, panoptic=model.panoptic)
    model.to(place)
    return Trained(model.eval(), TrainConfig(model=model.config), categories_of(entry, model.config.num_classes), place,
                   path)


def _configured(config, categories, path):
    """The configuration of a file as ``TrainConfig``; of as many classes as there are categories."""
    try:
        config = load_config(config)
    except ValueError as error:
        raise ValueError(f"checkpoint: {path}: {error}") from None
    extra_ones = task_of(config.model).num_classes(categories) - len(categories)
    if config.model.num_classes != len(categories) + extra_ones:
        raise ValueError(f"checkpoint: {path}: its model tells {config.model.num_classes - extra_ones} categories "
                         f"apart, and it names {len(categories)}")
    return config


def weights_file(path):
    """The file itself; of a run's folder the first there is of ``best.pt``, ``last.pt`` and ``model.safetensors``."""
    path = Path(local_path(path, texts=False))
    if not path.is_dir():
        return path
    for name in ("best.pt", "last.pt", "model.safetensors"):
        if (path / name).is_file():
            return local_path(path / name)
    raise FileNotFoundError(f"checkpoint: {path} holds none of best.pt, last.pt and model.safetensors")


def _read_safetensors(path):
    safetensors = extra("safetensors", "reading exported weights")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: {path} does not exist")
    with open(path, "rb"):  # the library takes every file that it cannot open for one that is not there
        pass
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("roikit")
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is not a readable safetensors file: {error}") from None
    if header is None:
        raise ValueError(f"checkpoint: {path} was not exported by roikit's trainer; "
                         "roikit.models.load_checkpoint reads plain state dicts")
    try:
        header = json.loads(header)
        config, categories = header["config"], header["categories"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoint: {path} has a header that cannot be read: {error}") from None
    checkpoint.check_categories(categories, path)
    if not isinstance(config, dict):
        raise ValueError(f"checkpoint: {path}: its config must be dict, got {type(config).__name__}")
    return weights, config, categories


def part_paths(config, part):
    """(annotations, images) of "train" or "val", or None where none are named.

    Raises:
        OSError, ValueError: a ``source`` is not there, or in no layout that is known.
    """
    files, train = getattr(config.data, part), config.data.train
    if files.fraction is not None:
        return part_paths(config, "train")
    if files.source is not None:
        return part_of_source(files.source, part)
    if files.annotations is not None:
        return files.annotations, files.images
    if part == "val" and train.source is not None:
        return val_beside(train.source)
    # With files of one's own for training, the bundled val part would be another data set.
    bundled = config.data.bundled is not None and train.annotations is train.source is None
    return data.nuclei_mini(part) if bundled else None


def evaluation_paths(config, annotations=None, images=None):
    """(annotations, images) to evaluate on: those given, or the configured val part.

    The images of a path of annotations may be left out, and are looked for beside it.

    Raises:
        OSError: the images are not beside the annotations.
        ValueError: images alone are given, or annotations that are no path, or none and none is configured.
    """
    if images is None and isinstance(annotations, (str, os.PathLike)):
        _, annotations, images = find_source(annotations)
    if (annotations is None) != (images is None):
        raise ValueError("evaluate: annotations and images must be given together, "
                         f"got {annotations} and {images}")
    paths = (annotations, images) if annotations is not None else part_paths(config, "val")
    if paths is None:
        raise ValueError("evaluate: annotations and images must be given; the run had no val part")
    return paths


def val_paths(config):
    """(annotations, images) of the val part, or None where none are named."""
    return part_paths(config, "val")


def train_paths(config):
    """(annotations, images) of the training part.

    Raises:
        ValueError: the configuration names none.
    """
    paths = part_paths(config, "train")
    if paths is None:
        raise ValueError("config: data.train.annotations and data.train.images must be given")
    return paths


def inspected_parts(config):
    """Yields the name and (annotations, images) of each part; a val part that is a fraction of the other is none."""
    yield "train", train_paths(config)
    paths = None if config.data.val.fraction is not None else val_paths(config)
    if paths is not None:
        yield "val", paths


def train_set(config):
    """The training part with its augmentation, and with the keypoints and semantic labels that the model asks for.

    Semantic labels are those of ``data.train.semantic``, or else the union of the objects' masks.
    """
    annotations, images = train_paths(config)
    content = read_annotations(annotations, images, told_name(config, "train"))
    semantic = (config.data.train.semantic or "instances") if asks_for_semantic(config.model) else None
    dataset = data.CocoDataset(content, images, seed=config.run.seed, ids=chosen_ids(config, "train", content),
                               keep_empty=config.data.train.keep_empty, keypoints=asks_for_keypoints(config.model),
                               keypoint_pairs=config.augment.keypoint_pairs, semantic=semantic,
                               semantic_classes=semantic_classes(config.model), rotated=asks_for_rotated(config.model))
    return augmented(dataset, config)


def told_name(config, part):
    """What a line about the annotations of "train" or "val" begins with; None where another line has said it.

    The doctor says it in its report; where val is a fraction of train, there is one file.
    """
    if config.run.doctor or part == "val" and config.data.val.fraction is not None:
        return None
    return part


def val_set(config, annotations=None, images=None, *, content=None, keep_missing=False):
    """The val part, or other files read the way that the val part is.

    ``content`` is what the annotation file holds, where it has been read already; ``keep_missing`` as `CocoDataset`
    has it.
    """
    part = "val" if annotations is None else None
    keep_empty = config.data.val.keep_empty if annotations is None else True
    annotations, images = evaluation_paths(config, annotations, images)
    content = load_annotations(annotations, images=images) if content is None else content
    return data.CocoDataset(content, images, transform=still_transform(config), ids=chosen_ids(config, part, content),
                            keep_empty=keep_empty, keep_missing=keep_missing,
                            keypoints=asks_for_keypoints(config.model), rotated=asks_for_rotated(config.model))


def still_transform(config):
    """What evaluation and prediction do to an image: nothing random."""
    return transforms.PerImageNormalize() if config.augment.per_image_normalize else None


def image_preparation(config):
    """What makes an (H, W, 3) image array the tensor that the model of a configuration is to be given."""
    still = still_transform(config)
    return lambda image: transforms.image_tensor(image if still is None else still.image(image))


def require_objects(trained, option):
    """Refuse an option that is for models of objects alone.

    Raises:
        ValueError: the model gives a map of the image.
    """
    if not task_of(trained.config.model).finds_objects:
        raise ValueError(f"{option} is for models that find objects, and {trained.path} gives a map of the image")
