"""Boxes: areas, conversion, clipping, filtering, IoU. The arithmetic here is fixed.

A box is x1 y1 x2 y2 in pixels, half-open: its width is x2 - x1, with no "+ 1". T is the dtype of
the boxes, float32 or float64; half boxes are cast to float32 first. Every expression below is
computed in T in the order written, without fused multiply-add, so every floor gives the same bits.
"""

import math

import numpy as np

from roikit.reference.arguments import as_boxes
from roikit.reference.rotated import angle_of, sin_cos_degrees

__all__ = [
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "complete_box_iou",
    "distance_box_iou",
    "generalized_box_iou",
    "masks_to_boxes",
    "remove_small_boxes",
]


UPRIGHT, ROTATED = ("xyxy", "xywh", "cxcywh"), ("cxcywhr", "xywhr", "xyxyxyxy")


def minimum(a, b):
    """a where a < b, else b. With a NaN on either side the answer is b."""
    return np.where(a < b, a, b)


def maximum(a, b):
    """a where a > b, else b. With a NaN on either side the answer is b."""
    return np.where(a > b, a, b)


def side(low, high):
    """Length of [low, high): high - low, 0 where that is negative; NaN stays NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = high - low
        return np.where(length < 0, length.dtype.type(0), length)


def box_area(boxes):
    """Areas of boxes: side(x1, x2) * side(y1, y2).

    Args:
        boxes: (N, 4) float.

    Returns:
        T (N,), square pixels; 0 for an empty or reversed box, NaN where a NaN enters.
    """
    boxes = as_boxes("box_area", "boxes", boxes)
    with np.errstate(invalid="ignore", over="ignore"):
        return side(boxes[:, 0], boxes[:, 2]) * side(boxes[:, 1], boxes[:, 3])


def box_convert(boxes, in_fmt, out_fmt):
    """Rewrite boxes from one format into another, by way of "xyxy", rotated ones by way of "xywhr".

    The rotated formats are torchvision's. "cxcywhr" is roikit's own: centre, size, and degrees counter-clockwise.
    "xywhr" has the box's own top left corner in place of the centre. "xyxyxyxy" has its corners top left, top right,
    bottom right, bottom left, as they lie where the angle is 0.

    Args:
        boxes: (N, 4) float; of a rotated format (N, 5), of "xyxyxyxy" (N, 8).
        in_fmt, out_fmt: "xyxy", "xywh" (corner, size) or "cxcywh" (centre, size); or both "cxcywhr", "xywhr" or
            "xyxyxyxy".

    Returns:
        T (N, 4), (N, 5) or (N, 8), always new memory. Reversed boxes keep their negative sizes. The fixed arithmetic:
        xywh -> xyxy: x, y, x + w, y + h; cxcywh -> xyxy: cx - 0.5 * w, ..., cx + 0.5 * w, ...;
        xyxy -> xywh: x1, y1, x2 - x1, y2 - y1; xyxy -> cxcywh: (x1 + x2) / 2, ..., x2 - x1, ...
        cxcywhr -> xywhr: with a = (w * cos, w * sin) and d = (h * sin, h * cos), sin and cos those of
        ``rotated.sin_cos_degrees`` rounded to T, NaN of an angle that is not finite: x = cx - 0.5 * (a.x + d.x),
        y = cy - 0.5 * (d.y - a.y), and + for the way back;
        xywhr -> xyxyxyxy: (x, y), b = (x + a.x, y - a.y), (b.x + d.x, b.y + d.y), (x + d.x, y + d.y);
        xyxyxyxy -> xywhr: the first corner; w and h are the lengths of the sides from the first to the second and from
        the second to the third, sqrt(x * x + y * y) in double; the angle is that of the first of them, in double, in
        (-180, 180]: ``degrees_along``. Both are rounded to T.
        Equal formats copy.

    Raises:
        ValueError: a format is none of the six; one is upright and one rotated.
    """
    for name, value in (("in_fmt", in_fmt), ("out_fmt", out_fmt)):
        if value not in UPRIGHT + ROTATED:
            raise ValueError(f"box_convert: {name} must be one of {', '.join(UPRIGHT + ROTATED)}, got {value!r}")
    if (in_fmt in ROTATED) != (out_fmt in ROTATED):
        raise ValueError("box_convert: in_fmt and out_fmt must both be upright or both rotated, got "
                         f"{in_fmt!r} and {out_fmt!r}")
    boxes = as_boxes("box_convert", "boxes", boxes, 4 if in_fmt in UPRIGHT else 8 if in_fmt == "xyxyxyxy" else 5)
    if in_fmt == out_fmt:
        return boxes.copy()
    if in_fmt in ROTATED:
        with np.errstate(invalid="ignore", over="ignore"):
            return from_own_corner(to_own_corner(boxes, in_fmt), out_fmt)
    half = boxes.dtype.type(0.5)
    first, second = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore", over="ignore"):
        if in_fmt == "xywh":
            first, second = first, first + second
        elif in_fmt == "cxcywh":
            first, second = first - half * second, first + half * second
        if out_fmt == "xywh":
            first, second = first, second - first
        elif out_fmt == "cxcywh":
            first, second = (first + second) / boxes.dtype.type(2), second - first
    return np.concatenate([first, second], axis=1)


def own_axes(boxes):
    """(w * cos, w * sin) and (h * sin, h * cos) of rotated boxes, each T (N, 2)."""
    degrees = boxes[:, 4].astype(np.float64)
    known = np.isfinite(degrees)
    sin, cos = (np.where(known, v, np.nan).astype(boxes.dtype) for v in sin_cos_degrees(np.where(known, degrees, 0.0)))
    w, h = boxes[:, 2], boxes[:, 3]
    return np.stack([w * cos, w * sin], axis=1), np.stack([h * sin, h * cos], axis=1)


def degrees_along(x, y):
    """The angle in degrees, in (-180, 180], of a step of x to the right and y upwards, each a Python float."""
    if math.isnan(x) or math.isnan(y):
        return math.nan
    degrees = angle_of(abs(y), abs(x)) * 57.295779513082323
    degrees = 180.0 - degrees if x < 0 else degrees
    return -degrees if y < 0 else degrees


def to_own_corner(boxes, fmt):
    """ "xywhr" of "cxcywhr", "xyxyxyxy" or itself."""
    if fmt == "cxcywhr":
        a, d = own_axes(boxes)
        half = boxes.dtype.type(0.5)
        x, y = boxes[:, 0] - half * (a[:, 0] + d[:, 0]), boxes[:, 1] - half * (d[:, 1] - a[:, 1])
        return np.column_stack([x, y, boxes[:, 2:]])
    if fmt == "xyxyxyxy":
        corners = boxes.astype(np.float64)
        along, down = corners[:, 2:4] - corners[:, 0:2], corners[:, 4:6] - corners[:, 2:4]
        w, h = (np.sqrt(v[:, 0] * v[:, 0] + v[:, 1] * v[:, 1]) for v in (along, down))
        rise = corners[:, 1] - corners[:, 3]
        turn = [degrees_along(x, y) for x, y in zip(along[:, 0].tolist(), rise.tolist(), strict=True)]
        return np.column_stack([boxes[:, :2], *(np.array(v, boxes.dtype) for v in (w, h, turn))])
    return boxes


def from_own_corner(boxes, fmt):
    """The format of "xywhr"."""
    a, d = own_axes(boxes)
    half = boxes.dtype.type(0.5)
    x, y = boxes[:, 0], boxes[:, 1]
    if fmt == "cxcywhr":
        centre = x + half * (a[:, 0] + d[:, 0]), y + half * (d[:, 1] - a[:, 1])
        return np.column_stack([*centre, boxes[:, 2:]])
    if fmt == "xyxyxyxy":
        right, up = x + a[:, 0], y - a[:, 1]
        return np.column_stack([x, y, right, up, right + d[:, 0], up + d[:, 1], x + d[:, 0], y + d[:, 1]])
    return boxes.copy()


def clip_boxes_to_image(boxes, size):
    """Move every corner into the image: x into [0, W], y into [0, H].

    Args:
        boxes: (N, 4) float.
        size: (H, W), pixels.

    Returns:
        T (N, 4). A coordinate c becomes 0 where c < 0, the limit where c > limit, else stays as it
        is, so NaN stays NaN.
    """
    boxes = as_boxes("clip_boxes_to_image", "boxes", boxes)
    height, width = size
    limit = np.array([width, height, width, height], boxes.dtype)
    return np.where(boxes < 0, boxes.dtype.type(0), np.where(boxes > limit, limit, boxes))


def remove_small_boxes(boxes, min_size):
    """Indices of the boxes whose width and height both reach ``min_size``.

    Args:
        boxes: (N, 4) float.
        min_size: pixels, rounded to T. x2 - x1 >= min_size and y2 - y1 >= min_size keep a box.

    Returns:
        int64 (K,), ascending. A box with a NaN coordinate is never kept.
    """
    boxes = as_boxes("remove_small_boxes", "boxes", boxes)
    least = boxes.dtype.type(min_size)
    with np.errstate(invalid="ignore", over="ignore"):
        wide = boxes[:, 2] - boxes[:, 0] >= least
        high = boxes[:, 3] - boxes[:, 1] >= least
    return np.flatnonzero(wide & high).astype(np.int64)


def masks_to_boxes(masks, *, inclusive=True):
    """The tightest box around each mask.

    Args:
        masks: (N, H, W), any dtype; a pixel belongs to the object where it is not zero.
        inclusive: True is torchvision's way: x2 and y2 are the *last* pixel's index, so that a mask of one pixel has
            no area. False is detectron2's and COCO's: x2 and y2 are the last pixel's index plus one, so that the box
            covers the pixels and its area is theirs.

    Returns:
        float32 (N, 4); an empty mask gives 0 0 0 0 either way.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(f"masks_to_boxes: masks must have shape (N, H, W), got {masks.shape}")
    boxes = np.zeros((len(masks), 4), np.float32)
    for n, mask in enumerate(masks):
        y, x = np.nonzero(mask)
        if len(y):
            last = 0 if inclusive else 1
            boxes[n] = x.min(), y.min(), x.max() + last, y.max() + last
    return boxes


