"""Heads of segmenters, prepared: fused convolutions, maps channels-last, the last layer in float32."""

import copy

import torch
from torch import nn

from roikit.models.parts.fused import fuse
from roikit.models.prepared.parts import ToFloat32, conv_block, twin
from roikit.models.segmentation.fcn import FCNHead, FCNSkipHead
from roikit.models.segmentation.pspnet import PSPHead, PyramidPooling
from roikit.models.segmentation.semantic_fpn import SemanticFPNHead

__all__ = ["fcn_head", "psp_head", "semantic_fpn_head", "skip_head"]


def fcn_head(head: FCNHead, dtype: torch.dtype) -> nn.Module:
    conv, norm, _, _, last = head
    return nn.Sequential(fuse(conv, norm, "relu", dtype), _last(last))


def psp_head(head: PSPHead, dtype: torch.dtype) -> nn.Module:
    pooling, conv, norm, _, _, last = head
    return nn.Sequential(_pooling(pooling, dtype), fuse(conv, norm, "relu", dtype), _last(last))


def _pooling(pooling: PyramidPooling, dtype: torch.dtype) -> nn.Module:
    return twin(pooling, stages=nn.ModuleList(conv_block(stage, dtype) for stage in pooling.stages))


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
