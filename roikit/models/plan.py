"""How a prepared model computes each of its convolutions: a choice that was measured, as data."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from roikit.models import measured_file
from roikit.models.parts.fused import FusedConv2d
from roikit.models.parts.ways import WAYS, candidates

__all__ = ["InferencePlan"]

_FORMAT = 1


@dataclass(frozen=True)
class InferencePlan:
    """The ways of the convolutions of a prepared model. With the same plan and as many threads the bits are the same.

    Attributes:
        torch: the version in which they were measured.
        threads: torch's number of threads then; with another one other ways may be faster.
        layers: name -> what the convolution is.
        ways: name -> list of [[N, C, H, W], way] for sizes of its input; names of `roikit.models.parts.ways.WAYS`.
    """

    torch: str
    threads: int
    layers: dict[str, str]
    ways: dict[str, list[Any]]

    @classmethod
    def of(cls, model: nn.Module) -> "InferencePlan":
        """The plan of a prepared model, as far as it was measured."""
        layers = dict(_convolutions(model))
        return cls(torch.__version__, torch.get_num_threads(), {name: layer.told() for name, layer in layers.items()},
                   {name: [[list(size), way] for size, way in layer.ways] for name, layer in layers.items()
                    if layer.ways})

    def put_into(self, model: nn.Module) -> None:
        """Have a prepared model follow the plan, and measure nothing.

        Raises:
            ValueError: the plan is of another version of torch, of other layers, or has a way that this processor
                lacks; the text says which.
        """
        if self.torch != torch.__version__:
            raise ValueError(f"prepare_for_inference: the plan is of torch {self.torch}, this is {torch.__version__}: "
                             "measure anew")
        layers = dict(_convolutions(model))
        told = {name: layer.told() for name, layer in layers.items()}
        for name in sorted(told.keys() | self.layers.keys()):
            if told.get(name) != self.layers.get(name):
                raise ValueError(f"prepare_for_inference: the plan is of another model: {name} is "
                                 f"{told.get(name, 'not there')}, in the plan it is "
                                 f"{self.layers.get(name, 'not there')}")
        for name, chosen in self.ways.items():
            for size, way in chosen:
                if way not in candidates(layers[name], size[0]):
                    raise ValueError(f"prepare_for_inference: the plan has {name} computed by {way!r}, which is not "
                                     f"to be had here; there is {', '.join(candidates(layers[name], size[0]))}")
        for name, layer in layers.items():
            layer.measured = None
            layer.ways = [(list(size), way) for size, way in self.ways.get(name, [])]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        measured_file.save(self, _FORMAT, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "InferencePlan":
        """Read what `save` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no plan.
        """
        return measured_file.load(cls, _FORMAT, path, cls._is_right)

    def _is_right(self) -> bool:
        known = all(way in WAYS and len(size) == 4 and all(type(n) is int for n in size)
                    for chosen in self.ways.values() for size, way in chosen)
        return known and self.ways.keys() <= self.layers.keys()


def _convolutions(model: nn.Module) -> list[tuple[str, FusedConv2d]]:
    return [(name, part) for name, part in model.named_modules() if isinstance(part, FusedConv2d)]

