"""What the codecs of upright and of rotated boxes share."""

import math

import torch

CLIP = math.log(1000 / 16)  # a box grows at most to 62.5 times its anchor


def same_dtype(a, b):
    """Both in the wider dtype, at least float32."""
    dtype = torch.float64 if torch.float64 in (a.dtype, b.dtype) else torch.float32
    return a.to(dtype), b.to(dtype)


def factors(like, weights):
    """The weights as a tensor. Filled where they are needed: a copy from the host would wait for the device."""
    return torch.cat([like.new_full((1,), w) for w in weights])


def fake(first, *_):
    """The result has the shape of the boxes or of the deltas."""
    return first.new_empty(first.shape)


def context(ctx, inputs, output):
    """Both tensors, the weights, and the clip where there is one."""
    ctx.save_for_backward(*inputs[:2])
    ctx.weights, ctx.clip = inputs[2], inputs[3] if len(inputs) > 3 else None
