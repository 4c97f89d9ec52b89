"""What all prepared parts are made with."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from roikit.models.parts.fused import fuse
from roikit.models.parts.inference_layer import InFloat32

__all__ = ["InFloat32", "ToFloat32", "conv_block", "is_conv_block", "taken", "twin"]


def twin(module: nn.Module, **parts: nn.Module | None) -> Any:
    """A module like `module` with other parts; the original's own tables, of parts and of hooks, stay as they are."""
    twin = copy.copy(module)
    vars(twin).update({name: copy.copy(table) for name, table in vars(module).items() if isinstance(table, dict | set)})
    twin._modules.update(parts)
    return twin


def is_conv_block(block: nn.Module) -> bool:
    """Whether a Sequential is a convolution, perhaps a norm, and perhaps a ReLU."""
    layers = list(block)
    return (len(layers) > 0 and isinstance(layers[0], nn.Conv2d) and len(layers) <= 3
            and all(isinstance(layer, nn.ReLU) for layer in layers[2:])
            and not any(isinstance(layer, nn.Conv2d) for layer in layers[1:]))


def conv_block(block: nn.Sequential, dtype: torch.dtype) -> nn.Module:
    """A Sequential of a convolution, perhaps a norm, and perhaps a ReLU, as one module; any other one as it is."""
    if not is_conv_block(block):
        return InFloat32(block)
    layers = [layer for layer in block if not isinstance(layer, nn.ReLU)]
    activation = "none" if len(layers) == len(block) else "relu"
    return fuse(layers[0], layers[1] if len(layers) > 1 else None, activation, dtype)


def taken(layer: nn.Module, usual: type, name: str) -> tuple[str, nn.Module]:
    """What a convolution takes of an activation behind it, by the exact class, and what is left of it."""
    return (name, nn.Identity()) if type(layer) is usual else ("none", copy.deepcopy(layer))


class ToFloat32(nn.Module):
    """A step from maps in bfloat16 to layers in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()
