"""Convolutions that torch does not have."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SameConv2d", "same_padding"]


def same_padding(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> tuple[Tensor, list[int]]:
    """What a convolution takes for SAME padding: its input, and its padding on either side (y, x)."""
    missing = [max((-(-size // step) - 1) * step + width - size, 0)
               for size, width, step in zip(x.shape[-2:], kernel, stride, strict=True)]
    if missing[0] % 2 or missing[1] % 2:
        height, width = missing
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        missing = [0, 0]
    # Even amounts go into the convolution itself, which pads without a copy.
    return x, [m // 2 for m in missing]


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose output has ceil(size / stride) cells (TensorFlow's SAME)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1,
                 groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight, None)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, padding = same_padding(input, self.kernel_size, self.stride)
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)
