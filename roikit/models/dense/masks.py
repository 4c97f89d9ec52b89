"""Masks as combinations of prototypes: their loss, and the masks of detections.

Source: Bolya et al. 2019, arXiv:1904.02689, section 3.2: sigmoid of the product of prototypes and coefficients, cropped
by the box, the true one in training. Cells, the margin of one cell, and divisors are those of the authors' code.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from roikit.masks import decode, frPyObjects, merge
from roikit.models.configs import DenseConfig
from roikit.models.dense.priors import Matched
from roikit.models.parts.image import Truth

__all__ = ["LearntMasks", "combined", "combined_mask_loss", "cropped_cells", "sampled_masks"]


def combined(prototypes: Tensor, coefficients: Tensor) -> Tensor:
    """(D, H, W) logits: `coefficients` (D, K) times `prototypes` (K, H, W), in float32 under autocast as well."""
    with torch.autocast(prototypes.device.type, enabled=False):
        kind = torch.promote_types(prototypes.dtype, torch.float32)
        flat = coefficients.to(kind) @ prototypes.to(kind).flatten(1)
    return flat.unflatten(1, prototypes.shape[1:])


def cropped_cells(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(D, H, W) bool: the cells of a box and a margin of one cell.

    Args:
        boxes: (D, 4) in cells.
        size: (H, W).
    """
    height, width = size
    low, high = boxes[:, :2].clamp(min=1) - 1, boxes[:, 2:] + 1
    x = torch.arange(width, device=boxes.device, dtype=boxes.dtype)
    y = torch.arange(height, device=boxes.device, dtype=boxes.dtype)
    columns = (x >= low[:, :1]) & (x < high[:, :1])
    rows = (y >= low[:, 1:]) & (y < high[:, 1:])
    return rows[:, :, None] & columns[:, None, :]


def sampled_masks(truth: Truth, index: int, size: tuple[int, int], padded_size: tuple[int, int], device: torch.device
                  ) -> Tensor:
    """(N, h, w) bool: the objects of an image at cells that share out the batch evenly.

    A cell belongs to an object whose mask, bilinear at the cell's centre, is above a half there; beside the image none
    does. A mask is read at four pixels a cell, and no other one is made of it.

    Args:
        index: of the image, for the error.
        size: (h, w) of the cells.
        padded_size: (height, width) of the batch in pixels.
    """
    masks = truth.masks
    if masks is None:
        raise ValueError(f"detector: targets[{index}] must have the key 'masks' when training")
    if not isinstance(masks, Tensor):
        masks = _bitmaps(masks, truth.mask_size)
    masks = masks.to(device)
    taps = [_taps(*axis, device) for axis in zip(size, padded_size, truth.image_size, truth.mask_size, strict=True)]
    (top, bottom, down, rows), (left, right, across, columns) = taps
    down, across = down[:, None], across[None, :]

    def at(y: Tensor, x: Tensor) -> Tensor:
        return masks[:, y[:, None], x[None, :]].to(down.dtype)

    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(bottom, left) * (1 - across) + at(bottom, right) * across
    return (upper * (1 - down) + lower * down > 0.5) & rows[:, None] & columns[None, :]


def _taps(cells: int, padded: int, inside: int, pixels: int, device: torch.device
          ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Along an axis, for each cell: two pixels of the masks, the part of the second, and whether it is on the image.

    Args:
        padded, inside: length of the batch and of the image in it, pixels.
        pixels: length of the masks' frame, which is that of the image in other pixels.
    """
    centre = (torch.arange(cells, dtype=torch.float32, device=device) + 0.5) * (padded / cells)
    source = (centre * (pixels / inside) - 0.5).clamp(0, pixels - 1)
    first = source.floor()
    second = (first + 1).clamp(max=pixels - 1)
    return first.long(), second.long(), source - first, centre < inside


def _bitmaps(masks: list[Any], size: tuple[int, int]) -> Tensor:
    """(N, H, W) uint8 of RLE dicts or lists of polygons."""
    if not masks:
        return torch.zeros(0, *size, dtype=torch.uint8)
    runs = [mask if isinstance(mask, dict) else merge(frPyObjects(mask, *size)) for mask in masks]
    if any(isinstance(mask["counts"], list) for mask in runs):
        runs = [frPyObjects(mask, *size) if isinstance(mask["counts"], list) else mask for mask in runs]
    return torch.from_numpy(decode(runs)).permute(2, 0, 1)


class LearntMasks:
    """The masks of the positives that were learnt from, for what is learnt of them further.

    Attributes:
        logits, targets, inside: (M, H, W): of the prediction; bool, of the object; bool, where the mask is not cropped.
        labels: (M,) int64 from 1.
    """

    def __init__(self, logits: Tensor, targets: Tensor, inside: Tensor, labels: Tensor) -> None:
        self.logits, self.targets, self.inside, self.labels = logits, targets, inside, labels


def combined_mask_loss(prototypes: Tensor, coefficients: Tensor, matched: list[Matched], truths: list[Truth],
                       padded_size: tuple[int, int], count: int, config: DenseConfig
                       ) -> tuple[dict[str, Tensor], list[LearntMasks]]:
    """`loss_mask`: binary cross-entropy in the true box and its margin, summed, divided by the box's area in cells, and
    by the number of positives of all images.

    Args:
        prototypes: (N, K, H, W).
        coefficients: (N, P, K).
        count: of the positives.

    Returns:
        The loss, and for each image with positives what it was taken over: some of them, drawn at random, where there
        are more than `masks_per_image`.
    """
    loss, learnt = (prototypes.sum() + coefficients.sum()) * 0.0, []
    size = tuple(prototypes.shape[2:])
    for index, (maps, own, match, truth) in enumerate(zip(prototypes, coefficients, matched, truths, strict=True)):
        rows = match.positives()
        if len(rows) == 0:
            continue
        drawn = rows
        if len(rows) > config.masks_per_image:
            drawn = rows[torch.randperm(len(rows), device=rows.device)[:config.masks_per_image]]
        objects = match.objects[drawn]
        targets = sampled_masks(truth, index, size, padded_size, maps.device)[objects]
        scale = maps.new_tensor([size[1] / padded_size[1], size[0] / padded_size[0]], dtype=torch.float32).repeat(2)
        boxes = truth.boxes.to(scale)[objects] * scale
        logits, inside = combined(maps, own[drawn]), cropped_cells(boxes, size)
        off = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        each = (off * inside).sum((1, 2)) / area.to(logits.dtype)
        loss = loss + each.sum() * (len(rows) / len(drawn))
        learnt.append(LearntMasks(logits, targets, inside, match.labels[drawn]))
    return {"loss_mask": loss * (config.mask_weight / count)}, learnt
