"""What the codecs of upright and of rotated boxes share."""

from roikit import _core
from roikit._check import box_codec as checks
from roikit.kernels._arguments import as_array, wider
from roikit.kernels._launch import launch, result, view


def encode(op, boxes, anchors, weights, columns, out, threads):
    boxes, anchors = as_array(op, "boxes", boxes), as_array(op, "anchors", anchors)
    return _run(op, boxes, anchors, (checks.to_encode(op, boxes, anchors, weights, columns),), out, threads)


def decode(op, deltas, anchors, weights, clip, columns, out, threads):
    deltas, anchors = as_array(op, "deltas", deltas), as_array(op, "anchors", anchors)
    return _run(op, deltas, anchors, checks.to_decode(op, deltas, anchors, weights, clip, columns), out, threads)


def _run(op, rows, anchors, rule, out, threads):
    """The kernel gives as many numbers as ``rows`` has."""
    rows, anchors = wider(rows, anchors)
    out = result(op, out, rows.shape, rows.dtype)
    getattr(_core, op)(view(rows), view(anchors), *rule, view(out), launch(op, threads))
    return out
