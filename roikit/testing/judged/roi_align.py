"""roi_align and multiscale_roi_align: their arguments, their bound, and what others do."""

import math

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.arguments import as_rois
from roikit.reference.roi_align import TOLERANCE
from roikit.testing import strategies as some
from roikit.testing.draws import SAMPLED, SCALES, SIZES, maps_of, rois_of
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def roi_align(draw, awkward):
    maps = maps_of(draw, awkward)
    ratio = draw(st.sampled_from([-1, 2, 1, 3, 0]))
    kinds = some.KINDS if ratio > 0 else SAMPLED
    return {"input": maps, "boxes": rois_of(draw, awkward, len(maps), kinds=kinds), "output_size": draw(SIZES),
            "spatial_scale": draw(SCALES), "sampling_ratio": ratio, "aligned": draw(st.booleans()),
            "reduce": draw(st.sampled_from(["mean", "max"]))}


@st.composite
def multiscale_roi_align(draw, awkward):
    images = draw(st.integers(1, 2))
    features = [draw(some.feature_maps((images, 1, side, side))) for side in (8, 4, 2)]
    square = st.builds(lambda x, y, s: [0, x, y, x + s, y + s], *[st.integers(0, 4)] * 2,
                       st.sampled_from([4, 8, 16, 6]))
    boxes = rois_of(draw, awkward, images, kinds=SAMPLED)
    squares = np.array(draw(st.lists(square, max_size=3)), boxes.dtype).reshape(-1, 5)
    return {"features": features, "boxes": np.concatenate([boxes, squares]), "output_size": draw(SIZES),
            "scales": [0.5, 0.25, 0.125], "sampling_ratio": draw(st.sampled_from([2, -1, 1])),
            "aligned": draw(st.booleans()), "canonical_scale": 8, "canonical_level": 2,
            "reduce": draw(st.sampled_from(["mean", "max"]))}


def sample_count(step, ratio, grid, other):
    """Samples a bin along one axis; ``other`` is the step of the other axis."""
    if grid == "adaptive" or (ratio <= 0 and grid in ("ceil", "round", "square")):
        if grid == "round":
            return max(round(float(step)), 1)
        return int(max(math.ceil(max(step, other) if grid == "square" else step), 0))
    return ratio if ratio > 0 and grid != "always two" else {"one": 1}.get(grid, 2)


def geometry(low, high, bins, scale, aligned, least, plus):
    """Start and bin size along one axis."""
    real = low.dtype.type
    with np.errstate(over="ignore", invalid="ignore"):
        off = real(0.5 if aligned else 0)
        start = low * scale - off
        size = ((high + real(plus)) * scale - off) - start
        if not aligned and least:
            size = max(size, real(1))
        return start, size / real(bins)


def axis_samples(start, step, count, bins, extent, edge="replicate"):
    """Bilinear weights (P, g, extent) of every sample along one axis, and which lie inside (P, g).

    Args:
        edge: "replicate", the reference's: dropped beyond [-1, extent], replicated up to there; "zeros": every tap
            outside the map is 0; "border": positions are moved into the map; "tight": dropped beyond [0, extent - 1].
    """
    real = start.dtype.type
    p, k = np.arange(bins, dtype=start.dtype)[:, None], np.arange(count, dtype=start.dtype)
    weights = np.zeros((bins, count, extent), start.dtype)
    with np.errstate(all="ignore"):
        y = (start + p * step) + ((k + real(0.5)) * step) / real(max(count, 1))
        low, high = {"replicate": (-1, extent), "zeros": (-1, extent), "border": (-np.inf, np.inf),
                     "tight": (0, extent - 1)}[edge]
        inside = (y >= low) & (y <= high)
    if extent == 0:
        return weights, inside & False
    if edge != "zeros":
        y = np.clip(y, 0, extent - 1)
    y = np.where(inside, y, real(0))
    row = np.floor(y).astype(np.int64)
    for tap, share in ((row, real(1) - (y - row)), (row + 1, y - row)):
        valid = inside & (tap >= 0) & (tap < extent)
        index = np.nonzero(valid)
        weights[(*index, tap[index])] += share[index]
    return weights, inside


