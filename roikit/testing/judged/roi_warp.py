"""roi_warp: its arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.arguments import as_rois
from roikit.testing.judged.ps_roi import pair
from roikit.testing.judged.roi_pool import CORNERS, ROUNDED, roi_pool
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def roi_warp(draw, awkward):
    return {**draw(roi_pool(awkward)), "reduce": draw(st.sampled_from(["max", "mean"]))}


def warp_taps(low, high, bins, extent, scale, corner, plus, cell, edge):
    """The two pixels and weights of each of 2 * bins cells along one axis; None outside."""
    real = low.dtype.type
    scale = real(scale)
    with np.errstate(all="ignore"):
        if corner == "none":
            start, size = low * scale, max((high - low) * scale, real(0))
        else:
            ends = [np.clip(CORNERS[corner](c * scale), -(2.0**30), 2.0**30) for c in (low, high)]
            start, size = real(ends[0]), real(max(ends[1] - ends[0] + plus, 1))
        count = 2 * bins
        i = np.arange(count, dtype=low.dtype)
        if cell == "spread":
            y = start + i * ((size - real(1)) / real(max(count - 1, 1)))
        else:
            y = start + (i + real(0.5 if cell == "centre" else 0)) * (size / real(count))
    taps = []
    for value in y:
        if extent == 0 or not -1 <= value <= extent:
            taps.append(None)
            continue
        value = value if edge == "zeros" else min(max(value, real(0)), real(extent - 1))
        first = int(np.floor(value))
        rows = np.array([first, first + 1])
        shares = np.array([real(1) - (value - real(first)), value - real(first)])
        taps.append((np.clip(rows, 0, extent - 1), np.where((rows >= 0) & (rows < extent), shares, real(0))))
    return taps


def warp_model(case, got, *, corner="away", plus=1, cell="edge", edge="replicate", reduce=None, nan_wins=False):
    features, size = case["input"], pair(case["output_size"])
    reduce = reduce or case["reduce"]
    accumulate = np.result_type(features, np.float32)
    batch, boxes = as_rois("roi_warp", case["boxes"], len(features))
    out = np.zeros((len(boxes), features.shape[1], *size), accumulate)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        if not np.isfinite(boxes[k]).all():
            continue
        down, across = (warp_taps(*axis, case["spatial_scale"], corner, plus, cell, edge) for axis in (
            (y1, y2, size[0], features.shape[2]), (x1, x2, size[1], features.shape[3])))
        values = np.zeros((features.shape[1], len(down), len(across)), accumulate)
        for i, j in np.ndindex(len(down), len(across)):
            if down[i] is None or across[j] is None:
                continue
            part = features[batch[k]][:, down[i][0]][:, :, across[j][0]].astype(accumulate)
            with np.errstate(all="ignore"):
                lines = (part * across[j][1].astype(accumulate)).sum(axis=2)
                values[:, i, j] = (lines * down[i][1].astype(accumulate)).sum(axis=1)
        cells = values.reshape(features.shape[1], size[0], 2, size[1], 2).transpose(0, 1, 3, 2, 4).reshape(
            features.shape[1], *size, 4)
        if reduce == "mean":
            out[k] = cells.sum(axis=3) * accumulate.type(0.25)
        else:
            best = np.where(np.isnan(cells), -np.inf, cells).max(axis=3)
            out[k] = cells.max(axis=3) if nan_wins else np.where(best == -np.inf, 0, best)
    return out.astype(features.dtype)


ROI_WARP = combine(warp_model, (
    *ROUNDED,
    trait("not-quantized", "corners are not rounded: the box is continuous (MNC's warping)", corner="none", plus=None),
    trait("no-plus-one", "the size of a RoI is end - start, without its last pixel", plus=0),
    trait("cells-at-centres", "samples stand at the centres of their cells, (i + 0.5) / W' of the box", cell="centre"),
    trait("cells-end-to-end", "the first and the last sample stand on the first and the last pixel (align_corners)",
          cell="spread"),
    trait("edge-zeros", "taps outside the map are 0: the edge is not replicated", edge="zeros"),
    trait("always-max", "the maximum, whatever reduce says", needs="reduce", reduce="max"),
    trait("always-mean", "the mean, whatever reduce says", reduce="mean"),
    trait("nan-wins", "a NaN sample is the maximum of its bin", nan_wins=True),
))


OPS = (
    Op("roi_warp", reference.roi_warp, "the box of roi_pool; two samples a bin and axis at the cells' first edges, "
       "bilinear, edges replicated to [-1, H]", ROI_WARP, 4, arguments=roi_warp),
)
