"""What is judged: each op with its reference, its tolerance and the conventions that others follow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from roikit import reference
from roikit.reference.box_codec import TOLERANCE as CODEC
from roikit.reference.deform_conv import TOLERANCE as DEFORM
from roikit.reference.mask_target import TOLERANCE as TARGET
from roikit.reference.roi_align import TOLERANCE as ALIGN
from roikit.testing import conventions_box_forms as forms
from roikit.testing import conventions_boxes as boxes
from roikit.testing import conventions_codec as codec
from roikit.testing import conventions_deform as deform
from roikit.testing import conventions_keypoints as keypoints
from roikit.testing import conventions_masks as masks
from roikit.testing import conventions_ps_rois as ps_rois
from roikit.testing import conventions_rois as rois
from roikit.testing import conventions_rotated as rotated
from roikit.testing import conventions_rotated_align as rotated_align
from roikit.testing import conventions_rotated_codec as rotated_codec
from roikit.testing import conventions_soft as soft
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


def _per_dtype(single, double, relative=False):
    def bound(case, expected):
        allowed = {"float32": single, "float64": double}[str(expected[-1].dtype if relative else expected.dtype)]
        return allowed * np.maximum(np.abs(expected[-1]), 1e-30) if relative else allowed
    return bound


# exp is not roikit's fixed one elsewhere; the corners of rotated boxes are rounded differently by everyone.
_decay_bound = _per_dtype(1e-6, 1e-14, relative=True)
_rotated_bound = _per_dtype(1e-5, 1e-9)

def _encode_rotated_bound(case, expected):
    near = CODEC[str(expected.dtype)]
    return near * np.maximum(np.abs(expected), [0, 0, 0, 0, max(case["weights"])])


def _decode_rotated_bound(case, expected):
    rows = np.abs(expected).reshape(len(expected), expected.shape[1] // 5, 5)
    return (CODEC[str(expected.dtype)] * np.maximum(rows, [0, 0, 0, 0, 360])).reshape(expected.shape)


def _keypoint_bound(case, expected):
    return {"float32": 1e-4, "float64": 1e-12}[str(expected[0].dtype)]  # of pixels, and of values in quarters


def _deform_bound(case, expected):
    sizes = {name: None if case[name] is None else np.abs(case[name]) for name in ("input", "weight", "bias", "mask")}
    return DEFORM[str(expected.dtype)] * np.maximum(reference.deform_conv2d(**{**case, **sizes}), 1)


_OPS = (
    Op("cell_anchors", reference.cell_anchors, "ratio outside, size inside unless order says otherwise; a ratio is "
       "height over width; corners rounded half to even only where asked; no + 1", codec.CELL_ANCHORS, 2, arrays=False),
    Op("grid_anchors", reference.grid_anchors, "rows in the order y, x, cell; shift (j + offset) * stride; stride "
       "is (sy, sx)", codec.GRID_ANCHORS, 3),
    Op("box_area", reference.box_area, "sides are x2 - x1; a reversed box has area 0", boxes.BOX_AREA, 1),
    Op("box_iou", reference.box_iou, "sides are x2 - x1; a reversed box has area 0; the IoU of empty, NaN and infinite "
       "boxes is 0", boxes.BOX_IOU, 2),
    Op("generalized_box_iou", reference.generalized_box_iou, "the IoU less the share of the enclosing box that is in "
       "neither; a penalty that is not finite counts as 0", forms.GENERALIZED_BOX_IOU, 2),
    Op("distance_box_iou", reference.distance_box_iou, "the IoU less the squared distance of the centres over the "
       "squared diagonal of the enclosing box plus eps; a penalty that is not finite counts as 0",
       forms.DISTANCE_BOX_IOU, 3),
    Op("complete_box_iou", reference.complete_box_iou, "the distance IoU less alpha * v, alpha = v / (1 - IoU + v + "
       "eps); a penalty that is not finite counts as 0", forms.COMPLETE_BOX_IOU, 3, _per_dtype(1e-6, 2e-15)),
    Op("box_convert", reference.box_convert, "sides are x2 - x1, also negative ones; a centre is (x1 + x2) / 2",
       forms.BOX_CONVERT, 3),
    Op("clip_boxes_to_image", reference.clip_boxes_to_image, "x into [0, W], y into [0, H]; size is (H, W); NaN stays "
       "NaN", forms.CLIP_BOXES_TO_IMAGE, 2),
    Op("remove_small_boxes", reference.remove_small_boxes, "both sides must reach min_size (>=); indices, ascending",
       forms.REMOVE_SMALL_BOXES, 2),
    Op("masks_to_boxes", reference.masks_to_boxes, "x2 and y2 are the last pixel's index, plus one unless inclusive; "
       "an empty mask gives zeros", forms.MASKS_TO_BOXES, 1),
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
    Op("nms_padded", reference.nms_padded, "nms; the first max_output of its result, padded with -1, and their number",
       boxes.NMS_PADDED, 4),
    Op("soft_nms", reference.soft_nms, "the linear decay above the threshold alone (>), the Gaussian exp(-x^2 / sigma) "
       "always; below min_score (<) a box is dropped, also before the first decay; in the order in which boxes were "
       "taken, with their scores then", soft.SOFT_NMS, 3, _decay_bound),
    Op("fast_nms", reference.fast_nms, "a better box of the class suppresses above the threshold (>), be it kept or "
       "not; the top_k best of each class are looked at; result in the order of scores", soft.FAST_NMS, 4),
    Op("matrix_nms", reference.matrix_nms, "the least decay of all better boxes of the class, each discounted by its "
       "own largest overlap; Gaussian exp(-sigma x^2); below min_score (<) a box is dropped; in the order of the "
       "decayed scores", soft.MATRIX_NMS, 3, _decay_bound),
    Op("box_iou_rotated", reference.box_iou_rotated, "cx, cy, w, h and degrees counter-clockwise; an empty, reversed, "
       "NaN or infinite box has IoU 0", rotated.BOX_IOU_ROTATED, 2, _rotated_bound),
    Op("nms_rotated", reference.nms_rotated, "box_iou_rotated's conventions, and nms's", rotated.NMS_ROTATED, 3),
    Op("batched_nms_rotated", reference.batched_nms_rotated, "box_iou_rotated's conventions, and batched_nms's",
       rotated.BATCHED_NMS_ROTATED, 4),
    Op("encode_boxes_rotated", reference.encode_boxes_rotated, "deltas dx, dy along the image's axes, dw, dh, and the "
       "angle in radians within [-pi, pi), multiplied by the weights", rotated_codec.ENCODE_BOXES_ROTATED, 3,
       _encode_rotated_bound),
    Op("decode_boxes_rotated", reference.decode_boxes_rotated, "deltas are divided by the weights, then dw and dh "
       "limited from above only; the angle within [-180, 180)", rotated_codec.DECODE_BOXES_ROTATED, 3,
       _decode_rotated_bound),
    Op("cell_anchors_rotated", reference.cell_anchors_rotated, "size outside, then ratio, angle inside; a ratio is "
       "height over width; degrees", rotated_codec.CELL_ANCHORS_ROTATED, 3, arrays=False),
    Op("roi_pool", reference.roi_pool, "corners rounded half away from zero, last pixel included (Caffe, torchvision); "
       "NaN features never win; an empty bin is 0", rois.ROI_POOL, 4),
    Op("roi_align", reference.roi_align, "shifted by half a map pixel only where aligned; adaptive grid ceil(bin) on "
       "each axis where sampling_ratio <= 0; samples dropped beyond [-1, H], the edge replicated up to there, and all "
       "of them in the divisor; reduce='max': the largest, those outside as 0", rois.ROI_ALIGN, 6, _align_bound),
    Op("multiscale_roi_align", reference.multiscale_roi_align, "level = floor(canonical_level + log2(sqrt(w h) / "
       "canonical_scale)), a power of two on the coarser one; rows in the order of the boxes; roi_align's conventions",
       rois.MULTISCALE_ROI_ALIGN, 4, _align_bound),
    Op("roi_align_rotated", reference.roi_align_rotated, "cx, cy, w, h and degrees counter-clockwise; roi_align's "
       "conventions, always aligned; rows from the upper side where the angle is 0", rotated_align.ROI_ALIGN_ROTATED,
       5, _align_bound),
    Op("ps_roi_align", reference.ps_roi_align, "bin (ph, pw) of channel c reads channel (c * PH + ph) * PW + pw; "
       "roi_align's conventions, always aligned", ps_rois.PS_ROI_ALIGN, 5, _align_bound),
    Op("ps_roi_pool", reference.ps_roi_pool, "channels as in ps_roi_align; corners rounded half away from zero after "
       "the scale, the end pixel not included; the map's last row and column are never read (torchvision)",
       ps_rois.PS_ROI_POOL, 4),
    Op("roi_warp", reference.roi_warp, "the box of roi_pool; two samples a bin and axis at the cells' first edges, "
       "bilinear, edges replicated to [-1, H]", ps_rois.ROI_WARP, 4),
    Op("deform_conv2d", reference.deform_conv2d, "offsets are y, then x, of each tap; a sample counts within (-1, H), "
       "taps outside the map are 0; the mask multiplies samples", deform.DEFORM_CONV2D, 8, _deform_bound),
    Op("paste_masks", reference.paste_masks, "continuous rule (pixel centres, half-pixel cells, zeros outside) or "
       "integer rule as asked; a pixel is inside from the threshold on (>=)", masks.PASTE_MASKS, 3),
    Op("paste_masks_rle", reference.paste_masks_rle, "paste_masks's conventions; runs go down the columns, zeros "
       "first", masks.PASTE_MASKS_RLE, 3),
    Op("mask_targets", reference.mask_targets, "soft targets are not aligned, binary ones are aligned and inside from "
       "0.5 on (>=); adaptive grid", masks.MASK_TARGETS, 4,
       lambda case, expected: TARGET if case["rule"] == "soft" else 0.0),
    Op("encode_keypoints", reference.encode_keypoints, "cell floor((x - x1) * S / (x2 - x1)); a point on the right or "
       "lower edge is in the last cell; visibility above 0", keypoints.ENCODE_KEYPOINTS, 3),
    Op("decode_keypoints", reference.decode_keypoints, "the largest value of the map resized to the box (bicubic, half "
       "pixels); the centre of its cell; the value as score", keypoints.DECODE_KEYPOINTS, 2, _keypoint_bound),
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
    if isinstance(expected, (tuple, list)):
        if not isinstance(got, (tuple, list)) or len(got) != len(expected):
            return f"a {type(expected).__name__} of {len(expected)} expected"
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
