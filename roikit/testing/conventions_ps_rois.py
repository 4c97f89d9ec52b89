"""What others do in ps_roi_align, ps_roi_pool and roi_warp."""

import numpy as np

from roikit.reference.arguments import as_rois
from roikit.testing.conventions_rois import ALIGN, CORNERS, roi_align_model
from roikit.testing.variants import combine, trait

__all__ = ["PS_ROI_ALIGN", "PS_ROI_POOL", "ROI_WARP"]


def pair(size):
    return size if np.ndim(size) else (size, size)


def channel_of(c, ph, pw, size, channels, order):
    """The input channel of bin (ph, pw) of output channel c, of ``channels`` output channels."""
    rows, columns = size
    return {"c ph pw": (c * rows + ph) * columns + pw, "ph pw c": (ph * columns + pw) * channels + c,
            "c pw ph": (c * columns + pw) * rows + ph}[order]


ORDERS = (
    trait("channels-bin-major", "bin (ph, pw) of channel c reads channel (ph * PW + pw) * C + c", order="ph pw c"),
    trait("channels-transposed", "bin (ph, pw) of channel c reads channel (c * PW + pw) * PH + ph", order="c pw ph"),
)


def without_samples(case):
    """Finite RoIs whose adaptive grid has 0 samples along an axis."""
    if case["sampling_ratio"] > 0:
        return np.zeros(len(case["boxes"]), bool)
    corners = case["boxes"][:, 1:].astype(np.result_type(case["input"], case["boxes"]))
    real = corners.dtype.type
    with np.errstate(all="ignore"):
        ends = corners * real(case["spatial_scale"]) - real(0.5)
        bins = (ends[:, 2:] - ends[:, :2]) / np.array(pair(case["output_size"])[::-1], corners.dtype)
        return np.isfinite(corners).all(axis=1) & (np.ceil(bins) == 0).any(axis=1)


def ps_align_model(case, got, *, order="c ph pw", aligned="on", empty=0, **flags):
    size = pair(case["output_size"])
    full = roi_align_model({**case, "aligned": True}, None, aligned=aligned, **flags)
    channels = full.shape[1] // (size[0] * size[1])
    out = np.zeros((len(full), channels, *size), full.dtype)
    for c, ph, pw in np.ndindex(channels, *size):
        out[:, c, ph, pw] = full[:, channel_of(c, ph, pw, size, channels, order), ph, pw]
    if empty != 0:
        out[without_samples(case)] = empty
    return out


TAKEN = {name: one for one in ALIGN if (name := one.name) not in ("aligned-on", "aligned-flipped", "no-least-size",
                                                                  "always-mean", "transposed")}
PS_ROI_ALIGN = combine(ps_align_model, (
    *ORDERS, trait("aligned-off", "no shift by half a map pixel", aligned="off", least=False),
    trait("aligned-off-least-size", "no shift by half a map pixel, and a RoI is at least one map pixel",
          aligned="off"),
    *(one for name, one in TAKEN.items() if name != "aligned-off"),
    trait("empty-nan", "a RoI without a height or a width, with the adaptive grid, is NaN: 0 samples over 0 "
          "(torchvision)", empty=np.nan)))


def bin_edges(low, high, bins, extent, scale, corner, plus, last):
    """First and last pixel of the bins along one axis; "continuous" is R-FCN's first code."""
    real = low.dtype.type
    scale = real(scale)
    limit = 2.0**30
    with np.errstate(all="ignore"):
        if corner == "continuous":
            start, end = CORNERS["away"](low) * scale, (CORNERS["away"](high) + real(1)) * scale
            step = max(end - start, real(0.1)) / real(bins)
            edges = [(np.floor(real(p) * step + start), np.ceil(real(p + 1) * step + start)) for p in range(bins)]
        else:
            start, end = (float(np.clip(CORNERS[corner](c * scale), -limit, limit)) for c in (low, high))
            step = real(max(end - start + plus, 1)) / real(bins)
            edges = [(np.floor(real(p) * step) + start, np.ceil(real(p + 1) * step) + start) for p in range(bins)]
    return [tuple(int(np.clip(e, 0, max(extent - last, 0))) for e in edge) for edge in edges]


def ps_pool_model(case, got, *, order="c ph pw", corner="away", plus=0, last=1, reduce="mean"):
    features, size = case["input"], pair(case["output_size"])
    batch, boxes = as_rois("ps_roi_pool", case["boxes"], len(features))
    channels = features.shape[1] // (size[0] * size[1])
    out = np.zeros((len(boxes), channels, *size), features.dtype)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        if not np.isfinite(boxes[k]).all():
            continue
        down, across = (bin_edges(*axis, case["spatial_scale"], corner, plus, last) for axis in (
            (y1, y2, size[0], features.shape[2]), (x1, x2, size[1], features.shape[3])))
        for c, ph, pw in np.ndindex(channels, *size):
            part = features[batch[k], channel_of(c, ph, pw, size, channels, order), slice(*down[ph]),
                            slice(*across[pw])]
            if part.size:
                total = part.sum(dtype=np.result_type(part, np.float32))
                out[k, c, ph, pw] = part.max() if reduce == "max" else total / total.dtype.type(part.size)
    return out


ROUNDED = (
    trait("rounded-half-even", "corners are rounded half to even (numpy.round), not away from zero", corner="even"),
    trait("truncated-corners", "corners are truncated toward zero instead of rounded", corner="trunc"),
    trait("floored-corners", "corners are rounded down instead of to the nearest", corner="floor"),
)
PS_ROI_POOL = combine(ps_pool_model, (
    *ORDERS, *ROUNDED,
    trait("continuous-corners", "corners are rounded before they are scaled, the last pixel is part of the box, and "
          "bins have continuous edges (R-FCN's first code)", corner="continuous", plus=None),
    trait("plus-one", "the end pixel is part of the box", plus=1),
    trait("last-row-read", "bins may reach the map's last row and column", last=0),
    trait("max", "a bin is its maximum, not its mean", reduce="max"),
))


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
