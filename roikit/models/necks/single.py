"""No neck: boxes are found on, and pooled from, the one map that a body gives."""

import torch
from torch import Tensor, nn

from roikit.models.necks.formats import WithFormats

__all__ = ["BackboneWithoutNeck"]


class BackboneWithoutNeck(WithFormats):
    """A body whose one map is taken as it is: c4, or c5, dilated or not.

    Args:
        body: (N, C, H, W) -> dict with one map.
        out_channels: channels of the map.
        body_format: the memory format in which the body takes and gives it in training on a CPU, as in
            `BackboneWithFPN`.

    `forward` returns {"0": map}.
    """

    formats = ("body_format",)

    def __init__(self, body: nn.Module, out_channels: int,
                 body_format: torch.memory_format = torch.contiguous_format) -> None:
        super().__init__()
        self.body = body
        self.out_channels = out_channels
        self.body_format = body_format

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if x.device.type == "cpu" and self.training and torch.is_grad_enabled():
            x = x.contiguous(memory_format=self.body_format)
        level, = self.body(x).values()
        return {"0": level}
