"""The ranges that a model's maps lie in, by which 8-bit integers stand for them: calibration, as data."""

import math
import os
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from roikit.models import measured_file
from roikit.models.parts.fused import FusedConv2d
from roikit.models.parts.linear import FusedLinear

__all__ = ["InferenceRanges", "checksum", "coded_layers"]

_FORMAT = 1


@dataclass(frozen=True)
class InferenceRanges:
    """The least and the greatest number that each layer of a prepared model was given, and gave, over some images.

    `measure_ranges` makes it, and ``prepare_for_inference(model, "int8", ranges=...)`` takes it.

    Attributes:
        weights: a checksum of the model's weights.
        images: how many there were.
        layers: name -> what the layer is.
        inputs, results: name -> [least, greatest]. A layer that no image reached is in neither.
    """

    weights: int
    images: int
    layers: dict[str, str]
    inputs: dict[str, list[float]]
    results: dict[str, list[float]]

    def check(self, model: nn.Module, prepared: nn.Module) -> None:
        """Raise ValueError unless they are those of the layers of `prepared`, made of `model` with its weights."""
        told = {name: layer.told() for name, layer in coded_layers(prepared)}
        for name in sorted(told.keys() | self.layers.keys()):
            if told.get(name) != self.layers.get(name):
                raise ValueError(f"prepare_for_inference: the ranges are of another model: {name} is "
                                 f"{told.get(name, 'not there')}, in the ranges it is "
                                 f"{self.layers.get(name, 'not there')}")
        if checksum(model) != self.weights:
            raise ValueError("prepare_for_inference: the ranges are of a model with other weights: measure anew")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        measured_file.save(self, _FORMAT, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "InferenceRanges":
        """Read what `save` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is something else.
        """
        return measured_file.load(cls, _FORMAT, path, cls._is_right)

    def _is_right(self) -> bool:
        pairs = [pair for part in (self.inputs, self.results) for pair in part.values()]
        known = all(len(pair) == 2 and all(type(n) in (int, float) and math.isfinite(n) for n in pair)
                    and pair[0] <= pair[1] for pair in pairs)
        return known and self.inputs.keys() == self.results.keys() <= self.layers.keys()


def coded_layers(model: nn.Module) -> list[tuple[str, Any]]:
    """Names and layers of a prepared model that can compute on 8-bit integers."""
    return [(name, part) for name, part in model.named_modules()
            if isinstance(part, FusedLinear) or isinstance(part, FusedConv2d) and part.groups == 1]


def checksum(model: nn.Module) -> int:
    """CRC-32 of a model's tensors with their names."""
    found = 0
    for name, tensor in sorted(model.state_dict().items()):
        found = zlib.crc32(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy(), zlib.crc32(name.encode(),
                                                                                                     found))
    return found