def roi_align_model(case, got, *, aligned=None, grid="ceil", edge="replicate", least=True, plus=0, reduce=None,
                    divisor="all", transposed=False):
    features, reduce = case["input"], reduce or case.get("reduce", "mean")
    ratio = case["sampling_ratio"]
    aligned = {None: case["aligned"], "flipped": not case["aligned"], "on": True, "off": False}[aligned]
    size = case["output_size"]
    rows, columns = size if np.ndim(size) else (size, size)
    accumulate = np.result_type(features, np.float32)
    batch, boxes = as_rois("roi_align", case["boxes"], len(features))
    boxes = boxes.astype(np.result_type(accumulate, boxes))
    scale = boxes.dtype.type(case["spatial_scale"])
    output = np.zeros((len(boxes), features.shape[1], rows, columns), accumulate)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        (top, dy), (left, dx) = (geometry(y1, y2, rows, scale, aligned, least, plus),
                                 geometry(x1, x2, columns, scale, aligned, least, plus))
        if not np.isfinite([top, dy, left, dx]).all():
            continue
        gh, gw = sample_count(dy, ratio, grid, dx), sample_count(dx, ratio, grid, dy)
        if gh <= 0 or gw <= 0:
            continue
        vertical, inside_y = axis_samples(top, dy, gh, rows, features.shape[2], edge)
        horizontal, inside_x = axis_samples(left, dx, gw, columns, features.shape[3], edge)
        samples = np.einsum("pgy,cyx,qhx->cpqgh", vertical, features[batch[k]].astype(accumulate), horizontal,
                            optimize=True)
        if reduce == "max":
            output[k] = samples.max(axis=(3, 4))
        elif divisor == "inside":
            output[k] = samples.sum(axis=(3, 4)) / np.maximum(
                inside_y.sum(axis=1)[:, None] * inside_x.sum(axis=1), 1)
        else:
            output[k] = samples.mean(axis=(3, 4))
    return (output.swapaxes(2, 3) if transposed and rows == columns else output).astype(features.dtype)


ALIGN = (
    trait("aligned-on", "always aligned: shifted by half a map pixel (aligned=True)", aligned="on"),
    trait("aligned-off", "never aligned: no shift by half a map pixel (aligned=False)", needs="aligned", aligned="off"),
    trait("aligned-flipped", "the flag is reversed: aligned=True is not shifted, aligned=False is", needs="aligned",
          aligned="flipped"),
    trait("grid-2x2", "2 x 2 samples a bin instead of the adaptive grid", grid="two"),
    trait("grid-always-2x2", "2 x 2 samples a bin whatever sampling_ratio says", needs="sampling_ratio",
          grid="always two"),
    trait("grid-1x1", "1 sample a bin instead of the adaptive grid", grid="one"),
    trait("grid-always-adaptive", "sampling_ratio is ignored: the grid is always adaptive", needs="sampling_ratio",
          grid="adaptive"),
    trait("grid-rounded", "the adaptive grid is the size of a bin rounded to the nearest, not up", grid="round"),
    trait("grid-square", "the adaptive grid has the longer axis' samples on both axes", grid="square"),
    trait("edge-zeros", "taps outside the map are 0 (grid_sample's zeros padding): the edge is not replicated",
          edge="zeros"),
    trait("edge-border", "samples outside are moved to the edge (grid_sample's border padding), never dropped",
          edge="border"),
    trait("edge-tight", "samples are dropped beyond [0, H - 1], not beyond [-1, H]", edge="tight"),
    trait("no-least-size", "a RoI may be smaller than one map pixel, though it is not aligned", least=False),
    trait("plus-one", "boxes include their last pixel: they end at x2 + 1", plus=1),
    trait("max", "a bin is the maximum of its samples, not their mean", reduce="max"),
    trait("always-mean", "the mean, whatever reduce says", needs="reduce", reduce="mean"),
    trait("mean-of-inside", "samples outside the map are left out of the divisor, too", divisor="inside"),
    trait("transposed", "the bins of a RoI are transposed: (PW, PH)", transposed=True),
)
ROI_ALIGN = combine(roi_align_model, ALIGN)


