"""What another library can compute: the fields of a configuration that stand in the way of handing a model on."""

from collections.abc import Mapping
from typing import Any

from roikit.models.configs import DetectorConfig, FCNHeadConfig, SegmenterConfig
from roikit.models.configs.body import LEVELS

__all__ = ["obstacle"]

_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
            "resnext101_64x4d")
_SIMPLE = {"dense": (None,), "mask_score": (None,), "hybrid": (None,), "iterative": (None,), "integral": (None,),
           "box.selection.kind": ("nms",), "mask.head": ("fcn",), "mask.loss": ("sigmoid",)}
_UNALIGNED = {f"{part}.aligned": (False,) for part in ("box", "mask", "keypoint")}

# A field's values with which the library computes the same. Fields of training alone do not count, nor do numbers that
# each library takes as an argument.
_ALLOWED: dict[str, Mapping[str, tuple[Any, ...]]] = {
    "torchvision": {
        **_SIMPLE, **_UNALIGNED,
        "boxes": ("upright",), "cascade": (None,), "panoptic": (None,),
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
        "panoptic.head.fusion": ("sum",),
    },
    "mmdetection": {
        "boxes": ("upright",), "dense": (None,),
        "rpn.rounded_anchors": (False,), "rpn.clip_below": (True,), "rpn.anchor_order": ("ratio",),
        "box.clip_below": (True,), "mask.paste_rule": ("continuous",),
        "cascade.score": ("mean_logit",),
    },
    "YOLACT": {
        "backbone.name": ("resnet50", "resnet101", "darknet53"), "backbone.levels": (("c3", "c4", "c5"),),
        "backbone.norm": ("batch", "frozen", "sync"), "backbone.norm_eps": (1e-5,), "backbone.fpn_norm": ("none",),
        "backbone.fpn_extra": ("conv",), "backbone.fpn_upsample": ("bilinear",), "backbone.fpn_relu": (True,),
        "backbone.stride_in_1x1": (False,), "backbone.dilated_c5": (False,), "backbone.deform_groups": (1,),
        "backbone.deform_stages": ((), ("c3", "c4", "c5")),
        "image.keep_aspect": (False,), "image.size_divisible": (1,),
        "box.regression_weights": ((10.0, 10.0, 5.0, 5.0),), "box.clip_below": (False,), "box.min_side": (0.0,),
        "box.selection.kind": ("fast_nms",), "mask.threshold": (0.5,),
        "dense.head_layers": (1,), "dense.proto_layers": ((256, 256, 256),), "dense.proto_fine_layers": ((256,),),
        "dense.norm": ("none",), "dense.threshold_on": ("prior",),
    },
}


def _obstacle_of_pixels(config: SegmenterConfig, library: str) -> str | None:
    """As `obstacle`: of segmenters torchvision has the FCN on a ResNet alone."""
    if library != "torchvision":
        return "it has no such segmenter"
    backbone, head = config.backbone, config.head
    if not isinstance(head, FCNHeadConfig) or head.channels is not None or head.norm not in ("batch", "sync", "frozen"):
        return f"head must be 'fcn' with its own width and batch norm, got {head}"
    allowed = {"name": ("resnet50", "resnet101"), "output_stride": (8,), "stride_in_1x1": (False,),
               "deform_stages": ((),), "norm": ("batch", "sync", "frozen")}
    return next((f"backbone.{name} must be {' or '.join(map(repr, values))}, got {getattr(backbone, name)!r}"
                 for name, values in allowed.items() if getattr(backbone, name) not in values), None)


def obstacle(config: DetectorConfig | SegmenterConfig, library: str) -> str | None:
    """The first field with which that library would compute something else, and what it would have to be.

    Args:
        library: "torchvision", "detectron2", "mmdetection" or "YOLACT", its authors' code.
    """
    if isinstance(config, SegmenterConfig):
        return _obstacle_of_pixels(config, library)
    if library == "YOLACT" and config.dense is None:
        return "dense must not be None"
    for field, allowed in _ALLOWED[library].items():
        value: Any = config
        for part in field.split("."):
            value = None if value is None else getattr(value, part)
        # A branch that there is not stands in nobody's way.
        absent = "." in field and getattr(config, field.partition(".")[0]) is None
        if not absent and value not in allowed:
            return f"{field} must be {' or '.join(map(repr, allowed))}, got {value!r}"
    if library == "YOLACT":
        return _obstacle_of_dense(config)
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


def _obstacle_of_dense(config: DetectorConfig) -> str | None:
    """What several fields say together."""
    dense, body = config.dense, config.backbone
    if config.image.min_size[-1] != config.image.max_size:
        return f"image.max_size must be image.min_size, {config.image.min_size[-1]}, got {config.image.max_size}"
    if len(dense.prior_ratios) > 1 and len(dense.prior_sizes[0]) > 1 and dense.square_priors:
        return "dense.square_priors must be False with several sizes a level"
    if dense.rescoring is not None and dense.rescoring.layers != (8, 16, 32, 64, 128):
        return f"dense.rescoring.layers must be (8, 16, 32, 64, 128), got {dense.rescoring.layers}"
    if body.deform_stages and (body.deform_version, body.deform_interval) not in ((2, 1), (2, 3)):
        return ("backbone.deform_version must be 2 and deform_interval 1 or 3, got "
                f"{body.deform_version} and {body.deform_interval}")
    return None
