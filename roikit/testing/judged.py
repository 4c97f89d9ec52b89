"""What is judged: each op with its reference, its tolerance and the conventions that others follow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from roikit import reference
from roikit.reference.box_codec import TOLERANCE as CODEC
from roikit.reference.mask_target import TOLERANCE as TARGET
from roikit.reference.roi_align import TOLERANCE as ALIGN
from roikit.testing import conventions_boxes as boxes
from roikit.testing import conventions_codec as codec
from roikit.testing import conventions_masks as masks
from roikit.testing import conventions_rois as rois
from roikit.testing.variants import Variant

__all__ = ["JUDGED", "Op", "difference"]


@dataclass(frozen=True)
class Op:
    """One op: what it must give, how near, and what else people give.

    Attributes:
        name: of the function on roikit's floors.
        reference: the specification.
        sentence: the conventions of the reference, in words.
        variants: the others.
        positional: how many arguments are passed by place; the rest by name.
        tolerance: (case, expected) -> the error allowed, an array or number; None where the op is exact.
        arrays: whether arguments are arrays that torch can hold, too.
    """

    name: str
    reference: Callable[..., Any]
    sentence: str
    variants: tuple[Variant, ...]
    positional: int
    tolerance: Callable[[dict, Any], Any] | None = None
    arrays: bool = True


def _encode_bound(case, expected):
    allowed = CODEC[str(expected.dtype)] * np.abs(expected)
    allowed[:, :2] = 0  # dx and dy are exact
    return allowed


def _decode_bound(case, expected):
    rows = np.abs(expected).reshape(len(expected), expected.shape[1] // 4, 4)
    both = rows[..., :2] + rows[..., 2:]
    return CODEC[str(expected.dtype)] * np.concatenate([both, both], axis=-1).reshape(expected.shape)


def _align_bound(case, expected):
    maps = case["features"] if "features" in case else [case["input"]]
    return ALIGN[str(expected.dtype)] * max(np.abs(m).max(initial=0) for m in maps)


_OPS = (
    Op("cell_anchors", reference.cell_anchors, "ratio outside, size inside unless order says otherwise; a ratio is "
       "height over width; corners rounded half to even only where asked; no + 1", codec.CELL_ANCHORS, 2, arrays=False),
    Op("grid_anchors", reference.grid_anchors, "rows in the order y, x, cell; shift (j + offset) * stride; stride "
       "is (sy, sx)", codec.GRID_ANCHORS, 3),
    Op("box_area", reference.box_area, "sides are x2 - x1; a reversed box has area 0", boxes.BOX_AREA, 1),
    Op("box_iou", reference.box_iou, "sides are x2 - x1; a reversed box has area 0; the IoU of empty, NaN and infinite "
       "boxes is 0", boxes.BOX_IOU, 2),
    Op("encode_boxes", reference.encode_boxes, "sides are x2 - x1; deltas dx, dy, dw, dh, multiplied by the weights; "
       "nothing is limited", codec.ENCODE_BOXES, 3, _encode_bound),
    Op("decode_boxes", reference.decode_boxes, "deltas are divided by the weights, then dw and dh limited from above "
       "only; sides are x2 - x1", codec.DECODE_BOXES, 3, _decode_bound),
    Op("match_boxes", reference.match_boxes, "thresholds are reached (>=); the lower index among equal IoUs; a ground "
       "truth that no anchor touches promotes none; promoted anchors keep their own best", boxes.MATCH_BOXES, 4),
    Op("nms", reference.nms, "sides are x2 - x1; an IoU equal to the threshold does not suppress (>); equal scores by "
       "lower index; NaN scores last; NaN boxes are kept; result in the order of scores", boxes.NMS, 3),
    Op("batched_nms", reference.batched_nms, "classes never touch each other, whatever the coordinates (no offset "
       "trick); an IoU equal to the threshold does not suppress (>); equal scores by lower index; result in the order "
       "of scores", boxes.BATCHED_NMS, 4),
    Op("roi_pool", reference.roi_pool, "corners rounded half away from zero, last pixel included (Caffe, torchvision); "
       "NaN features never win; an empty bin is 0", rois.ROI_POOL, 4),
    Op("roi_align", reference.roi_align, "shifted by half a map pixel only where aligned; adaptive grid ceil(bin) on "
       "each axis where sampling_ratio <= 0; samples dropped beyond [-1, H], the edge replicated up to there, and all "
       "of them in the divisor", rois.ROI_ALIGN, 6, _align_bound),
    Op("multiscale_roi_align", reference.multiscale_roi_align, "level = floor(canonical_level + log2(sqrt(w h) / "
       "canonical_scale)), a power of two on the coarser one; rows in the order of the boxes; roi_align's conventions",
       rois.MULTISCALE_ROI_ALIGN, 4, _align_bound),
    Op("paste_masks", reference.paste_masks, "continuous rule (pixel centres, half-pixel cells, zeros outside) or "
       "integer rule as asked; a pixel is inside from the threshold on (>=)", masks.PASTE_MASKS, 3),
    Op("mask_targets", reference.mask_targets, "soft targets are not aligned, binary ones are aligned and inside from "
       "0.5 on (>=); adaptive grid", masks.MASK_TARGETS, 4,
       lambda case, expected: TARGET if case["rule"] == "soft" else 0.0),
    Op("rle_encode", masks.rle_encode, "runs go down the columns, zeros first; differences from the fourth run on",
       masks.RLE_ENCODE, 1, arrays=False),
    Op("rle_decode", masks.rle_decode, "runs go down the columns, zeros first; differences from the fourth run on",
       masks.RLE_DECODE, 1, arrays=False),
)
JUDGED = {op.name: op for op in _OPS}


def _kind(array):
    return {"u": "integer", "i": "integer", "f": "float", "b": "bool"}.get(array.dtype.kind, str(array.dtype))


def difference(got, expected, tolerance=None):
    """Why ``got`` is not ``expected``, in words, or None where it is.

    Args:
        got: an array, or a tuple, list or dict of what the reference gives.
        expected: the same from the reference.
        tolerance: the largest |error| of float values, an array like ``expected`` or a number; None means equal. NaN
            equals NaN. Widths of integers and floats are not compared; got is rounded to the dtype of expected.
    """
    if isinstance(expected, tuple):
        if not isinstance(got, (tuple, list)) or len(got) != len(expected):
            return f"a tuple of {len(expected)} expected"
        reasons = (difference(g, e, tolerance) for g, e in zip(got, expected, strict=True))
        return next((f"result {i}: {why}" for i, why in enumerate(reasons) if why), None)
    if isinstance(expected, dict):
        if not isinstance(got, dict) or not {"size", "counts"} <= set(got):
            return "a dict of size and counts expected"
        counts = got["counts"].encode("ascii") if isinstance(got["counts"], str) else got["counts"]
        if [int(side) for side in got["size"]] != expected["size"]:
            return f"size {got['size']} where {expected['size']} is expected"
        return None if counts == expected["counts"] else "the run lengths differ"
    if not isinstance(got, np.ndarray):
        return f"an array expected, got {type(got).__name__}"
    if got.shape != expected.shape:
        return f"shape {got.shape} where {expected.shape} is expected"
    if _kind(got) != _kind(expected) and got.size:
        return f"{_kind(got)} values where {_kind(expected)} values are expected"
    with np.errstate(all="ignore"):
        got = got.astype(expected.dtype)
        same = got == expected
        if expected.dtype.kind == "f":
            same |= np.isnan(got) & np.isnan(expected)
            if tolerance is not None:
                same |= np.abs(got.astype(np.float64) - expected.astype(np.float64)) <= tolerance
    if same.all():
        return None
    place = tuple(int(i) for i in np.argwhere(~same)[0])
    where = "[" + ", ".join(map(str, place)) + "]" if place else ""
    return (f"{int((~same).sum())} of {same.size} values differ; at {where} {got[place]!s} where {expected[place]!s} "
            "is expected")
