"""Works of deformable convolution with a mask, forward and backward: the layers of a ResNet's stages."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, only, size_of

__all__ = ["works"]

RULE = (1, 1), (1, 1), (1, 1)


def make(channels, stride, images, last):
    """The gradient of the output, then leaves: map, offset (of some 2 pixels), weight, bias, mask."""

    def on(device):
        g = torch.Generator(device).manual_seed(0)
        size = inputs.HEIGHT // stride, inputs.WIDTH // stride

        def randn(*shape):
            return torch.randn(*shape, device=device, generator=g)

        form = torch.channels_last if last else torch.contiguous_format
        leaves = (randn(images, channels, *size).contiguous(memory_format=form), 2 * randn(images, 18, *size),
                  randn(channels, channels, 3, 3) / (9 * channels) ** 0.5, randn(channels),
                  randn(images, 9, *size).sigmoid())
        grad = randn(images, channels, *size).contiguous(memory_format=form)
        return grad, *(x.requires_grad_() for x in leaves)

    return on


def forward(convolve):
    def prepare(grad, *leaves):
        *given, mask = (x.detach() for x in leaves)
        return lambda: convolve(*given, *RULE, mask)
    return prepare


def with_backward(convolve):
    def prepare(grad, *leaves):
        *given, mask = leaves
        return lambda: torch.autograd.grad(convolve(*given, *RULE, mask), leaves, grad)
    return prepare


def operations(given):
    """Of one product of matrices with its samples."""
    output, weight = given[0], given[3]
    return output.numel() * weight[0].numel() + 4 * weight[0].numel() * output[:, 0].numel()


def works(peers, device):
    tv = peers.get("torchvision")
    for channels, stride, images, last, devices in ((256, 16, 1, False, ("cpu", "cuda")),
                                                    (128, 8, 1, False, ("cpu", "cuda")),
                                                    (256, 16, 1, True, ("cpu", "cuda")),
                                                    (256, 16, 8, False, ("cuda",))):
        name = f"{images}x{channels}x{inputs.HEIGHT // stride}x{inputs.WIDTH // stride} 3x3"
        name += " channels_last" if last else ""
        for kind, wrap, products in (("fwd", forward, 1), ("fwd+bwd", with_backward, 3)):
            def cost(given, results, products=products):
                return Cost(size_of(given[products == 1:]), size_of(results), products * operations(given))

            yield Work("deform_conv", f"{name} {kind}", make(channels, stride, images, last),
                       wrap(ops.deform_conv2d), only(torchvision=tv and wrap(tv.ops.deform_conv2d)), cost,
                       f"arguments read, results written; {products} product(s) of matrices", {"cpu": ("ratio", 2)},
                       devices=devices, quick=not last)
