"""Heads of segmenters, prepared: fused convolutions, maps channels-last, the last layer in float32."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.parts.fused import FusedConv2d, folded, fuse, has_fixed_statistics
from roikit.models.prepared.parts import InFloat32, ToFloat32, conv_block, twin
from roikit.models.segmentation.fcn import FCNHead, FCNSkipHead
from roikit.models.segmentation.pspnet import PSPHead
from roikit.models.segmentation.semantic_fpn import SemanticFPNHead

__all__ = ["PreparedPSPHead", "fcn_head", "psp_head", "semantic_fpn_head", "skip_head"]


def fcn_head(head: FCNHead, dtype: torch.dtype) -> nn.Module:
    conv, norm, relu, _, last = head
    if type(relu) is not nn.ReLU:
        return InFloat32(head)
    return nn.Sequential(fuse(conv, norm, "relu", dtype), _last(last))


def psp_head(head: PSPHead, dtype: torch.dtype) -> nn.Module:
    _, conv, _, relu, _, _ = head
    if type(relu) is not nn.ReLU or conv.padding_mode != "zeros":
        return InFloat32(head)
    return PreparedPSPHead(head, dtype)


class PreparedPSPHead(nn.Module):
    """A `PSPHead` whose 3x3 convolution never sees the interpolated means.

    Interpolation and convolution are both linear: what a cell of a grid adds to a pixel is its vector, multiplied by
    the filter's nine matrices, times what bilinear interpolation gives of that cell to the nine neighbours. So each
    cell is multiplied once instead of each pixel, and half of the convolution becomes one small product of matrices.
    """

    def __init__(self, head: PSPHead, dtype: torch.dtype) -> None:
        super().__init__()
        pooling, conv, norm, _, _, last = head
        self.bins = pooling.bins
        self.stages = nn.ModuleList(conv_block(stage, dtype) for stage in pooling.stages)
        weight, bias = folded(conv, norm)
        width = pooling.stages[0][0].out_channels
        channels = weight.shape[1] - width * len(self.bins)
        fixed = has_fixed_statistics(norm)
        self.conv = FusedConv2d(weight[:, :channels], bias, padding=conv.padding, dtype=dtype,
                                activation="relu" if fixed else "none")
        # (bins, width, 9 * outputs): a cell's vector -> what it gives to each neighbour.
        taps = weight[:, channels:].detach().unflatten(1, (len(self.bins), width)).flatten(3)
        self.register_buffer("taps", taps.permute(1, 2, 3, 0).flatten(2).clone(), persistent=False)
        self.norm = nn.Identity() if fixed else nn.Sequential(copy.deepcopy(norm), nn.ReLU(inplace=True))
        self.last = _last(last)

    def forward(self, x: Tensor) -> Tensor:
        # The sum is written over, so it is made anew.
        return self.last(self.norm(self.conv(x, onto=self._from_means(x))))

    def _from_means(self, x: Tensor) -> Tensor:
        """(N, outputs, H, W), channels last: the part of the convolution that is of the means."""
        size = x.shape[-2:]
        vectors, shares = [], []
        for cells, stage, taps in zip(self.bins, self.stages, self.taps, strict=True):
            mean = stage(F.adaptive_avg_pool2d(x, cells)).flatten(2).transpose(1, 2).to(taps.dtype)
            vectors.append((mean @ taps).unflatten(2, (9, -1)).flatten(1, 2))
            unit = torch.eye(cells * cells, dtype=taps.dtype, device=x.device).view(1, -1, cells, cells)
            share = F.pad(F.interpolate(unit, size=size, mode="bilinear", align_corners=False)[0], (1, 1, 1, 1))
            shares.append(torch.stack([share[:, dy:dy + size[0], dx:dx + size[1]] for dy in range(3)
                                       for dx in range(3)], 1).flatten(0, 1))
        found = torch.cat(shares).flatten(1).t() @ torch.cat(vectors, 1)
        return found.view(len(x), *size, -1).permute(0, 3, 1, 2)


def semantic_fpn_head(head: SemanticFPNHead, dtype: torch.dtype) -> nn.Module:
    levels = nn.ModuleList(nn.Sequential(*(conv_block(block, dtype) for block in blocks)) for blocks in head.levels)
    return twin(head, levels=levels, drop=nn.Identity(), predictor=_last(head.predictor))


def skip_head(head: FCNSkipHead, dtype: torch.dtype) -> nn.Module:
    scores = {name: _last(layer) for name, layer in head.named_children() if name.startswith("score")}
    upscores = {name: nn.Sequential(ToFloat32(), copy.deepcopy(layer)) for name, layer in head.named_children()
                if name.startswith("upscore")}
    return twin(head, fc6=fuse(head.fc6, None, "none", dtype), fc7=fuse(head.fc7, None, "none", dtype),
                drop=nn.Identity(), **scores, **upscores)


def _last(conv: nn.Conv2d) -> nn.Module:
    return fuse(conv, None, "none", torch.float32)
