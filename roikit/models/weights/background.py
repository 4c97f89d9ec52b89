"""The class that is no object: here the first one, in detectron2 and mmdetection the last, without deltas and masks."""

import re

import torch
from torch import Tensor

__all__ = ["background_first", "background_last"]

State = dict[str, Tensor]

_LOGITS = re.compile(r"roi_heads\.box_predictor(\.\d+)?\.cls_score\.\w+")
# Layers with so many rows for each class that is an object.
_ROWS = (
    (re.compile(r"roi_heads\.box_predictor(\.\d+)?\.bbox_pred\.\w+"), 4),
    (re.compile(r"roi_heads\.mask_predictor(\.\d+)?\.mask_fcn_logits\.\w+"), 1),
    (re.compile(r"roi_heads\.mask_score_head\.predictor\.\w+"), 1),
)


def background_first(state: State, own: State) -> State:
    """The state dict, under roikit's names, of a model whose background is the last class, as roikit has it.

    The rows of the background's deltas and masks, which nothing looks at, are zeros.

    Args:
        own: the model's tensors; where one has a single class's rows, it is class-agnostic and is left alone.
    """
    return {name: _first(name, value, own) for name, value in state.items()}


def background_last(state: State) -> State:
    """The opposite of `background_first`: the background's logits last, its deltas and masks left out."""
    return {name: _last(name, value) for name, value in state.items()}


def _rows(name: str) -> int:
    return next((count for pattern, count in _ROWS if pattern.fullmatch(name)), 0)


def _first(name: str, value: Tensor, own: State) -> Tensor:
    if value.ndim == 0:
        return value
    if _LOGITS.fullmatch(name):
        return value.roll(1, 0)
    rows = _rows(name)
    if not rows or name in own and len(own[name]) == rows:
        return value
    return torch.cat((value.new_zeros(rows, *value.shape[1:]), value))


def _last(name: str, value: Tensor) -> Tensor:
    if _LOGITS.fullmatch(name):
        return value.roll(-1, 0)
    rows = _rows(name)
    return value[rows:] if rows and len(value) > rows else value
