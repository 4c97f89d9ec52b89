"""roikit's own functions, floor by floor, for ``roikit verify --self``."""

import contextlib
import dataclasses

from roikit import simd, simd_levels
from roikit.testing.checker import check
from roikit.testing.judged import JUDGED

__all__ = ["check_floors", "own_functions"]


ON_THE_HOST = ("cell_anchors", "cell_anchors_rotated", "grid_anchors")  # their arguments name no device


def own_functions(device="cpu"):
    """(op, "module:function", arrays) of every floor; those on torch only where it is installed, or on CUDA alone."""
    try:
        import torch
    except ImportError:
        torch = None
    functions = []
    for op in JUDGED:
        if op.startswith("rle_"):
            if device == "cpu":
                functions.append((op, f"roikit.masks:{op.removeprefix('rle_')}", "numpy"))
            continue
        if device == "cpu":
            functions.append((op, f"roikit.kernels:{op}", "numpy"))
        if torch is not None and (device == "cpu" or op not in ON_THE_HOST):
            functions.append((op, f"roikit.ops:{op}", "torch" if JUDGED[op].arrays else "numpy"))
    return functions


def check_floors(*, cases=1_000, device="cpu", seed=0, say=None):
    """Check every function of every floor, the kernels at every SIMD level of this machine; returns the reports.

    Args:
        cases, seed: of each function.
        device: "cpu": the kernels and the torch ops; "cuda": the torch ops there.
        say: what each report is given to as it comes.
    """
    reports = []
    for op, function, arrays in own_functions(device):
        levels = simd_levels() if function.startswith("roikit.kernels:") else (None,)
        for level in levels:
            with simd(level) if level else contextlib.nullcontext():
                report = check(function, op, cases=cases, arrays=arrays, device=device, seed=seed)
            reports.append(dataclasses.replace(report, simd=level))
            if say is not None:
                say(reports[-1])
    return reports
