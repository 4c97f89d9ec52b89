"""Calibration: which ranges a model's maps lie in, by looking at images."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from roikit.models.inference import prepare_for_inference
from roikit.models.parts.detector import Detector
from roikit.models.parts.fused import FusedConv2d
from roikit.models.ranges import InferenceRanges, checksum, coded_layers
from roikit.models.segmentation.segmenter import Segmenter

__all__ = ["measure_ranges"]


@torch.no_grad()
def measure_ranges(model: Detector | Segmenter, images: Iterable[Tensor],
                   on_image: Callable[[int], None] | None = None) -> InferenceRanges:
    """The ranges by which ``prepare_for_inference(model, "int8", ranges=...)`` codes the maps of a model.

    Args:
        model: a float32 detector or segmenter on the CPU. It is left as it is.
        images: such as are to come, each (3, H, W) float32 as the model takes them; 16 to 64 say.
        on_image: called with the number of images looked at, after each.

    Returns:
        The least and the greatest number before and after each layer.

    Raises:
        TypeError, ValueError: as `prepare_for_inference`; there is no image, or a layer gave numbers that are not
            finite; or what the model raises for an image.
    """
    prepared = prepare_for_inference(model)
    for part in prepared.modules():
        if isinstance(part, FusedConv2d):
            part.measured = None
    layers = coded_layers(prepared)
    inputs: dict[str, list[float]] = {}
    results: dict[str, list[float]] = {}

    def note(known: dict[str, list[float]], name: str, x: Tensor) -> None:
        if x.numel():
            least, greatest = (float(value) for value in x.aminmax())
            if not math.isfinite(least) or not math.isfinite(greatest):
                raise ValueError(f"measure_ranges: image {count + 1} makes {name} take or give numbers that are not "
                                 "finite")
            before = known.get(name, [least, greatest])
            known[name] = [min(least, before[0]), max(greatest, before[1])]

    def noting(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
            note(inputs, name, given[0])
            note(results, name, result)

        return hook

    for name, layer in layers:
        layer.register_forward_hook(noting(name))
    count = 0
    for image in images:
        prepared([image])
        count += 1
        if on_image is not None:
            on_image(count)
    if not count:
        raise ValueError("measure_ranges: there must be at least one image, got none")
    return InferenceRanges(checksum(model), count, {name: layer.told() for name, layer in layers}, inputs, results)
