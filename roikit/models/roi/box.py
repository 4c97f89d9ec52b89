"""Classification and box regression of proposals: layers and losses.

Source: Girshick 2015, arXiv:1504.08083, with the two-layer head of Lin et al. 2017,
arXiv:1612.03144; with convolutions Wu and He 2018, arXiv:1803.08494.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from roikit.models.configs import BoxConfig
from roikit.models.parts.image import Truth
from roikit.models.parts.linear import linear
from roikit.models.parts.losses import box_regression_loss, classification_loss
from roikit.models.parts.norm import ConvBlock
from roikit.models.roi.samples import Samples, box_targets, own_deltas

__all__ = ["AverageHead", "FastRCNNConvFCHead", "FastRCNNPredictor", "TwoMLPHead", "box_losses"]


class TwoMLPHead(nn.Module):
    """Two fully connected layers with ReLU: (R, C, P, P) -> (R, representation)."""

    def __init__(self, in_channels: int, representation: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(in_channels, representation)
        self.fc7 = nn.Linear(representation, representation)

    def forward(self, x: Tensor) -> Tensor:
        x = linear(x.flatten(1), self.fc6.weight, self.fc6.bias).relu_()
        return linear(x, self.fc7.weight, self.fc7.bias).relu_()


class FastRCNNConvFCHead(nn.Sequential):
    """3x3 convolutions, each with a bias or a norm, and ReLU, then fully connected layers with ReLU.

    Args:
        in_channels, pool_size: of the pooled maps (R, in_channels, pool_size, pool_size).
        conv_layers: widths of the convolutions.
        fc_layers: widths of the fully connected layers.
        make_norm: from a number of channels to a normalisation layer, or None.
    """

    def __init__(self, in_channels: int, pool_size: int, conv_layers: Sequence[int], fc_layers: Sequence[int],
                 make_norm: Callable[[int], nn.Module] | None = None) -> None:
        parts: list[nn.Module] = []
        for channels in conv_layers:
            conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=make_norm is None)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            norm = [] if make_norm is None else [make_norm(channels)]
            parts.append(ConvBlock(conv, *norm, nn.ReLU(inplace=True)))
            in_channels = channels
        parts.append(nn.Flatten())
        in_channels *= pool_size ** 2
        for channels in fc_layers:
            parts += [nn.Linear(in_channels, channels), nn.ReLU(inplace=True)]
            in_channels = channels
        super().__init__(*parts)


class AverageHead(nn.Module):
    """(R, C, P, P) -> (R, C), the mean of the cells."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class FastRCNNPredictor(nn.Module):
    """(R, in_channels) -> class logits (R, C) and box deltas (R, 4C), or (R, 4); class 0 is background.

    Rotated boxes have `box_numbers` 5, and as many deltas.
    """

    def __init__(self, in_channels: int, num_classes: int, class_agnostic: bool = False, box_numbers: int = 4) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, box_numbers if class_agnostic else num_classes * box_numbers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


def box_losses(logits: Tensor, deltas: Tensor, samples: list[Samples], truths: list[Truth],
               config: BoxConfig) -> dict[str, Tensor]:
    """`loss_classifier` and `loss_box_reg` of the samples of all images.

    Args:
        logits: (S, C) class logits of all samples, image after image.
        deltas: (S, 4C) or (S, 4) box deltas; 5 of a rotated box.
    """
    labels = torch.cat([sample.labels for sample in samples])
    targets = box_targets(samples, truths, config)
    _, own = own_deltas(deltas, labels, targets.shape[1])
    return {
        "loss_classifier": classification_loss(logits, labels),
        "loss_box_reg": box_regression_loss(own, targets, config.box_beta, len(labels)),
    }
