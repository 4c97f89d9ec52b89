"""The focal loss of independent binary decisions, and its gradient by the logits.

T is the dtype of the logits, half being cast to float32; targets, alpha and gamma are cast to T. Of a
logit x (an infinite one counts as the largest finite one) with the target t, and p = sigmoid(x):

    entropy = (1 - t) softplus(x) + t softplus(-x)       wrong = (1 - t) p + t (1 - p)
    weight  = alpha t + (1 - alpha) (1 - t), or 1 where alpha is -1
    loss    = entropy wrong^gamma weight
    slope   = wrong^gamma weight ((1 - t) p - t (1 - p) + entropy gamma p (1 - p) (1 - 2 t) / wrong)

with 0 / 0 = 0. Neither p nor 1 - p is found by a difference, and softplus by log(1 + exp(-|x|)), so that
what is sure and right has a loss that is tiny and right, and no logit but NaN gives NaN.

Bound. exp and log differ between libraries, so against this reference, with TOLERANCE of T and the least
normal number of T: |error of loss| <= TOLERANCE (1 + gamma |log wrong|) loss + least, and of the slope
the same relative to the sum of the magnitudes of its terms. A sum or mean has the sum or mean of these,
and TOLERANCE of the result. TOLERANCE is 32 units in the last place.

Source: Lin et al., ICCV 2017, equation 5.
"""

import numpy as np

from roikit.reference.arguments import as_floats

__all__ = ["sigmoid_focal_loss", "sigmoid_focal_loss_backward"]

TOLERANCE = {"float32": 32 * 2.0**-23, "float64": 32 * 2.0**-52}


def terms(inputs, targets, alpha, gamma):
    """What loss and slope are made of: entropy, wrong, wrong^gamma * weight, p, 1 - p and t; arrays of T."""
    x = as_floats("sigmoid_focal_loss", "inputs", inputs)
    t, real = np.asarray(targets).astype(x.dtype), x.dtype.type
    if t.shape != x.shape:
        raise ValueError(f"sigmoid_focal_loss: targets must have shape {x.shape}, got {t.shape}")
    most, one = np.finfo(x.dtype).max, real(1)
    with np.errstate(all="ignore"):
        x = np.asarray(np.clip(x, -most, most))
        e = np.exp(-np.abs(x))
        sure, unsure = one / (one + e), e / (one + e)
        p, other = np.where(x < 0, unsure, sure), np.where(x < 0, sure, unsure)
        entropy = (one - t) * np.maximum(x, 0) + t * np.maximum(-x, 0) + np.log1p(e)
        wrong = (one - t) * p + t * other
        weight = one if alpha < 0 else real(alpha) * t + real(1 - alpha) * (one - t)
        return entropy, wrong, wrong ** real(gamma) * weight, p, other, t


def sigmoid_focal_loss(inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    """The focal loss of each decision, or of all.

    Args:
        inputs: logits of any shape, float.
        targets: of the same shape, in [0, 1].
        alpha: the weight of positives in [0, 1], or -1 for no weights.
        gamma: at least 0.
        reduction: "none", "mean" or "sum".

    Returns:
        T of the shape of inputs, or (); "mean" of nothing is 0.
    """
    entropy, _, factor, *_ = terms(inputs, targets, alpha, gamma)
    with np.errstate(all="ignore"):
        loss = np.asarray(entropy * factor)
    if reduction == "none":
        return loss
    total = loss.sum(dtype=np.float64)
    return np.asarray(total / max(loss.size, 1) if reduction == "mean" else total).astype(loss.dtype)


def sigmoid_focal_loss_backward(grad, inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    """The gradient of `sigmoid_focal_loss` by its inputs.

    Args:
        grad: the gradient of the loss, of the shape of inputs, or () where it was reduced.
        inputs, targets, alpha, gamma, reduction: as given to the forward pass.

    Returns:
        T of the shape of inputs.
    """
    entropy, wrong, factor, p, other, t = terms(inputs, targets, alpha, gamma)
    real = entropy.dtype.type
    grad = np.asarray(grad, entropy.dtype)
    if reduction == "mean":
        grad = grad / real(max(entropy.size, 1))
    with np.errstate(all="ignore"):
        ratio = np.where(wrong > 0, p * other / wrong, real(0))
        slope = (1 - t) * p - t * other + entropy * (ratio * real(gamma) * (1 - t - t))
        return np.asarray(grad * (factor * slope))
