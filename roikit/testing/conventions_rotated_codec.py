"""What others do in encode_boxes_rotated, decode_boxes_rotated and cell_anchors_rotated."""

import math

import numpy as np

from roikit import reference
from roikit.testing.variants import combine, trait

__all__ = ["CELL_ANCHORS_ROTATED", "DECODE_BOXES_ROTATED", "ENCODE_BOXES_ROTATED"]


def wrapped(degrees, how):
    """Angles moved by whole turns ("turn"), by half ones ("half"), or left as they are ("none")."""
    real = degrees.dtype.type
    if how == "none":
        return degrees
    most = real(180 if how == "turn" else 90)
    r = np.fmod(degrees, 2 * most)
    r = np.where(r >= most, r - 2 * most, r)
    return np.where(r < -most, r + 2 * most, r) + 0


def factors(case, dtype, weights):
    w = np.asarray(case["weights"], dtype)
    return {"times": w, "over": 1 / w, "none": np.ones_like(w)}[weights]


def turned(dx, dy, degrees, sense):
    """A shift seen in a frame that is turned by an angle; ``sense`` 1 goes into it, -1 comes out of it."""
    c, s = np.cos(np.radians(degrees)), sense * np.sin(np.radians(degrees))
    return c * dx - s * dy, s * dx + c * dy


def encode_model(case, got, *, wrap="turn", unit="radians", sense=1, frame="image", weights="times"):
    boxes, anchors = case["boxes"], case["anchors"]
    dtype = np.result_type(boxes, anchors)
    g, a = boxes.astype(dtype), anchors.astype(dtype)
    w = factors(case, dtype, weights)
    with np.errstate(all="ignore"):
        shift = g[:, :2] - a[:, :2]
        if frame == "anchor":
            shift = np.stack(turned(shift[:, 0], shift[:, 1], a[:, 4], 1), axis=1)
        turn = wrapped(g[:, 4:] - a[:, 4:], wrap) * dtype.type(math.pi / 180 if unit == "radians" else 1)
        return np.concatenate([w[:2] * shift / a[:, 2:4], w[2:4] * np.log(g[:, 2:4] / a[:, 2:4]), w[4] * sense * turn],
                              axis=1).astype(dtype)


def decode_model(case, got, *, wrap="turn", unit="radians", sense=1, frame="image", weights="times", clip="above"):
    deltas, anchors = case["deltas"], case["anchors"]
    dtype = np.result_type(deltas, anchors)
    rows = deltas.astype(dtype).reshape(len(deltas), deltas.shape[1] // 5, 5)
    a = anchors.astype(dtype)[:, None]
    w = factors(case, dtype, weights)
    limit = dtype.type(math.log(1000 / 16) if clip == "fixed" else case["clip"])
    with np.errstate(all="ignore"):
        d = rows[..., 2:4] / w[2:4]
        d = d if clip == "none" else np.where(d > limit, limit, d)
        d = np.where(d < -limit, -limit, d) if clip == "both" else d
        shift = (rows[..., :2] / w[:2]) * a[..., 2:4]
        if frame == "anchor":
            shift = np.stack(turned(shift[..., 0], shift[..., 1], a[..., 4], -1), axis=-1)
        turn = sense * (rows[..., 4:] / w[4]) * dtype.type(180 / math.pi if unit == "radians" else 1)
        return np.concatenate([shift + a[..., :2], np.exp(d) * a[..., 2:4], wrapped(turn + a[..., 4:], wrap)],
                              axis=-1).reshape(deltas.shape).astype(dtype)


TURNS = (
    trait("angle-unwrapped", "the angle is not brought back to one turn", wrap="none"),
    trait("angle-within-half-turn", "the angle is brought to [-90, 90)", wrap="half"),
    trait("angle-in-degrees", "the angle's delta is in degrees, not in radians", unit="degrees"),
    trait("clockwise", "the angle's delta is clockwise", sense=-1),
    trait("frame-of-anchor", "dx and dy are measured along the anchor's own axes", frame="anchor"),
    trait("weights-divide", "deltas are multiplied and divided by the inverse weights", weights="over"),
    trait("weights-ignored", "the weights do not count", needs="weights", weights="none"),
)
ENCODE_BOXES_ROTATED = combine(encode_model, TURNS)
DECODE_BOXES_ROTATED = combine(decode_model, (
    *TURNS,
    trait("unclipped", "dw and dh are not limited", clip="none"),
    trait("clipped-both-sides", "dw and dh are limited from below, too", clip="both"),
    trait("clip-fixed", "dw and dh are limited to log(1000 / 16), whatever clip says", needs="clip", clip="fixed"),
))


def cell_model(case, got, *, order="size ratio angle", ratio="height", unit="degrees"):
    ratios = [1 / np.float32(r) for r in case["aspect_ratios"]] if ratio == "width" else case["aspect_ratios"]
    angles = np.degrees(case["angles"]).astype(np.float32) if unit == "radians" else case["angles"]
    shape = len(case["sizes"]), len(ratios), len(angles), 5
    cell = reference.cell_anchors_rotated(case["sizes"], ratios, angles).reshape(shape)
    places = {"size ratio angle": (0, 1, 2, 3), "ratio size angle": (1, 0, 2, 3), "angle size ratio": (2, 0, 1, 3)}
    return cell.transpose(places[order]).reshape(-1, 5)


CELL_ANCHORS_ROTATED = combine(cell_model, (
    trait("ratio-major", "the ratio is outside, then the size, the angle inside", order="ratio size angle"),
    trait("angle-major", "the angle is outside, then the size, the ratio inside", order="angle size ratio"),
    trait("ratio-is-width", "a ratio is width over height", ratio="width"),
    trait("radians", "the angles are taken for radians", unit="radians"),
))