def box_iou(boxes1, boxes2):
    """Intersection over union of every pair; T is the wider of the two dtypes.

    Args:
        boxes1: (N, 4) float, the rows ("a").
        boxes2: (M, 4) float, the columns ("b").

    Returns:
        T (N, M) in [0, 1]. inter = side(max(ax1, bx1), min(ax2, bx2)) * side(max(ay1, by1),
        min(ay2, by2)), union = (area_a + area_b) - inter, IoU = inter / union. It is 0 where the
        union is not above 0 or the quotient is NaN: an empty, reversed, NaN or infinite box, and
        boxes so large that the areas overflow, have IoU 0 with everything.
    """
    a, b = _pairs("box_iou", boxes1, boxes2)
    return _iou_and_union(a, b)[0]


def generalized_box_iou(boxes1, boxes2):
    """IoU less the share of the smallest enclosing box that neither box covers, for every pair.

    Args:
        boxes1: (N, 4) float, the rows.
        boxes2: (M, 4) float, the columns.

    Returns:
        T (N, M) in [-1, 1]. hull = side(min(ax1, bx1), max(ax2, bx2)) * side(min(ay1, by1), max(ay2, by2)),
        the value is IoU - side(union, hull) / hull, with IoU and union as in box_iou. A penalty that is not finite
        (two equal points; an area that is NaN or infinite) counts as 0.

    Source: Rezatofighi et al., CVPR 2019, algorithm 1.
    """
    a, b = _pairs("generalized_box_iou", boxes1, boxes2)
    iou, union = _iou_and_union(a, b)
    with np.errstate(all="ignore"):
        width, height = _hull(a, b)
        hull = width * height
        return _less(iou, side(union, hull) / hull)


