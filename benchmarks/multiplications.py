"""The floor of a network on a CPU: its multiplications, at the rate that was measured beside it."""

import time

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

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
    a = torch.rand(2048, 2048).to(dtype)
    maps = torch.rand(1, 256, 100, 152).to(dtype, memory_format=torch.channels_last)
    weight = torch.rand(256, 256, 3, 3).to(dtype, memory_format=torch.channels_last)
    works = ((2048**3, lambda: a @ a), (256 * 256 * 9 * 100 * 152, lambda: F.conv2d(maps, weight, padding=1)))
    most, end = 0.0, time.perf_counter() + seconds
    while not most or time.perf_counter() < end:
        for count, work in works:
            begun = time.perf_counter()
            work()
            most = max(most, count / (time.perf_counter() - begun))
    return most
