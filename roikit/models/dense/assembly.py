"""The masks of detections from prototypes and coefficients."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from roikit.masks import encode
from roikit.models.dense.masks import combined, cropped_cells

__all__ = ["assembled", "cropped_masks"]


def cropped_masks(prototypes: Tensor, coefficients: Tensor, boxes: Tensor, extent: tuple[float, float],
                  size: tuple[int, int]) -> Tensor:
    """(D, h, w) probabilities at the size of the prototypes, 0 outside of each box and its margin."""
    scale = boxes.new_tensor([extent[1] / size[1], extent[0] / size[0]]).repeat(2)
    inside = cropped_cells(boxes * scale, tuple(prototypes.shape[1:]))
    return combined(prototypes, coefficients).sigmoid() * inside


def assembled(prototypes: Tensor, coefficients: Tensor, extent: tuple[float, float], boxes: Tensor,
              size: tuple[int, int], threshold: float, mask_format: str) -> Tensor | list[dict[str, Any]]:
    maps = cropped_masks(prototypes, coefficients, boxes, extent, size)
    soft = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)
    if mask_format == "soft":
        return soft
    hard = soft > threshold
    return hard if mask_format == "bool" else [encode(one[0].numpy()) for one in hard]
