"""Heads, prepared: convolutions that are one where two read the same map, products on boxes as they lie in memory."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.parts.fused import FusedConv2d
from roikit.models.parts.linear import FusedLinear
from roikit.models.prepared.parts import InFloat32, conv_block, taken
from roikit.models.proposals.rpn import RPNHead
from roikit.models.roi.box import FastRCNNConvFCHead, TwoMLPHead
from roikit.models.roi.keypoint import KeypointRCNNPredictor, doubled
from roikit.models.roi.mask import MaskRCNNPredictor

__all__ = ["PreparedBoxHead", "PreparedKeypointPredictor", "PreparedMaskPredictor", "PreparedRPNHead", "box_head"]

# Values of a hidden map of the mask predictor that are made at a time: 16 MiB, which the C library's allocator keeps
# for the next part, where a larger block would be given back and its pages faulted in again.
_MASK_VALUES = 4 << 20


class PreparedRPNHead(nn.Module):
    """An `RPNHead` whose two 1x1 convolutions are one: the hidden map is read once."""

    def __init__(self, head: RPNHead, dtype: torch.dtype) -> None:
        super().__init__()
        self.anchors = head.cls_logits.out_channels
        self.box_numbers = head.box_numbers
        self.conv = nn.Sequential(*(conv_block(block, dtype) for block in head.conv))
        self.predict = FusedConv2d(torch.cat((head.cls_logits.weight, head.bbox_pred.weight)),
                                   torch.cat((head.cls_logits.bias, head.bbox_pred.bias)), dtype=dtype)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = [], []
        for level in levels:
            both = self.predict(self.conv(level)).permute(0, 2, 3, 1)
            logits.append(both[..., :self.anchors].flatten(1))
            deltas.append(both[..., self.anchors:].reshape(len(level), -1, self.box_numbers))
        return logits, deltas


def box_head(head: TwoMLPHead | FastRCNNConvFCHead, pool_size: int, dtype: torch.dtype) -> nn.Module:
    if isinstance(head, TwoMLPHead):
        return PreparedBoxHead([], [head.fc6, head.fc7], pool_size, dtype)
    blocks = [block for block in head if isinstance(block, nn.Sequential)]
    layers = [layer for layer in head if isinstance(layer, nn.Linear)]
    built = [nn.Sequential] * len(blocks) + [nn.Flatten] + [nn.Linear, nn.ReLU] * len(layers)
    if len(head) != len(built) or not all(map(isinstance, head, built)):
        return InFloat32(head)
    return PreparedBoxHead([conv_block(block, dtype) for block in blocks], layers, pool_size, dtype)


class PreparedBoxHead(nn.Module):
    """A `TwoMLPHead` or a `FastRCNNConvFCHead`, which takes a pooled box as it lies in memory, and returns float32.

    Args:
        convs: fused convolutions.
        layers: fully connected ones; the first one sees all cells of a box.
        pool_size: cells on each side.
    """

    def __init__(self, convs: list[nn.Module], layers: list[nn.Linear], pool_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.convs = nn.Sequential(*convs)
        self.layers = nn.Sequential(*(FusedLinear(layer, dtype, None if i else pool_size)
                                      for i, layer in enumerate(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.convs(x)).float()


class PreparedKeypointPredictor(nn.Module):
    """A `KeypointRCNNPredictor` whose transposed convolution of 4x4 and stride 2 is a 3x3 one with four results a cell.

    Along an axis, the first result of a cell takes rows 3 and 1 of the filter for the cell before and its own, the
    second rows 2 and 0 for its own and the next.
    """

    def __init__(self, predictor: KeypointRCNNPredictor, dtype: torch.dtype) -> None:
        super().__init__()
        lowres = predictor.kps_score_lowres
        taps = lowres.weight.new_zeros((2, 3, 4))  # result, neighbour, row of the filter
        taps[0, 0, 3] = taps[0, 1, 1] = taps[1, 1, 2] = taps[1, 2, 0] = 1
        weight = torch.einsum("iokl,ayk,bxl->oabiyx", lowres.weight, taps, taps).flatten(0, 2)
        self.lowres = FusedConv2d(weight, lowres.bias.repeat_interleave(4), padding=(1, 1), dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return doubled(F.pixel_shuffle(self.lowres(x).float(), 2))


class PreparedMaskPredictor(nn.Module):
    """A `MaskRCNNPredictor` for the class of each box alone.

    Its transposed convolution of stride 2 is a 1x1 convolution with four results a cell; they are put in their places
    only after the product with the class's filter, when one number is left of each.
    """

    def __init__(self, predictor: MaskRCNNPredictor, dtype: torch.dtype) -> None:
        super().__init__()
        weight = predictor.conv5_mask.weight.permute(2, 3, 1, 0).flatten(0, 2)
        activation, self.rest = taken(predictor.relu, nn.ReLU, "relu")
        self.hidden = FusedConv2d(weight[:, :, None, None], predictor.conv5_mask.bias.repeat(4), activation=activation,
                                  dtype=dtype)
        last = predictor.mask_fcn_logits
        self.register_buffer("weight", last.weight.flatten(1).to(dtype, copy=True), persistent=False)
        self.register_buffer("bias", last.bias.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """As `MaskRCNNPredictor`: (R, num_classes, 2P, 2P) logits of every class."""
        hidden = self.rest(self.hidden(x))
        logits = F.conv2d(hidden.unflatten(1, (4, -1)).flatten(0, 1), self.weight[:, :, None, None]).float()
        boxes, (height, width) = len(x), x.shape[2:]
        logits = logits.view(boxes, 2, 2, -1, height, width) + self.bias.view(-1, 1, 1)
        return logits.permute(0, 3, 4, 1, 5, 2).reshape(boxes, -1, 2 * height, 2 * width)

    def logits_of(self, x: Tensor, labels: Tensor) -> Tensor:
        """As `MaskRCNNPredictor.logits_of`."""
        boxes, _, height, width = x.shape
        channels = self.weight.shape[1]
        at_once = max(_MASK_VALUES // (4 * channels * height * width), 1)
        parts = []
        for some, own in zip(x.split(at_once), self.weight[labels].split(at_once), strict=True):
            hidden = self.rest(self.hidden(some)).permute(0, 2, 3, 1).reshape(len(some), height * width * 4, channels)
            parts.append(torch.bmm(hidden, own[:, :, None]))
        logits = torch.cat(parts).float().view(boxes, height, width, 2, 2) + self.bias[labels].view(-1, 1, 1, 1, 1)
        return logits.transpose(2, 3).reshape(boxes, 2 * height, 2 * width)
