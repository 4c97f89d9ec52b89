"""How maps lie in memory, kept in files and copies."""

from typing import Any

import torch
from torch import nn

__all__ = ["WithFormats"]


class WithFormats(nn.Module):
    """A module some of whose attributes, those in `formats`, are memory formats."""

    formats: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        # Formats by name: a torch.memory_format is pickled by no protocol before 4, and torch.save uses 2.
        state = super().__getstate__() if hasattr(super(), "__getstate__") else self.__dict__
        return state | {name: str(state[name]).removeprefix("torch.") for name in self.formats}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in self.formats:
            if isinstance(state[name], str):
                setattr(self, name, getattr(torch, state[name]))
