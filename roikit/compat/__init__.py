"""Other libraries' names on roikit's kernels: ``roikit.compat.detectron2``, ``.mmcv`` and ``.torchvision``."""

import importlib

__all__ = ["detectron2", "mmcv", "torchvision"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"roikit.compat.{name}")
    raise AttributeError(f"module 'roikit.compat' has no attribute {name!r}")
