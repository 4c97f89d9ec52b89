"""Deformable convolution in every dtype, with groups, in both formats."""

import torch

from roikit import ops

from ._case import Case, generator, gradient_of, maps


def convolution(channels, dtype, groups, last):
    """Map, offset, weight, bias, mask, and the gradient of the output."""
    def make(seed):
        g = generator(seed + 5)
        x = maps((2, channels, 19, 27), seed, dtype, last)
        rest = [2 * torch.randn(2, 36, 19, 27, generator=g), torch.randn(22, channels // groups, 3, 3, generator=g) / 9,
                torch.randn(22, generator=g), torch.rand(2, 18, 19, 27, generator=g)]
        return x, *(t.to(dtype).requires_grad_() for t in rest), torch.randn(2, 22, 19, 27, generator=g).to(dtype)
    return make


def convolve(x, offset, weight, bias, mask):
    return ops.deform_conv2d(x, offset, weight, bias, 1, 1, 1, mask)


def cases():
    for channels, dtype, groups, last in ((34, torch.float32, 1, False), (44, torch.float32, 2, True),
                                          (6, torch.float64, 1, False), (20, torch.float16, 1, False),
                                          (20, torch.bfloat16, 2, False)):
        make = convolution(channels, dtype, groups, last)
        kind = f"{channels} {str(dtype).removeprefix('torch.')}{' channels_last' if last else ''}"
        yield Case(f"deform_conv2d {kind}", make, lambda *given: convolve(*given[:5]), exact=False)
        yield Case(f"deform_conv2d backward {kind}", make, gradient_of(convolve), exact=False)


CASES = list(cases())
