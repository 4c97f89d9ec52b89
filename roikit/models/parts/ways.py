"""The ways in which a prepared convolution can be computed on a CPU, and which is the fastest, by measurement.

Each way is a function of (layer, x, onto) that gives activation(conv(x) + onto) for a `FusedConv2d`; `onto` may be
overwritten. They differ in the last digits of float32, and in whether the result lies channels-last or channels-first.
A way whose layout is not that of `x` reorders it, and a measurement counts that.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from roikit.models.parts.fused import FusedConv2d

__all__ = ["SEVERAL", "WAYS", "activate", "candidates", "fastest", "fused", "has_onednn", "has_winograd", "nearest"]

# oneDNN's name of each activation, and its numbers.
_ACTIVATIONS: dict[str, tuple[str, list[float]]] = {
    "none": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0]), "leaky": ("leaky_relu", [0.1])}
_LEAST = 2e7  # multiplications below which nothing is gained that could be measured
_BETTER = 0.95  # of the time of `fused` another way must take less than this
_RUNS = 3
_LONGEST = 0.2  # seconds after which no further run is waited for
_HOPELESS = 1.5  # times the best so far, of a way's first run, that end its measurement
_NARROWEST = 16  # channels of Winograd's algorithm
SEVERAL = 8  # maps that may be faster one by one
_NEAR = 2.0  # a size with so many times the cells, or so few, is another one


def activate(x: Tensor, activation: str) -> Tensor:
    """`x` with the activation applied in place."""
    if activation == "relu":
        return x.relu_()
    if activation == "leaky":
        return F.leaky_relu_(x, 0.1)
    return x.clamp_(0, 6) if activation == "relu6" else x


@functools.cache
def has_onednn() -> bool:
    """Whether this torch has oneDNN's fused convolutions, which its compiler calls as well."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_convolution_pointwise", "_convolution_pointwise_"))


@functools.cache
def has_winograd() -> bool:
    """Whether this torch has NNPACK, and NNPACK this processor. Its convolutions fail unless this was asked before."""
    asked = getattr(torch, "_nnpack_available", None)
    return asked is not None and hasattr(torch, "_nnpack_spatial_convolution") and bool(asked())


def fused(layer: "FusedConv2d", x: Tensor, onto: Tensor | None) -> Tensor:
    """oneDNN's direct convolution, channels-last, with addition and activation as it writes."""
    x = x.to(layer.dtype, memory_format=torch.channels_last)
    x, padding = layer.padded(x)
    if onto is not None:
        onto = onto.to(layer.dtype, memory_format=torch.channels_last)
    if not layer.fused:
        return _after(F.conv2d(x, layer.weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups), onto,
                      layer.activation)
    name, numbers = _ACTIVATIONS[layer.activation]
    layout = (list(padding), layer.stride, layer.dilation, layer.groups)
    if onto is None:
        return torch.ops.mkldnn._convolution_pointwise(x, layer.weight, layer.bias, *layout, name, numbers, "")
    # After an addition oneDNN's wrapper takes no activation but ReLU.
    after = "relu" if name == "relu" else None
    out = torch.ops.mkldnn._convolution_pointwise_(onto, x, layer.weight, layer.bias, *layout, "add", 1.0, after, [],
                                                   "")
    return out if after else activate(out, layer.activation)


def plain(layer: "FusedConv2d", x: Tensor, onto: Tensor | None) -> Tensor:
    """torch's own convolution of channels-first maps, as the model itself has it."""
    x, padding = layer.padded(x.to(layer.dtype).contiguous())
    out = F.conv2d(x, layer.in_order(), layer.bias, layer.stride, padding, layer.dilation, layer.groups)
    return _after(out, onto, layer.activation)


def winograd(layer: "FusedConv2d", x: Tensor, onto: Tensor | None) -> Tensor:
    """Winograd's algorithm by NNPACK, channels-first: a third of the multiplications of a 3x3 convolution or less."""
    if not has_winograd():  # a model may have come from another machine
        return plain(layer, x, onto)
    out = torch._nnpack_spatial_convolution(x.contiguous(), layer.in_order(), layer.bias, layer.padding, [1, 1])
    return _after(out, onto, layer.activation)


def winograd_each(layer: "FusedConv2d", x: Tensor, onto: Tensor | None) -> Tensor:
    """`winograd` of one map after the other."""
    return torch.cat([winograd(layer, part, None if onto is None else onto[k:k + 1])
                      for k, part in enumerate(x.split(1))])


