"""What a case is, and the inputs and gradients that the cases of several ops are made of."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

SIZE = (37, 53)


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        name: of the function, and what of it.
        make: seed -> the inputs, tensors in the host's memory.
        call: inputs -> a tensor, or a list of tensors and of what else the op gives.
        fixed: the size of the result does not depend on the data, so that a CUDA graph can hold it.
        exact: the result has the same bits on every device and in every run.
    """

    name: str
    make: Callable
    call: Callable
    fixed: bool = True
    exact: bool = True

    @property
    def function(self):
        return self.name.split()[0]

    def inputs(self, device, seed=0):
        """The inputs on the device, leaves where they need a gradient."""
        return [x.detach().to(device).requires_grad_(x.requires_grad) for x in self.make(seed)]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def boxes(n, seed, most=24.0):
    """Boxes around the image, some of them partly outside it."""
    g = generator(seed)
    corner = torch.rand(n, 2, generator=g) * 48 - 6
    return torch.cat([corner, corner + 0.5 + torch.rand(n, 2, generator=g) * most], 1)


def rois(n, images, seed):
    index = torch.randint(0, images, (n, 1), generator=generator(seed + 1)).float()
    return torch.cat([index, boxes(n, seed)], 1)


def scores(n, seed):
    return (torch.rand(n, generator=generator(seed + 2)) * 64).round() / 64  # with ties


def classes(n, seed):
    return torch.randint(-1, 5, (n,), generator=generator(seed))


def turned(b, seed):
    """Rotated boxes with the centres and sides of upright ones."""
    degrees = torch.randint(-6, 7, (len(b), 1), generator=generator(seed + 7)) * 30.0
    return torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2], degrees], 1)


def maps(shape, seed, dtype=torch.float32, last=False):
    form = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(*shape, generator=generator(seed + 3)).to(dtype)
    return x.contiguous(memory_format=form).requires_grad_()


def gradient_of(call):
    """The gradient of ``call(*given)`` by what requires it; the last input is the gradient of the output."""
    def backward(*inputs):
        *given, grad = inputs
        return list(torch.autograd.grad(call(*given), [x for x in given if x.requires_grad], grad))
    return backward


def map_and_rois(channels, dtype=torch.float32, last=False, of=lambda rois: rois):
    """``make`` of a map and 40 RoIs, or of what is made ``of`` these."""
    return lambda seed: (maps((2, channels, 19, 27), seed, dtype, last), of(rois(40, 2, seed)))


def pooling(name, call, make, shape, exact):
    """A pooling's two cases: its output, and the gradient of an output (40, *shape) by the maps.

    Args:
        name: of the function, and what of it; the dtype and the format of the first map are added.
        call, make: see `Case`.
        shape: (channels, rows, columns).
        exact: of the output.
    """
    x = make(0)[0]
    last = not x.is_contiguous()
    kind = f"{x.shape[1]} {str(x.dtype).removeprefix('torch.')}{' channels_last' if last else ''}"

    def with_gradient(seed):
        given = make(seed)
        grad = torch.randn(40, *shape, generator=generator(seed + 4)).to(x.dtype)
        return *given, grad.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    return (Case(f"{name} {kind}", make, call, exact=exact),
            Case(f"{name} backward {kind}", with_gradient, gradient_of(call), exact=False))


FORMS = ((19, torch.float32, False), (16, torch.float32, True), (3, torch.float64, False), (16, torch.float16, False),
         (24, torch.bfloat16, True), (7, torch.float16, True))  # channels, dtype, channels last
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
