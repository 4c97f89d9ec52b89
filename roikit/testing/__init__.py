"""What users check their own ops with: hypothesis strategies for the inputs of every op, and the SIMD switch.

    with roikit.testing.simd("base"):     run the compiled kernels at a lower vector level
        ...

``roikit.testing.strategies`` needs hypothesis, and is imported when it is first asked for.
"""

import importlib

from roikit import simd, simd_levels

__all__ = ["simd", "simd_levels", "strategies"]


def __getattr__(name):
    if name == "strategies":
        return importlib.import_module(f"roikit.testing.{name}")
    raise AttributeError(f"module 'roikit.testing' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
