"""The codec and the anchors of rotated boxes: their arguments, their bounds, and what others do."""

import math

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.box_codec import TOLERANCE
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, PLAIN
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


WEIGHTS = st.sampled_from([(1.0, 1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0, 1.0), (10.0, 20.0, 3.0, 7.0, 2.0)])
CODED = ("grid", "cluster", "thin", "degenerate", "reversed", "nonfinite")


def pairs_of(draw, awkward, other):
    """Rotated anchors, and as many rows of something else."""
    one = some.rotated_box(CODED if awkward else PLAIN, copies=False)
    rows = draw(st.lists(st.tuples(one, other), min_size=0 if awkward else 1, max_size=4))
    return some.as_rotated_boxes([row for row, _ in rows], dtype := draw(DTYPES)), [o for _, o in rows], dtype


@st.composite
def encode_boxes_rotated(draw, awkward):
    anchors, boxes, dtype = pairs_of(draw, awkward, some.rotated_box(CODED if awkward else PLAIN, copies=False))
    return {"boxes": some.as_rotated_boxes(boxes, dtype), "anchors": anchors, "weights": draw(WEIGHTS)}


@st.composite
def decode_boxes_rotated(draw, awkward):
    columns = 5 * draw(st.integers(1, 2))
    number = st.one_of(st.integers(-16, 16), st.sampled_from([-80, 80, 240])).map(lambda i: i / 8)
    number = st.one_of(number, st.just(np.nan)) if awkward else number
    anchors, deltas, dtype = pairs_of(draw, awkward, st.lists(number, min_size=columns, max_size=columns))
    return {"deltas": some.as_boxes(deltas, dtype, columns), "anchors": anchors, "weights": draw(WEIGHTS),
            "clip": draw(st.sampled_from([math.log(1000 / 16), 2.0]))}


@st.composite
def cell_anchors_rotated(draw, awkward):
    def few(*values):
        return draw(st.lists(st.sampled_from(values), min_size=0 if awkward else 1, max_size=3))

    return {"sizes": few(32.0, 8.0, 12.5, 64.0), "aspect_ratios": few(1.0, 0.5, 2.0, 1 / 3),
            "angles": few(0.0, -90.0, 45.0, 30.0, 180.0)}


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


def _encode_rotated_bound(case, expected):
    near = TOLERANCE[str(expected.dtype)]
    return near * np.maximum(np.abs(expected), [0, 0, 0, 0, max(case["weights"])])


def _decode_rotated_bound(case, expected):
    rows = np.abs(expected).reshape(len(expected), expected.shape[1] // 5, 5)
    return (TOLERANCE[str(expected.dtype)] * np.maximum(rows, [0, 0, 0, 0, 360])).reshape(expected.shape)


OPS = (
    Op("encode_boxes_rotated", reference.encode_boxes_rotated, "deltas dx, dy along the image's axes, dw, dh, and the "
       "angle in radians within [-pi, pi), multiplied by the weights", ENCODE_BOXES_ROTATED, 3,
       _encode_rotated_bound, arguments=encode_boxes_rotated,
       room="a rotated angle the tolerance of the box codec for a whole turn"),
    Op("decode_boxes_rotated", reference.decode_boxes_rotated, "deltas are divided by the weights, then dw and dh "
       "limited from above only; the angle within [-180, 180)", DECODE_BOXES_ROTATED, 3,
       _decode_rotated_bound, arguments=decode_boxes_rotated),
    Op("cell_anchors_rotated", reference.cell_anchors_rotated, "size outside, then ratio, angle inside; a ratio is "
       "height over width; degrees", CELL_ANCHORS_ROTATED, 3, arrays=False, arguments=cell_anchors_rotated),
)
