"""The focal loss on NumPy arrays. The compiled face of roikit.reference.focal_loss."""

import numpy as np

from roikit import _check, _core
from roikit._check.focal_loss import decisions, rule
from roikit.kernels._arguments import as_array, as_floats, float32_at_least
from roikit.kernels._launch import launch, result, view

__all__ = ["sigmoid_focal_loss", "sigmoid_focal_loss_backward"]


def _arrays(op, inputs, targets):
    """Both contiguous and in the dtype of the loss."""
    inputs, targets = as_floats(op, "inputs", inputs), as_array(op, "targets", targets)
    decisions(op, inputs, targets)
    shape, inputs = inputs.shape, float32_at_least(inputs)  # which gives () an axis
    return inputs.reshape(shape), np.ascontiguousarray(targets, inputs.dtype).reshape(shape)


def _run(op, inputs, targets, alpha, gamma, loss, slope, threads):
    flat = loss if loss.ndim == 0 else loss.reshape(-1)
    _core.sigmoid_focal_loss(view(inputs.reshape(-1)), view(targets.reshape(-1)), alpha, gamma, view(flat),
                             view(slope.reshape(-1)), launch(op, threads))


def sigmoid_focal_loss(inputs, targets, alpha=0.25, gamma=2, reduction="none", *, out=None, threads=None):
    """The focal loss of independent binary decisions: `roikit.ops.sigmoid_focal_loss` for arrays.

    Args:
        inputs: logits of any shape, float16, float32 or float64.
        targets: of the same shape, in [0, 1]; floating, integers or bool.
        alpha, gamma, reduction: as in `roikit.ops.sigmoid_focal_loss`.
        out: of the shape of inputs, or () where reduced, for the result.
        threads: how many may work.

    Returns:
        float32 or float64 of the shape of inputs, or () where reduced.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "sigmoid_focal_loss"
    alpha, gamma = rule(op, alpha, gamma, reduction)
    inputs, targets = _arrays(op, inputs, targets)
    out = result(op, out, inputs.shape if reduction == "none" else (), inputs.dtype)
    # What has one element and no axis would be taken for a sum.
    loss = out.reshape(-1) if reduction == "none" else out
    _run(op, inputs, targets, alpha, gamma, loss, np.empty(0, inputs.dtype), threads)
    if reduction == "mean" and inputs.size:
        out /= inputs.size
    return out


def sigmoid_focal_loss_backward(grad, inputs, targets, alpha=0.25, gamma=2, reduction="none", *, threads=None):
    """The gradient of `sigmoid_focal_loss` by its inputs.

    Args:
        grad: the gradient of the loss: of the shape of inputs, or () where it was reduced.
        inputs, targets, alpha, gamma, reduction: as given to the forward pass.
        threads: how many may work.

    Returns:
        float32 or float64 of the shape of inputs.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "sigmoid_focal_loss_backward"
    alpha, gamma = rule(op, alpha, gamma, reduction)
    inputs, targets = _arrays(op, inputs, targets)
    grad = as_floats(op, "grad", grad)
    shape = inputs.shape if reduction == "none" else ()
    if grad.shape != shape:
        raise ValueError(f"{op}: grad must have shape {shape}, got {_check.shape_text(grad)}")
    slope, total = np.empty_like(inputs), np.empty((), inputs.dtype)
    _run(op, inputs, targets, alpha, gamma, total, slope, threads)
    slope *= grad.astype(inputs.dtype) / inputs.dtype.type(max(inputs.size, 1) if reduction == "mean" else 1)
    return slope
