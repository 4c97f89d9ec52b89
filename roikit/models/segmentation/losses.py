"""The loss of class logits, and the label maps that it is taken against."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from roikit.models.parts.image import ImageBatch

__all__ = ["label_maps", "pixel_loss"]


def label_maps(targets: Sequence[dict[str, Any]], batch: ImageBatch, num_classes: int, ignored: int) -> Tensor:
    """The targets' label maps in the frame of a batch.

    Args:
        targets: of each image a dict with `semantic`, (H, W) uint8 or int64 of the image's size as it was given.
        batch: of the images. A map is resized to the nearest pixel; what lies beside an image in the batch is ignored.
        num_classes: labels are 0 to num_classes - 1, and `ignored`.

    Returns:
        (N, height, width) int64, on the batch's device.

    Raises:
        TypeError, ValueError: a target of the wrong kind, dtype, shape or value, by its index.
    """
    if len(targets) != len(batch.sizes):
        raise ValueError(f"segmenter: targets must hold one dict for each of the {len(batch.sizes)} images, got "
                         f"{len(targets)}")
    found = torch.full((len(targets), *batch.padded_size), ignored, device=batch.tensor.device)
    for index, (target, size, original) in enumerate(zip(targets, batch.sizes, batch.original_sizes, strict=True)):
        labels = _checked(target, index, original, num_classes, ignored).to(found.device)
        if size != original:
            labels = F.interpolate(labels[None, None].to(torch.uint8), size=size, mode="nearest-exact")[0, 0]
        found[index, :size[0], :size[1]] = labels
    return found


def _checked(target: dict[str, Any], index: int, size: tuple[int, int], num_classes: int, ignored: int) -> Tensor:
    name = f"segmenter: targets[{index}]['semantic']"
    if "semantic" not in target:
        raise ValueError(f"segmenter: targets[{index}] must have the key 'semantic', got {sorted(target)}")
    labels = target["semantic"]
    if not isinstance(labels, Tensor) or labels.dtype not in (torch.uint8, torch.int64):
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"{name} must be a uint8 or int64 tensor, got {kind}")
    if labels.shape != size:
        raise ValueError(f"{name} must have the image's shape {size}, got {tuple(labels.shape)}")
    wrong = (labels != ignored) & ((labels < 0) | (labels >= num_classes))
    if wrong.any():
        raise ValueError(f"{name} must hold labels from 0 to {num_classes - 1} or {ignored}, got "
                         f"{int(labels[wrong][0])}")
    return labels


def pixel_loss(logits: Tensor, labels: Tensor, ignored: int = 255) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; 0 where all are.

    Args:
        logits: (N, C, H, W), of any floating dtype.
        labels: (N, H, W) int64, 0 to C - 1 or `ignored`.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(logits, labels, ignore_index=ignored, reduction="sum")
    return total / (labels != ignored).sum().clamp(min=1)