def product(layer: "FusedConv2d", x: Tensor, onto: Tensor | None) -> Tensor:
    """A 1x1 convolution as one product of matrices for each map, whose result is channels-first whatever `x` is."""
    weight = layer.weight.flatten(1)
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    parts = [torch.ops.mkldnn._linear_pointwise(weight, part, None, "none", [], "") for part in rows]
    out = (parts[0][None] if len(parts) == 1 else torch.stack(parts)).view(len(x), -1, *x.shape[2:])
    return _after(out if layer.bias is None else out.add_(layer.bias.view(-1, 1, 1)), onto, layer.activation)


def _after(out: Tensor, onto: Tensor | None, activation: str) -> Tensor:
    return activate(out if onto is None else out.add_(onto), activation)


WAYS: dict[str, Callable[["FusedConv2d", Tensor, Tensor | None], Tensor]] = {
    "fused": fused, "plain": plain, "winograd": winograd, "winograd each": winograd_each, "product": product}


def candidates(layer: "FusedConv2d", maps: int) -> list[str]:
    """The ways in which a layer can be computed on so many maps, `fused` the first; that alone where nothing is to be
    chosen."""
    found = ["fused"]
    if layer.dtype != torch.float32 or not layer.fused or layer.padding is None:
        return found
    found.append("plain")
    unit = layer.stride == [1, 1] and layer.dilation == [1, 1] and layer.groups == 1
    channels = min(layer.weight.shape[:2])
    if unit and layer.kernel_size == (3, 3) and channels >= _NARROWEST and max(layer.padding) <= 1 and has_winograd():
        found += ["winograd", "winograd each"] if 1 < maps <= SEVERAL else ["winograd"]
    if unit and layer.kernel_size == (1, 1) and max(layer.padding) == 0 and hasattr(torch.ops.mkldnn,
                                                                                    "_linear_pointwise"):
        found.append("product")
    return found


def fastest(layer: "FusedConv2d", x: Tensor, onto: Tensor | None) -> str:
    """The way that takes the least time for these inputs, which stay as they are; `fused` unless another is faster by
    more than noise. Where another layer is known to follow, its time on the result counts too."""
    cells = x.shape[0] * x.shape[2] * x.shape[3]
    ways = candidates(layer, len(x))
    if len(ways) == 1 or cells * layer.weight.numel() / math.prod(layer.stride) < _LEAST:
        return "fused"
    follower, after = layer.follower, {}
    times: dict[str, float] = {}
    for way in ways:
        seconds, out = _measured(layer, way, x, onto, min(times.values(), default=math.inf))
        if follower is not None:
            first = out.is_contiguous()  # as it lies, it is faster for one or the other
            if first not in after:
                after[first] = _least(follower, out)
            seconds += after[first]
        times[way] = seconds
    best = min(times, key=lambda way: times[way])
    return best if times[best] < _BETTER * times["fused"] else "fused"


def _least(layer: "FusedConv2d", x: Tensor) -> float:
    """Seconds of the fastest way."""
    best = math.inf
    for way in candidates(layer, len(x)):
        best = min(best, _measured(layer, way, x, None, best)[0])
    return best


def _measured(layer: "FusedConv2d", way: str, x: Tensor, onto: Tensor | None, best: float) -> tuple[float, Tensor]:
    """The least seconds of some runs, and what a run gives."""
    found, spent = math.inf, 0.0
    for run in range(_RUNS + 1):  # the first finds memory and caches cold, which is little of a long one
        own = None if onto is None else onto.clone()
        begun = time.perf_counter()
        out = WAYS[way](layer, x, own)
        seconds = time.perf_counter() - begun
        spent += seconds
        if run or spent > _LONGEST or seconds > _HOPELESS * best:
            found = min(found, seconds)
        if spent > _LONGEST or seconds > _HOPELESS * best:
            break
    return found, out


def nearest(known: list[tuple[list[int], str]], shape: Any, near: float = _NEAR) -> str | None:
    """The way that was chosen for the size nearest to (N, C, H, W), by the number of cells.

    Args:
        known: sizes and ways.
        shape: the size that is asked for.
        near: times the cells that a size may differ by.

    Returns:
        The way; None where no size is near enough.
    """
    cells = shape[0] * shape[2] * shape[3]
    best, way = near, None
    for (maps, _, height, width), chosen in known:
        ratio = max(maps * height * width, 1) / max(cells, 1)
        ratio = max(ratio, 1 / ratio)
        if ratio <= best and (way is None or ratio < best):
            best, way = ratio, chosen
    return way
