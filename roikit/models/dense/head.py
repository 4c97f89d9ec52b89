"""What is predicted at every cell of every level, and the prototypes that masks are combined of.

Source: Bolya et al. 2019, arXiv:1904.02689, figure 4 (head) and figure 3 (prototypes). Layers are initialised as the
authors do.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.parts.norm import ConvBlock

__all__ = ["DenseHead", "ProtoNet", "by_prior", "conv_blocks", "initialise"]

MakeNorm = Callable[[int], nn.Module]


def initialise(module: nn.Module) -> None:
    """Xavier's uniform weights and zero biases for all convolutions of a part."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def conv_blocks(in_channels: int, widths: Sequence[int], make_norm: MakeNorm | None) -> nn.Sequential:
    """3x3 convolutions, each with a bias or a normalisation, and ReLU."""
    blocks = []
    for width in widths:
        conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=make_norm is None)
        blocks.append(ConvBlock(conv, *([] if make_norm is None else [make_norm(width)]), nn.ReLU(inplace=True)))
        in_channels = width
    return nn.Sequential(*blocks)


class DenseHead(nn.Module):
    """3x3 convolutions, then for every prior of a cell class logits, four deltas and mask coefficients.

    Args:
        in_channels: of every level.
        num_priors: of a cell.
        num_classes: with the background, which is 0.
        num_coefficients: of a prior, in -1..1.
        layers: convolutions before the three predictors.
        make_norm: a normalisation after each of them instead of a bias, or None.
    """

    def __init__(self, in_channels: int, num_priors: int, num_classes: int, num_coefficients: int, layers: int = 1,
                 make_norm: MakeNorm | None = None) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.num_coefficients = num_coefficients
        self.conv = conv_blocks(in_channels, (in_channels,) * layers, make_norm)
        self.cls_logits = nn.Conv2d(in_channels, num_priors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(in_channels, num_priors * 4, 3, padding=1)
        self.coefficients = nn.Conv2d(in_channels, num_priors * num_coefficients, 3, padding=1)
        initialise(self)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of (N, C, H, W) levels, finest first, rows in the order level, y, x, prior: logits (N, P, num_classes),
        deltas (N, P, 4) and coefficients (N, P, num_coefficients)."""
        logits, deltas, coefficients = [], [], []
        for level in levels:
            hidden = self.conv(level)
            logits.append(by_prior(self.cls_logits(hidden), self.num_classes))
            deltas.append(by_prior(self.bbox_pred(hidden), 4))
            coefficients.append(by_prior(self.coefficients(hidden), self.num_coefficients).tanh())
        return torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(coefficients, 1)


def by_prior(predicted: Tensor, count: int) -> Tensor:
    """(N, A * count, H, W) -> (N, H * W * A, count)."""
    return predicted.permute(0, 2, 3, 1).reshape(len(predicted), -1, count)


class ProtoNet(nn.Module):
    """Maps of the whole image, of twice the size of the level that they are made from, at least 0.

    Args:
        in_channels: of the level.
        layers: widths of the 3x3 convolutions before it is doubled.
        fine_layers: widths of those after.
        out_channels: how many prototypes there are.
        make_norm: a normalisation after each 3x3 convolution instead of a bias, or None.

    `forward` takes (N, C, H, W) and returns (N, out_channels, 2H, 2W).
    """

    def __init__(self, in_channels: int, layers: Sequence[int], fine_layers: Sequence[int], out_channels: int,
                 make_norm: MakeNorm | None = None) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        width = layers[-1] if layers else in_channels
        self.coarse = conv_blocks(in_channels, layers, make_norm)
        self.fine = conv_blocks(width, fine_layers, make_norm)
        self.predictor = nn.Conv2d(fine_layers[-1] if fine_layers else width, out_channels, 1)
        initialise(self)

    def forward(self, level: Tensor) -> Tensor:
        x = F.interpolate(self.coarse(level), scale_factor=2, mode="bilinear", align_corners=False)
        # Unlike a ReLU in place it leaves alone what a fused convolution gave.
        return F.relu(self.predictor(self.fine(x)))