def pyramid_levels(corners, case, level):
    """The place of each box in the pyramid by another rule than ``assign_levels``."""
    if level is None:
        return reference.assign_levels(corners, case["scales"], case["canonical_scale"], case["canonical_level"])
    plus = np.float32(1 if level == "plus one" else 0)
    boxes = corners.astype(np.float32)
    with np.errstate(all="ignore"):
        width, height = (np.maximum(boxes[:, i + 2] - boxes[:, i] + plus, 0) for i in (0, 1))
        size = np.maximum(width, height) if level == "longest" else np.sqrt(width * height)
        exact = case["canonical_level"] + np.log2(size.astype(np.float64) / case["canonical_scale"])
        if level == "above":
            exact = np.ceil(exact) - 1
        exact = np.rint(exact) if level == "round" else np.floor(exact + 1e-6)
    lowest = round(-math.log2(case["scales"][0]))
    last = len(case["scales"]) - 1
    return np.clip(np.nan_to_num(exact - lowest, nan=0, posinf=last, neginf=0), 0, last).astype(np.int64)


def multiscale_model(case, got, *, level=None, by_level=False, **flags):
    features, scales = case["features"], case["scales"]
    batch, corners = as_rois("multiscale_roi_align", case["boxes"], len(features[0]))
    levels = pyramid_levels(corners, case, level)
    rois = np.concatenate([batch[:, None].astype(corners.dtype), corners], axis=1)
    order = np.argsort(levels, kind="stable") if by_level else range(len(rois))
    options = {name: case[name] for name in ("output_size", "sampling_ratio", "aligned", "reduce")}
    parts = [roi_align_model({"input": features[levels[k]], "boxes": rois[k : k + 1],
                              "spatial_scale": scales[levels[k]], **options}, None, **flags) for k in order]
    size = case["output_size"]
    shape = (0, features[0].shape[1], *(size if np.ndim(size) else (size, size)))
    return np.concatenate([np.zeros(shape, features[0].dtype), *parts])


LEVELS = (
    trait("level-rounded", "the level is rounded to the nearest, not down", level="round"),
    trait("level-above", "a box of exactly a power of two is on the finer level", level="above"),
    trait("level-plus-one", "the size that picks the level includes the last pixel: x2 - x1 + 1", level="plus one"),
    trait("level-longest-side", "the level is picked by the longer side, not by the square root of the area",
          level="longest"),
    trait("rows-by-level", "rows come level by level, not in the order of the boxes", by_level=True),
)
MULTISCALE_ROI_ALIGN = combine(multiscale_model, (*LEVELS, *ALIGN))


def align_bound(case, expected):
    maps = case["features"] if "features" in case else [case["input"]]
    return TOLERANCE[str(expected.dtype)] * max(np.abs(m).max(initial=0) for m in maps)


OPS = (
    Op("roi_align", reference.roi_align, "shifted by half a map pixel only where aligned; adaptive grid ceil(bin) on "
       "each axis where sampling_ratio <= 0; samples dropped beyond [-1, H], the edge replicated up to there, and all "
       "of them in the divisor; reduce='max': the largest, those outside as 0", ROI_ALIGN, 6, align_bound,
       arguments=roi_align),
    Op("multiscale_roi_align", reference.multiscale_roi_align, "level = floor(canonical_level + log2(sqrt(w h) / "
       "canonical_scale)), a power of two on the coarser one; rows in the order of the boxes; roi_align's conventions",
       MULTISCALE_ROI_ALIGN, 4, align_bound, arguments=multiscale_roi_align),
)
