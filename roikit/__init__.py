"""roikit: region-detection kernels and the detectors made of them.

    roikit.ops        torch functions with autograd: nms, roi_align, box_iou, ...
    roikit.kernels    the same functions on NumPy arrays, without torch
    roikit.models     Mask R-CNN and its family
    roikit.export     models and ops in ONNX
    roikit.masks      COCO mask formats
    roikit.train, roikit.evaluate, roikit.predict
"""

import importlib

from roikit._version import __version__

_SUBMODULES = ("compat", "data", "errors", "export", "kernels", "masks", "models", "ops", "reference",
               "testing", "trainer")
_LAZY = {
    "show_config": "roikit._config",
    "simd": "roikit._config",
    "simd_level": "roikit._config",
    "simd_levels": "roikit._config",
    "keep_freed_memory": "roikit._memory",
    "train": "roikit.trainer",
    "evaluate": "roikit.trainer",
    "predict": "roikit.trainer",
}

__all__ = ["__version__", *_LAZY, *_SUBMODULES]


def __getattr__(name):
    if name in _SUBMODULES:
        return importlib.import_module(f"roikit.{name}")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'roikit' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
