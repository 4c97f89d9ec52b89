"""What the configuration of a model asks of the data."""

from dataclasses import replace

__all__ = ["asks_for_keypoints", "asks_for_rotated", "asks_for_semantic", "fitted_model", "semantic_classes"]


def asks_for_keypoints(model):
    """Whether a ``DetectorConfig`` has a branch of keypoints, ``keypoint``."""
    return model.keypoint is not None


def asks_for_rotated(model):
    """Whether a ``DetectorConfig`` finds rotated boxes."""
    return model.boxes == "rotated"


def asks_for_semantic(model):
    """Whether a ``DetectorConfig`` has a branch that learns a class for each pixel, ``hybrid.semantic``."""
    return _semantic(model) is not None


def semantic_classes(model):
    """The number of values 0..C that such a branch tells apart; None without."""
    semantic = _semantic(model)
    return None if semantic is None else semantic.num_classes


def _semantic(model):
    return None if model.hybrid is None else model.hybrid.semantic


def fitted_model(model, dataset):
    """A ``DetectorConfig`` with the numbers that the training data decide put in.

    Raises:
        ValueError: the data lack what it asks for.
    """
    if model.mask is not None and not dataset.has_masks:
        raise ValueError("train: the training data have no masks; model.mask=null trains boxes "
                         "alone")
    model = replace(model, num_classes=dataset.num_classes)
    if asks_for_keypoints(model):
        if not dataset.has_keypoints:
            raise ValueError("train: the training data have no keypoints: a category must name them and an object have "
                             "one that is labelled; model.keypoint=null trains without")
        model = replace(model, keypoint=replace(model.keypoint, num_keypoints=dataset.num_keypoints))
    if semantic_classes(model) is not None:
        semantic = replace(model.hybrid.semantic, num_classes=dataset.semantic_classes)
        model = replace(model, hybrid=replace(model.hybrid, semantic=semantic))
    return model
