"""What is judged: each op with its reference, its tolerance, its arguments and the conventions that others follow.

A file here is an op of the table, found by its name; its OPS are those of its functions.
"""

import importlib

from roikit.testing.judging import Op, difference
from roikit.testing.table import OPS

__all__ = ["JUDGED", "Op", "difference"]

FILES = (*(op for op, entry in OPS.items() if entry["kind"] != "torch"), "rle")
JUDGED = {op.name: op for file in FILES for op in importlib.import_module(f"roikit.testing.judged.{file}").OPS}
