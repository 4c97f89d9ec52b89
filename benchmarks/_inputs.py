"""The inputs of `roikit bench`, and what asv's benchmarks do with a device."""

import torch

from roikit.bench.inputs import *  # noqa: F403


def on(device, *tensors):
    """The tensors on the device; asv skips the case where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise NotImplementedError("no CUDA device")
    return tuple(t.to(device) for t in tensors)


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()
