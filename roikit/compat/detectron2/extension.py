"""detectron2's Python without its compiled module: detectron2._C and torch.ops.detectron2 made of roikit's ops."""

import sys
from importlib.abc import MetaPathFinder

import torch

import roikit
import roikit.ops
from roikit.compat._deform import FUNCTIONS
from roikit.compat._extension import missing, stand_in

__all__ = ["install"]

NAME = "detectron2._C"
FAST_EVALUATION = "detectron2.evaluation.fast_eval_api"
_MISSING = ("COCOevalAccumulate", "COCOevalEvaluateImages", "InstanceAnnotation", "ImageEvaluation")


def _roi_align_rotated_backward(grad, rois, spatial_scale, pooled_height, pooled_width, batch_size, channels, height,
                                width, sampling_ratio):
    return torch.ops.roikit.roi_align_rotated_backward(grad, rois.float(), batch_size, height, width, False,
                                                       spatial_scale, sampling_ratio)


def _roi_align_rotated_forward(input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio):
    return roikit.ops.roi_align_rotated(input, rois, (pooled_height, pooled_width), spatial_scale, sampling_ratio)


_OPERATORS = {
    "nms_rotated(Tensor dets, Tensor scores, float iou_threshold) -> Tensor": roikit.ops.nms_rotated,
    "box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor": roikit.ops.box_iou_rotated,
    "roi_align_rotated_forward(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio) -> Tensor": _roi_align_rotated_forward,
    "roi_align_rotated_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width, int sampling_ratio) "
    "-> Tensor": _roi_align_rotated_backward,
}


class _NoFastEvaluation(MetaPathFinder):
    """detectron2 evaluates with pycocotools where its fast evaluation, all of it in the compiled module, is missing."""

    def find_spec(self, name, path=None, target=None):
        if name == FAST_EVALUATION and hasattr(sys.modules.get(NAME), "_roikit_library"):
            raise ImportError(f"{name} needs detectron2's own compiled module, which did not load", name=name)
        return None


def _fill(module):
    library = torch.library.Library("detectron2", "DEF")
    for schema, kernel in _OPERATORS.items():
        library.define(schema)
        library.impl(schema.split("(", 1)[0], kernel, "CompositeImplicitAutograd")
    module._roikit_library = library  # a Library takes its operators with it when it goes
    module.get_compiler_version = lambda: f"none: roikit {roikit.__version__} stands in"
    module.get_cuda_version = lambda: "not available"
    module.has_cuda = lambda: False
    module.__dict__.update(FUNCTIONS)
    for name in _MISSING:
        setattr(module, name, missing(f"{NAME}.{name}"))


def install():
    """Let detectron2's Python run where it was not compiled. Calling it twice is harmless.

    Works whether or not detectron2 is installed; nothing happens until it imports ``detectron2._C``. A compiled module
    that loads is left alone. What has no kernel in roikit raises NotImplementedError with its name when called;
    evaluation falls back on pycocotools. detectron2 imports torchvision, for which
    `roikit.compat.torchvision.install` does the same.

    Raises:
        RuntimeError: detectron2's layers were imported before, without the compiled module.
    """
    stand_in(NAME, "detectron2.layers.deform_conv", _fill)
    if not any(isinstance(finder, _NoFastEvaluation) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoFastEvaluation())