def distance_box_iou(boxes1, boxes2, eps=1e-7):
    """IoU less the squared distance of the centres over the squared diagonal of the enclosing box.

    Args:
        boxes1: (N, 4) float, the rows.
        boxes2: (M, 4) float, the columns.
        eps: added to the squared diagonal, square pixels; at least 0, rounded to T.

    Returns:
        T (N, M) in [-1, 1]. dx = (ax1 + ax2) * 0.5 - (bx1 + bx2) * 0.5, dy likewise; the penalty is
        (dx * dx + dy * dy) / ((width * width + height * height) + eps) with the sides of the enclosing box, and 1
        where it is larger (reversed boxes alone). A penalty that is not finite counts as 0.

    Source: Zheng et al., AAAI 2020, equation 7.
    """
    a, b = _pairs("distance_box_iou", boxes1, boxes2)
    return _less(_iou_and_union(a, b)[0], _centre_distance(a, b, eps))


def complete_box_iou(boxes1, boxes2, eps=1e-7):
    """The distance IoU less alpha * v, which compares the boxes' aspect ratios.

    Args:
        boxes1: (N, 4) float, the rows.
        boxes2: (M, 4) float, the columns.
        eps: added to the squared diagonal and to alpha's denominator; at least 0, rounded to T.

    Returns:
        T (N, M) in [-2, 1]. angle = atan2(width, height) of each box, computed in float64 and rounded, with sides of
        at least 0; turn = angle_a - angle_b; v = T(4 / pi^2) * (turn * turn); alpha = v / (((1 - IoU) + v) + eps);
        the penalty is the distance IoU's plus alpha * v. A penalty that is not finite counts as 0. Other floors may be
        off by 1e-6 (float32) or 2e-15 (float64), as their angles are.

    Source: Zheng et al., AAAI 2020, equations 9 to 12.
    """
    a, b = _pairs("complete_box_iou", boxes1, boxes2)
    iou, dtype = _iou_and_union(a, b)[0], a.dtype.type
    with np.errstate(all="ignore"):
        turn = _angle(a) - _angle(b)
        v = dtype(4 / np.pi**2) * (turn * turn)
        alpha = v / (((1 - iou) + v) + dtype(eps))
        return _less(iou, _centre_distance(a, b, eps) + alpha * v)


