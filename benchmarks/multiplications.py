"""The floor of a network on a CPU: its multiplications, at the rate that was measured beside it."""

import functools
import time

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from roikit.models.parts.fused import FusedConv2d
from roikit.models.parts.int8 import Coding, QuantizedConv2d, QuantizedLinear
from roikit.models.parts.linear import FusedLinear

__all__ = ["multiplications", "peak"]


def multiplications(model, image):
    """Those of convolutions and linear layers in one call, computed directly: Winograd's algorithm needs fewer."""
    counter = FlopCounterMode(display=False)
    with counter:
        model([image])
    return counter.get_total_flops() // 2


def peak(dtype, seconds=2.0):
    """Multiplications a second, each with an addition, of torch's threads: the fastest run of a matrix product and of a
    3x3 convolution of 256 channels."""
    a, maps, weight = (torch.rand(size).to(torch.float32 if dtype == torch.int8 else dtype) for size in (
        (2048, 2048), (1, 256, 100, 152), (256, 256, 3, 3)))
    maps, weight = (tensor.to(memory_format=torch.channels_last) for tensor in (maps, weight))
    product, convolution = lambda: a @ a, lambda: F.conv2d(maps, weight, padding=1)
    if dtype == torch.int8:
        product, convolution = _on_codes(a, maps, weight)
    works = ((2048**3, product), (256 * 256 * 9 * 100 * 152, convolution))
    most, end = 0.0, time.perf_counter() + seconds
    while not most or time.perf_counter() < end:
        for count, work in works:
            begun = time.perf_counter()
            work()
            most = max(most, count / (time.perf_counter() - begun))
    return most


def _on_codes(a, maps, weight):
    """The same product and convolution on 8-bit integers, from codes to codes."""
    coding, linear = Coding.of(0.0, 1.0), torch.nn.Linear(*a.shape)
    layers = (QuantizedLinear(FusedLinear(linear, torch.float32), coding),
              QuantizedConv2d(FusedConv2d(weight, None, padding=(1, 1)), coding))
    for layer in layers:
        layer.gives = Coding.of(0.0, 255.0)
    codes = [coding.encode(x) for x in (a, maps)]
    return [functools.partial(layer, x) for layer, x in zip(layers, codes, strict=True)]
