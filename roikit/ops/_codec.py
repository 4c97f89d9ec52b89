"""What the codecs of upright and of rotated boxes share."""

import torch

from roikit import _check
from roikit._check import box_codec as checks
from roikit.ops._arguments import wider
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register


def to_encode(op, boxes, anchors, weights, columns):
    """What the operator takes, after the checks."""
    weights = checks.to_encode(op, boxes, anchors, weights, columns)
    _check.same_device(op, boxes=boxes, anchors=anchors)
    return *wider(boxes, anchors), weights


def to_decode(op, deltas, anchors, weights, clip, columns):
    rule = checks.to_decode(op, deltas, anchors, weights, clip, columns)
    _check.same_device(op, deltas=deltas, anchors=anchors)
    return *wider(deltas, anchors), *rule


def factors(like, weights):
    """The weights as a tensor. Filled where they are needed: a copy from the host would wait for the device."""
    return torch.cat([like.new_full((1,), w) for w in weights])


def register_codec(schema, backward):
    """Define an operator (rows, anchors, weights[, clip]) whose result has the shape of the rows."""
    op = schema.split("(", 1)[0]

    def kernel(rows, anchors, *rule):
        rows, anchors = rows.contiguous(), anchors.contiguous()
        out = torch.empty_like(rows)
        getattr(backend(rows, op), op)(view(rows), view(anchors), *rule, view(out), launch(rows))
        return out

    def fake(rows, *_):
        return rows.new_empty(rows.shape)

    def context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.weights, ctx.clip = inputs[2], inputs[3] if len(inputs) > 3 else None

    register(schema, kernel, fake, backward=backward, setup_context=context)
