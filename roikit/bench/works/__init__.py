"""The works of `roikit bench`: a file for each op of the table and for each mask format, found by its name.

Its `works(peers, device)` yields them, for both devices: peers, name -> module, are those that could be imported.
"""

import importlib

from roikit.testing.table import FORMATS, OPS

__all__ = ["WORKS"]

# op -> (peers, device's name) -> its works
WORKS = {op: importlib.import_module(f"roikit.bench.works.{op}").works for op in (*OPS, *FORMATS)}
