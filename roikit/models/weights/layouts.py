"""What another library can compute: the fields of a configuration that stand in the way of handing a model on."""

from collections.abc import Mapping
from typing import Any

from roikit.models.configs import DetectorConfig
from roikit.models.configs.body import LEVELS

__all__ = ["obstacle"]

_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
            "resnext101_64x4d")
_SIMPLE = {"mask_score": (None,), "hybrid": (None,), "iterative": (None,), "integral": (None,),
           "box.selection.kind": ("nms",), "mask.head": ("fcn",), "mask.loss": ("sigmoid",)}
_UNALIGNED = {f"{part}.aligned": (False,) for part in ("box", "mask", "keypoint")}

# A field's values with which the library computes the same. Fields of training alone do not count, nor do numbers that
# each library takes as an argument.
_ALLOWED: dict[str, Mapping[str, tuple[Any, ...]]] = {
    "torchvision": {
        **_SIMPLE, **_UNALIGNED,
        "boxes": ("upright",), "cascade": (None,),
        "backbone.name": _RESNETS, "backbone.neck": ("fpn",), "backbone.levels": (LEVELS,),
        "backbone.stride_in_1x1": (False,), "backbone.deform_stages": ((),),
        "rpn.rounded_anchors": (True,), "rpn.anchor_order": ("ratio",), "rpn.clip_below": (False,),
        "rpn.min_side": (1e-3,),
        "box.head": ("layers",), "box.pool_kind": ("roi_align",), "box.pool_reduce": ("mean",),
        "box.class_agnostic": (False,), "box.clip_below": (False,), "box.min_side": (1e-2,),
        "mask.pool_kind": ("roi_align",), "mask.pool_reduce": ("mean",), "mask.class_agnostic": (False,),
        "mask.paste_rule": ("integer",),
        "keypoint.pool_kind": ("roi_align",), "keypoint.pool_reduce": ("mean",), "keypoint.score_rule": ("logit",),
    },
    "detectron2": {
        **_SIMPLE,
        "backbone.name": (*_RESNETS, "resnext152_32x8d"), "backbone.norm_eps": (1e-5,),
        "rpn.rounded_anchors": (False,), "rpn.clip_below": (False,),
        "box.pool_kind": ("roi_align",), "box.pool_reduce": ("mean",), "box.clip_below": (False,),
        "cascade.score": ("mean_probability",), "cascade.mask_stages": ("last",),
        "mask.pool_kind": ("roi_align",), "mask.pool_reduce": ("mean",), "mask.paste_rule": ("continuous",),
        "keypoint.pool_kind": ("roi_align",), "keypoint.pool_reduce": ("mean",),
        "keypoint.score_rule": ("probability",),
    },
    "mmdetection": {
        "boxes": ("upright",),
        "rpn.rounded_anchors": (False,), "rpn.clip_below": (True,), "rpn.anchor_order": ("ratio",),
        "box.clip_below": (True,), "mask.paste_rule": ("continuous",),
        "cascade.score": ("mean_logit",),
    },
}


def obstacle(config: DetectorConfig, library: str) -> str | None:
    """The first field with which that library would compute something else, and what it would have to be.

    Args:
        library: "torchvision", "detectron2" or "mmdetection".
    """
    for field, allowed in _ALLOWED[library].items():
        value: Any = config
        for part in field.split("."):
            value = None if value is None else getattr(value, part)
        # A branch that there is not stands in nobody's way.
        absent = "." in field and getattr(config, field.partition(".")[0]) is None
        if not absent and value not in allowed:
            return f"{field} must be {' or '.join(map(repr, allowed))}, got {value!r}"
    if library == "detectron2" and config.boxes == "rotated" and not config.mask is config.cascade is None:
        return "boxes must be 'upright' with masks or a cascade, got 'rotated'"
    several = len(config.rpn.anchor_sizes[0]) > 1 and len(config.rpn.aspect_ratios) > 1
    if library == "detectron2" and several and config.rpn.anchor_order != "size":
        return f"rpn.anchor_order must be 'size' with several sizes a level, got {config.rpn.anchor_order!r}"
    # A level's size over the batch's is the network's stride where nothing was rounded up.
    exact = config.image.size_divisible % config.backbone.strides[-1] == 0
    if not exact and config.rpn.nominal_strides != (library != "torchvision"):
        return (f"rpn.nominal_strides must be {library != 'torchvision'!r}, or image.size_divisible a multiple of "
                f"{config.backbone.strides[-1]}, got {config.rpn.nominal_strides!r} and {config.image.size_divisible}")
    return None
