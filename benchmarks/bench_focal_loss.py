"""sigmoid_focal_loss: the logits of a dense head, losses and slopes."""

import numpy as np

import roikit.kernels as kernels

from .kernel_inputs import bell, uniform
from .kernel_works import Timed, Work


def decisions(n):
    return 2 * bell(n, seed=1), (uniform(n, seed=2) < 0.01).astype(np.float32)


def losses(n):
    x, t = decisions(n)
    return lambda: kernels.sigmoid_focal_loss(x, t)


def total(n):
    x, t = decisions(n)
    return lambda: kernels.sigmoid_focal_loss(x, t, reduction="sum")


def slopes(n):
    x, t = decisions(n)
    return lambda: kernels.sigmoid_focal_loss_backward(np.float32(1), x, t, reduction="sum")


def any_power(n):
    x, t = decisions(n)
    return lambda: kernels.sigmoid_focal_loss(x, t, gamma=1.5)


WORKS = {
    "losses": Work(losses, (100_000,), (2_000_000,), 40, 1500),
    "sum": Work(total, (100_000,), (2_000_000,), 55, 1500),
    "slopes": Work(slopes, (100_000,), (2_000_000,), 40, 1500),
    "gamma 1.5": Work(any_power, (100_000,), (2_000_000,), 75, 1500),
}


class FocalLoss(Timed):
    works = WORKS
