"""What marks the layers of a model that was prepared for inference, what such a model refuses, what stays in it."""

import copy
from typing import Any

from torch import Tensor, nn

__all__ = ["InFloat32", "InferenceLayer", "is_prepared", "refuse_prepared", "refuse_training"]


class InferenceLayer(nn.Module):
    """A layer that has its weights once and for all: no parameters, nothing in a state dict, never in training."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def train(self, mode: bool = True) -> "InferenceLayer":
        if mode:
            refuse_training(self)
        return super().train(False)


def is_prepared(model: nn.Module) -> bool:
    """Whether `prepare_for_inference` made a model, or the larger part of it."""
    return any(isinstance(part, InferenceLayer) for part in model.modules())


def refuse_training(model: nn.Module) -> None:
    """Raises RuntimeError for a model that is prepared. A whole model asks first, so that no part of it has changed."""
    if is_prepared(model):
        raise RuntimeError("a model prepared for inference cannot be trained; train the model it was made from")


def refuse_prepared(op: str, model: nn.Module) -> None:
    """Raises ValueError for a model that is prepared already, whose weights are in no state dict."""
    if is_prepared(model):
        raise ValueError(f"{op}: model must not be one of prepare_for_inference; give the model it was made from")


class InFloat32(nn.Module):
    """A part that stays as it is, whatever its maps come in; where something is to be added, it is added last."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = copy.deepcopy(part)

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Any:
        out = self.part(x.float())
        return out if onto is None else out + onto
