"""What `roi_align` and `multiscale_roi_align` check, and where a pyramid's levels begin."""

import math

from roikit import _check
from roikit._check import dtype_name, shape_text


def rule(op, rule, sampling_ratio, reduce="mean"):
    """How a bin is made: "integral", which takes no sampling_ratio, or of samples their "mean" or "max"."""
    _check.choice(op, "rule", rule, ("samples", "integral"))
    _check.choice(op, "reduce", reduce, ("mean", "max"))
    if rule == "integral" and _check.whole(op, "sampling_ratio", sampling_ratio) > 0:
        raise ValueError(f"{op}: sampling_ratio must be at most 0 with rule='integral', got {sampling_ratio}")
    if rule == "integral" and reduce == "max":
        raise ValueError(f"{op}: reduce must be 'mean' with rule='integral', which has no samples, got 'max'")
    if reduce == "max" and _check.whole(op, "sampling_ratio", sampling_ratio) > 2**15:
        raise ValueError(f"{op}: sampling_ratio must be at most 32768 with reduce='max', got {sampling_ratio}")
    return "integral" if rule == "integral" else reduce


def pyramid(op, scales, canonical_scale, canonical_level):
    """The scales as floats; in double, the sizes from which a box is on each level but the first (FPN, equation 1)."""
    scales = [_check.positive(op, f"scales[{i}]", s) for i, s in enumerate(scales)]
    if not scales:
        raise ValueError(f"{op}: scales must name at least one level, got none")
    size = _check.positive(op, "canonical_scale", canonical_scale)
    level = _check.whole(op, "canonical_level", canonical_level)
    lowest = round(-math.log2(scales[0]))
    return scales, [size * 2.0 ** (m - level - 1e-6) for m in range(lowest + 1, lowest + len(scales))]


def one_a_level(op, scales, maps):
    """There are as many maps, or shapes of maps, as scales."""
    if len(maps) != len(scales):
        raise ValueError(f"{op}: scales must have one value a level, got {len(scales)} for {len(maps)}")


def agreeing(op, maps):
    """The maps of all levels have one dtype, N and C."""
    for i, m in enumerate(maps):
        if m.dtype != maps[0].dtype or m.shape[:2] != maps[0].shape[:2]:
            raise ValueError(f"{op}: features must agree in dtype, N and C, got {dtype_name(maps[0])} "
                             f"{shape_text(maps[0])} and, at {i}, {dtype_name(m)} {shape_text(m)}")
