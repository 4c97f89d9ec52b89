"""roi_align_rotated and multiscale_roi_align_rotated: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.rotated import sin_cos_degrees
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, PLAIN, SCALES, SIZES, maps_of
from roikit.testing.judged.roi_align import ALIGN, LEVELS, align_bound, pyramid_levels, sample_count
from roikit.testing.judged.rotated import ANGLES, as_degrees
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


# Without "huge", as for roi_align.
ALIGNED = tuple(kind for kind in some.ROTATED_KINDS if kind != "huge")


@st.composite
def roi_align_rotated(draw, awkward):
    maps = maps_of(draw, awkward)
    image = st.integers(0, len(maps) - 1)
    one = some.rotated_box(ALIGNED if awkward else PLAIN, copies=False)
    rows = draw(st.lists(st.tuples(image, one), min_size=0 if awkward else 1, max_size=3))
    rois = some.as_boxes([(index, *box) for index, box in rows], draw(DTYPES), 6)
    return {"input": maps, "boxes": rois, "output_size": draw(SIZES), "spatial_scale": draw(SCALES),
            "sampling_ratio": draw(st.sampled_from([-1, 2, 1, 3, 0]))}


@st.composite
def multiscale_roi_align_rotated(draw, awkward):
    images = draw(st.integers(1, 2))
    features = [draw(some.feature_maps((images, 1, side, side))) for side in (8, 4, 2)]
    image, one = st.integers(0, images - 1), some.rotated_box(ALIGNED if awkward else PLAIN, copies=False)
    square = st.builds(lambda x, y, s, turn: (0, x, y, s, s, 30 * turn), *[st.integers(2, 10)] * 2,
                       st.sampled_from([4, 8, 16, 6]), st.integers(-3, 3))
    rows = [(index, *box) for index, box in draw(st.lists(st.tuples(image, one), min_size=0 if awkward else 1,
                                                          max_size=3))]
    rois = some.as_boxes([*rows, *draw(st.lists(square, max_size=3))], draw(DTYPES), 6)
    return {"features": features, "boxes": rois, "output_size": draw(SIZES), "scales": [0.5, 0.25, 0.125],
            "sampling_ratio": draw(st.sampled_from([2, -1, 1])), "canonical_scale": 8, "canonical_level": 2}


def taps(at, extent, edge):
    """Two pixels and their weights at positions, each (2, ...), and which positions count."""
    low, high = {"replicate": (-1, extent), "zeros": (-1, extent), "border": (-np.inf, np.inf),
                 "tight": (0, extent - 1)}[edge]
    counts = (at >= low) & (at <= high)
    at = np.where(counts, at, at.dtype.type(0))
    at = at if edge == "zeros" else np.clip(at, 0, extent - 1)
    first = np.floor(at).astype(np.int64)
    pixels = np.stack([first, first + 1])
    weights = np.stack([1 - (at - first), at - first])
    weights = np.where((pixels >= 0) & (pixels < extent), weights, 0)
    return np.clip(pixels, 0, extent - 1), weights.astype(at.dtype), counts


def sampled(image, row, column, edge):
    """Values (C, ...) of an image (C, H, W) at positions, and which count."""
    (ys, down, in_y), (xs, across, in_x) = taps(row, image.shape[1], edge), taps(column, image.shape[2], edge)
    counts = in_y & in_x
    value = sum(image[:, ys[i], xs[j]] * (down[i] * across[j]) for i in (0, 1) for j in (0, 1))
    return np.where(counts, value, 0), counts


def align_model(case, got, *, shift=0.5, least=False, grid="ceil", edge="replicate", reduce="mean", divisor="all",
                upside=1, **convention):
    """RoIAlign of rotated boxes; ``convention`` is that of ``as_degrees``, the rest as in ``roi_align_model``."""
    features, ratio, size = case["input"], case["sampling_ratio"], case["output_size"]
    rows, columns = size if np.ndim(size) else (size, size)
    accumulate = np.result_type(features, np.float32)
    dtype = np.result_type(accumulate, case["boxes"])
    real = dtype.type
    batch, boxes = case["boxes"][:, 0].astype(np.int64), as_degrees(case["boxes"][:, 1:], **convention)
    scale, half = real(case["spatial_scale"]), real(0.5)
    output = np.zeros((len(boxes), features.shape[1], rows, columns), accumulate)
    for k, box in enumerate(boxes):
        if not np.isfinite(box).all() or 0 in features.shape[2:]:
            continue
        x, y, w, h = (real(box[0]) * scale - real(shift), real(box[1]) * scale - real(shift), real(box[2]) * scale,
                      real(box[3]) * scale)
        if least:
            w, h = max(w, real(1)), max(h, real(1))
        if min(w, h) <= 0:
            continue
        s, c = (v.astype(dtype) for v in sin_cos_degrees(box[4]))
        steps = h / real(rows), w / real(columns)
        counts = [sample_count(one, ratio, grid, other) for one, other in (steps, steps[::-1])]
        along = [-(half * side) + np.arange(bins, dtype=dtype)[:, None] * step
                 + ((np.arange(count, dtype=dtype) + half) * step) / real(count)
                 for side, bins, step, count in zip((h, w), (rows, columns), steps, counts, strict=True)]
        v, u = upside * along[0].reshape(-1, 1), along[1].reshape(1, -1)
        values, inside = sampled(features[batch[k]].astype(dtype), (v * c - u * s) + y, (v * s + u * c) + x, edge)
        bins = (rows, counts[0], columns, counts[1])
        values, inside = values.reshape(-1, *bins), inside.reshape(bins).sum(axis=(1, 3))
        if reduce == "max":
            output[k] = values.max(axis=(2, 4))
        else:
            total = values.sum(axis=(2, 4))
            output[k] = total / (np.maximum(inside, 1) if divisor == "inside" else real(counts[0]) * real(counts[1]))
    return output.astype(features.dtype)


def multiscale_model(case, got, *, level=None, by_level=False, **flags):
    features, scales = case["features"], case["scales"]
    rois = case["boxes"]
    w, h = rois[:, 3], rois[:, 4]
    with np.errstate(all="ignore"):
        upright = np.stack([0 * w, 0 * h, w, h], 1)  # of the same sides
    levels = pyramid_levels(upright, case, level)
    order = np.argsort(levels, kind="stable") if by_level else range(len(rois))
    parts = [align_model({"input": features[levels[k]], "boxes": rois[k : k + 1], "spatial_scale": scales[levels[k]],
                          "output_size": case["output_size"], "sampling_ratio": case["sampling_ratio"]}, None, **flags)
             for k in order]
    size = case["output_size"]
    shape = (0, features[0].shape[1], *(size if np.ndim(size) else (size, size)))
    return np.concatenate([np.zeros(shape, features[0].dtype), *parts])


ROTATED = (
    *ANGLES,
    trait("aligned-off", "no shift by half a map pixel", shift=0.0),
    trait("aligned-off-least-size", "no shift by half a map pixel, and a RoI is at least one map pixel (mmcv's "
          "aligned=False)", shift=0.0, least=True),
    trait("least-size", "a RoI is at least one map pixel", least=True),
    *(one for one in ALIGN if one.name.split("-")[0] in ("grid", "edge", "max", "mean")),
    trait("rows-upwards", "the rows of a RoI go from its lower side to its upper one", upside=-1),
)
ROI_ALIGN_ROTATED = combine(align_model, ROTATED)
MULTISCALE_ROI_ALIGN_ROTATED = combine(multiscale_model, (*LEVELS, *ROTATED))


OPS = (
    Op("roi_align_rotated", reference.roi_align_rotated, "cx, cy, w, h and degrees counter-clockwise; roi_align's "
       "conventions, always aligned; rows from the upper side where the angle is 0", ROI_ALIGN_ROTATED,
       5, align_bound, arguments=roi_align_rotated),
    Op("multiscale_roi_align_rotated", reference.multiscale_roi_align_rotated, "level = floor(canonical_level + "
       "log2(sqrt(w h) / canonical_scale)), a power of two on the coarser one; rows in the order of the boxes; "
       "roi_align_rotated's conventions", MULTISCALE_ROI_ALIGN_ROTATED, 4, align_bound,
       arguments=multiscale_roi_align_rotated),
)
