"""What a dense detector has beside its pyramid, prepared."""

import torch
from torch import Tensor, nn

from roikit.models.dense.head import DenseHead, ProtoNet, by_prior
from roikit.models.parts.fused import FusedConv2d, fuse
from roikit.models.prepared.parts import conv_block, twin

__all__ = ["PreparedDenseHead", "protonet"]


class PreparedDenseHead(nn.Module):
    """A `DenseHead` whose three predictors are one convolution: the hidden map is read once. It gives float32."""

    def __init__(self, head: DenseHead, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_channels, self.num_classes, self.num_coefficients = (
            head.in_channels, head.num_classes, head.num_coefficients)
        self.conv = nn.Sequential(*(conv_block(block, dtype) for block in head.conv))
        layers = (head.cls_logits, head.bbox_pred, head.coefficients)
        self.widths = [layer.out_channels for layer in layers]
        self.predict = FusedConv2d(torch.cat([layer.weight for layer in layers]),
                                   torch.cat([layer.bias for layer in layers]), padding=(1, 1), dtype=dtype)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """As `DenseHead`."""
        found: tuple[list[Tensor], ...] = ([], [], [])
        for level in levels:
            parts = self.predict(self.conv(level)).float().split(self.widths, 1)
            for own, part, count in zip(found, parts, (self.num_classes, 4, self.num_coefficients), strict=True):
                own.append(by_prior(part, count))
        logits, deltas, coefficients = (torch.cat(own, 1) for own in found)
        return logits, deltas, coefficients.tanh_()


def protonet(module: ProtoNet, dtype: torch.dtype) -> ProtoNet:
    blocks = {name: nn.Sequential(*(conv_block(block, dtype) for block in getattr(module, name)))
              for name in ("coarse", "fine")}
    return twin(module, predictor=fuse(module.predictor, None, "none", dtype), **blocks)
