"""What users check their own ops with.

    roikit.testing.check(my_nms, "nms").text()      compare a function with the reference, and name its convention
    roikit.testing.strategies                       hypothesis strategies for the inputs of every op
    roikit.testing.cases("roi_align")               a strategy for all arguments of one op
    roikit.testing.table.OPS                        the ops, with their signatures and an example of each argument
    with roikit.testing.simd("base"):               run the compiled kernels at a lower vector level
        ...

All but the table and the SIMD switch need hypothesis, which is imported when one of them is first asked for.
"""

import importlib

from roikit import simd, simd_levels

_LAZY = {"check": "checker", "check_floors": "floors", "cases": "arguments", "Report": "report", "Variant": "variants",
         "JUDGED": "judged", "CannotCheck": "calling"}
_NEED_HYPOTHESIS = ("JUDGED", "check", "check_floors", "cases", "strategies")

__all__ = ["CannotCheck", "JUDGED", "Report", "Variant", "cases", "check", "check_floors", "simd", "simd_levels",
           "strategies"]


def __getattr__(name):
    if name not in _LAZY and name != "strategies":
        raise AttributeError(f"module 'roikit.testing' has no attribute {name!r}")
    if name in _NEED_HYPOTHESIS:
        try:
            import hypothesis  # noqa: F401
        except ImportError:
            raise ImportError(
                f"roikit.testing.{name} needs hypothesis; install it with `pip install hypothesis`") from None
    module = importlib.import_module(f"roikit.testing.{_LAZY.get(name, name)}")
    return module if name == "strategies" else getattr(module, name)


def __dir__():
    return sorted([*globals(), *__all__])
