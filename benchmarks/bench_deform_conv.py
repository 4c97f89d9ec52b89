"""deform_conv2d of 3 x 3 with a mask, and its gradients."""

import roikit.kernels as kernels

from .kernel_inputs import bell, feature_map
from .kernel_works import Timed, Work


def deform(channels, height, width):
    """Input, offsets, weight and mask of a convolution of 3 x 3."""
    x, weight = feature_map(channels, height, width), bell(channels, channels, 3, 3, seed=1)
    return x, 2 * bell(1, 18, height, width, seed=2), weight, bell(1, 9, height, width, seed=3)


def deform_conv(channels, height, width):
    x, offset, weight, mask = deform(channels, height, width)
    return lambda: kernels.deform_conv2d(x, offset, weight, padding=1, mask=mask)


def deform_conv_backward(channels, height, width):
    x, offset, weight, mask = deform(channels, height, width)
    return lambda: kernels.deform_conv2d_backward(x, x, offset, weight, padding=1, mask=mask)


WORKS = {
    "deform_conv2d": Work(deform_conv, (16, 25, 42), (64, 50, 84), 129, 1600),
    "deform_conv2d backward": Work(deform_conv_backward, (16, 25, 42), (64, 50, 84), 314, 2300),
}


class DeformConv(Timed):
    works = WORKS
