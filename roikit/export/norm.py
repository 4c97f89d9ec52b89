"""GroupNorm of a batch that may be empty."""

import numpy as np
from onnxscript import opset18 as op

from roikit.export._values import constant, int64s

__all__ = ["group_norm"]


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True):
    """torch.ops.aten.group_norm: input (N, C, ...), weight and bias (C,) -> (N, C, ...).

    torch's form asks for as many values a group as there are, which no runtime can tell of 0 images.
    """
    shape, kind, channels = op.Shape(input), input.dtype, input.shape[1]
    values = op.ReduceProd(op.Slice(shape, int64s(1), int64s(len(input.shape))), keepdims=1)
    grouped = op.Reshape(input, op.Concat(int64s(-1, num_groups), op.Div(values, int64s(num_groups)), axis=0))
    norm = op.InstanceNormalization(grouped, constant(np.ones(num_groups), kind), constant(np.zeros(num_groups), kind),
                                    epsilon=eps)
    norm = op.Reshape(norm, shape, allowzero=1)
    along = int64s(channels, *[1] * (len(input.shape) - 2))
    if weight is not None:
        norm = op.Mul(norm, op.Reshape(weight, along))
    return norm if bias is None else op.Add(norm, op.Reshape(bias, along))
