"""The class that is no object: here the first one, in detectron2 and mmdetection the last, without deltas and masks."""

import re

import torch
from torch import Tensor

__all__ = ["background_first", "background_last"]

State = dict[str, Tensor]

_LOGITS = re.compile(r"roi_heads\.box_predictor(\.\d+)?\.cls_score\.\w+")
# Layers with rows for each class that is an object: as many as a box has numbers, or one.
_DELTAS = re.compile(r"roi_heads\.box_predictor(\.\d+)?\.bbox_pred\.\w+")
_MASKS = re.compile(r"roi_heads\.(mask_predictor(\.\d+)?\.mask_fcn_logits|mask_score_head\.predictor)\.\w+")


def background_first(state: State, own: State) -> State:
    """The state dict, under roikit's names, of a model whose background is the last class, as roikit has it.

    The rows of the background's deltas and masks, which nothing looks at, are zeros.

    Args:
        own: the model's tensors; where one has a single class's rows, it is class-agnostic and is left alone.
    """
    numbers = _box_numbers(own)
    return {name: _first(name, value, own, numbers) for name, value in state.items()}


def background_last(state: State) -> State:
    """The opposite of `background_first`: the background's logits last, its deltas and masks left out."""
    numbers = _box_numbers(state)
    return {name: _last(name, value, numbers) for name, value in state.items()}


def _box_numbers(state: State) -> int:
    """Of a box: what a proposer has of deltas for each anchor."""
    deltas, logits = (state.get(f"rpn.head.{layer}.weight") for layer in ("bbox_pred", "cls_logits"))
    return 4 if deltas is None or logits is None else len(deltas) // len(logits)


def _rows(name: str, box_numbers: int) -> int:
    return box_numbers if _DELTAS.fullmatch(name) else 1 if _MASKS.fullmatch(name) else 0


def _first(name: str, value: Tensor, own: State, box_numbers: int) -> Tensor:
    if value.ndim == 0:
        return value
    if _LOGITS.fullmatch(name):
        return value.roll(1, 0)
    rows = _rows(name, box_numbers)
    if not rows or name in own and len(own[name]) == rows:
        return value
    return torch.cat((value.new_zeros(rows, *value.shape[1:]), value))


def _last(name: str, value: Tensor, box_numbers: int) -> Tensor:
    if _LOGITS.fullmatch(name):
        return value.roll(-1, 0)
    rows = _rows(name, box_numbers)
    return value[rows:] if rows and len(value) > rows else value
