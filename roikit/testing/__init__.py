"""What users check their own ops with: hypothesis strategies for the inputs of every op.

``roikit.testing.strategies`` needs hypothesis, and is imported when it is first asked for.
"""

import importlib

__all__ = ["strategies"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"roikit.testing.{name}")
    raise AttributeError(f"module 'roikit.testing' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