def _pairs(op, boxes1, boxes2):
    """boxes1 as (N, 1, 4) and boxes2 as (1, M, 4), both in T."""
    a, b = as_boxes(op, "boxes1", boxes1), as_boxes(op, "boxes2", boxes2)
    dtype = np.result_type(a, b)
    return a.astype(dtype)[:, None, :], b.astype(dtype)[None, :, :]


def _iou_and_union(a, b):
    dtype = a.dtype
    with np.errstate(all="ignore"):
        width = side(maximum(a[..., 0], b[..., 0]), minimum(a[..., 2], b[..., 2]))
        height = side(maximum(a[..., 1], b[..., 1]), minimum(a[..., 3], b[..., 3]))
        inter = width * height
        area_a = side(a[..., 0], a[..., 2]) * side(a[..., 1], a[..., 3])
        area_b = side(b[..., 0], b[..., 2]) * side(b[..., 1], b[..., 3])
        union = (area_a + area_b) - inter
        iou = np.where(union > 0, inter / union, dtype.type(0))
    return np.where(np.isnan(iou), dtype.type(0), iou), union


def _hull(a, b):
    """Width and height of the smallest box around both."""
    return (side(minimum(a[..., 0], b[..., 0]), maximum(a[..., 2], b[..., 2])),
            side(minimum(a[..., 1], b[..., 1]), maximum(a[..., 3], b[..., 3])))


def _centre_distance(a, b, eps):
    dtype = a.dtype.type
    with np.errstate(all="ignore"):
        width, height = _hull(a, b)
        dx, dy = ((a[..., i] + a[..., i + 2]) * dtype(0.5) - (b[..., i] + b[..., i + 2]) * dtype(0.5) for i in (0, 1))
        away = (dx * dx + dy * dy) / ((width * width + height * height) + dtype(eps))
        return np.where((away > 1) & np.isfinite(away), dtype(1), away)


def _angle(boxes):
    width, height = side(boxes[..., 0], boxes[..., 2]), side(boxes[..., 1], boxes[..., 3])
    return np.arctan2(width.astype(np.float64), height.astype(np.float64)).astype(boxes.dtype)


def _less(iou, penalty):
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(penalty), iou - penalty, iou)
