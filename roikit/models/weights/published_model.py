"""Published weights as ready models."""

import os
from typing import Any

from roikit.models import builders
from roikit.models.build import build_detector
from roikit.models.configs import SegmenterConfig
from roikit.models.parts.detector import Detector
from roikit.models.segmentation import builders as segmenters
from roikit.models.segmentation.segmenter import Segmenter
from roikit.models.weights.changes import changed, unknown
from roikit.models.weights.checkpoint import load_checkpoint
from roikit.models.weights.detectron2_zoo import DETECTRON2_NAMES, detectron2_model
from roikit.models.weights.download import fetch
from roikit.models.weights.mmdetection_zoo import MMDETECTION_NAMES, mmdetection_model
from roikit.models.weights.published import find_published

__all__ = ["load_published", "named_model"]

# The doors' changes under the names that torchvision's builders have for them.
_BUILDER_NAMES = {"score_threshold": "box_score_thresh", "detections_per_image": "box_detections_per_img"}
# torchvision's weights that are not the default of their builder are named after a slash.
_BUILDERS = tuple(name for name in builders.__all__ if "rcnn_resnet50_" in name)
_SEGMENTERS = ("fcn_resnet50", "fcn_resnet101")
# What the authors of YOLACT call a configuration, before the numbers of epochs and steps in a file's name: the body,
# and what else differs.
_YOLACT = {"yolact_resnet50": ("resnet50", {}), "yolact_base": ("resnet101", {}), "yolact_darknet53": ("darknet53", {}),
           "yolact_im700": ("resnet101", {"image_size": 700}), "yolact_plus_resnet50": ("resnet50", {"plus": True}),
           "yolact_plus_base": ("resnet101", {"plus": True})}


def load_published(name: str, *, folder: str | os.PathLike | None = None, progress: bool = True,
                   **changes: Any) -> Detector | Segmenter:
    """A model with the weights that others publish, in evaluation mode; `config` is its attribute.

    Args:
        name: of `published()`.
        folder: where the file is or is downloaded to; default `ROIKIT_HOME`, else the user's cache folder.
        progress: whether to show on stderr how far the download is.
        **changes: see `named_model`.

    Raises:
        ValueError: no such name, with names that are near; or the file has another digest than published.
        ConnectionError: no network; it names the URL and the path for the file.
        OSError: the file cannot be written or read.
    """
    path = fetch(find_published(name), folder, progress)
    return named_model(name, path, **changes).eval()


def named_model(name: str, weights: str | os.PathLike | None = None, **changes: Any) -> Detector | Segmenter:
    """The model of a name: torchvision's builder, a configuration of detectron2, mmdetection or YOLACT's authors.

    Args:
        name: of `published()`, or another that `detectron2_model`, `mmdetection_model` or a builder has.
        weights: its file, or None for random weights.
        **changes: `min_size`, `max_size`, `num_classes`; of a detector `score_threshold`, `detections_per_image`.

    Raises:
        ValueError: no such name.
    """
    if name in DETECTRON2_NAMES:
        return detectron2_model(name, weights, **changes)
    if name in MMDETECTION_NAMES:
        return mmdetection_model(name, weights, **changes)
    if (own := name.removesuffix("_54_800000")) in _YOLACT:
        return _yolact(own, weights, changes)
    if name in _SEGMENTERS:
        return _segmenter(name, weights, changes)
    builder = name.partition("/")[0]
    if builder not in _BUILDERS:
        raise unknown("named_model", name, (*_BUILDERS, *_SEGMENTERS, *_YOLACT, *DETECTRON2_NAMES, *MMDETECTION_NAMES))
    return getattr(builders, builder)(weights=weights, **{_BUILDER_NAMES.get(key, key): value
                                                          for key, value in changes.items()})


def _yolact(name: str, weights: str | os.PathLike | None, changes: dict[str, Any]) -> Detector:
    body, own = _YOLACT[name]
    model = build_detector(changed(builders.yolact_config(body, **own), "named_model", changes))
    if weights is not None:
        load_checkpoint(model, weights, allow_new_classes="num_classes" in changes)
    return model


def _segmenter(name: str, weights: str | os.PathLike | None, changes: dict[str, Any]) -> Segmenter:
    config = changed(SegmenterConfig(), "named_model", changes)
    # The files have the auxiliary head.
    model = getattr(segmenters, name)(num_classes=config.num_classes, aux_loss=True, image=config.image)
    if weights is not None:
        load_checkpoint(model, weights, allow_new_classes="num_classes" in changes)
    return model
