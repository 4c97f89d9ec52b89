"""Other libraries' names on roikit's kernels: ``roikit.compat.torchvision``."""

import importlib

__all__ = ["torchvision"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"roikit.compat.{name}")
    raise AttributeError(f"module 'roikit.compat' has no attribute {name!r}")
