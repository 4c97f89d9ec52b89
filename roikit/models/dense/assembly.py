"""The masks of detections, from prototypes and coefficients.

Source: Bolya et al. 2019, arXiv:1904.02689, section 3.2.
"""

from typing import Any

from torch import Tensor

from roikit.models.dense.masks import combined, cropped_cells
from roikit.models.parts.graphs import outside_graphs
from roikit.ops import assemble_masks, assemble_masks_rle

__all__ = ["assembled", "cropped_masks"]


@outside_graphs
def cropped_masks(prototypes: Tensor, coefficients: Tensor, boxes: Tensor, extent: tuple[float, float],
                  size: tuple[int, int]) -> Tensor:
    """(D, h, w) probabilities at the size of the prototypes, 0 outside of each box and its margin.

    Args:
        prototypes: (K, h, w).
        coefficients: (D, K).
        boxes: (D, 4) in pixels.
        extent: rows and columns of cells that the image covers.
        size: (height, width) of the image in the pixels of the boxes.
    """
    scale = boxes.new_tensor([extent[1] / size[1], extent[0] / size[0]]).repeat(2)
    inside = cropped_cells(boxes * scale, tuple(prototypes.shape[1:]))
    return combined(prototypes, coefficients).sigmoid() * inside


def assembled(prototypes: Tensor, coefficients: Tensor, boxes: Tensor, extent: tuple[float, float],
              size: tuple[int, int], threshold: float, mask_format: str) -> Tensor | list[dict[str, Any]]:
    """Masks of one image at its own size.

    Args:
        prototypes, coefficients, boxes, extent, size: as in `cropped_masks`.
        threshold: a pixel above it belongs to the object.
        mask_format: "soft" -> float (D, 1, H, W); "bool" -> bool (D, 1, H, W); "rle" -> a list of D COCO RLE dicts,
            without an (H, W) array on the way.
    """
    parts = (prototypes, coefficients, boxes, size)
    if mask_format == "rle":
        return assemble_masks_rle(*parts, extent=extent, threshold=threshold)
    if mask_format not in ("soft", "bool"):
        raise ValueError(f"detector: mask_format must be one of soft, bool, rle, got {mask_format!r}")
    limit = None if mask_format == "soft" else threshold
    return assemble_masks(*parts, extent=extent, threshold=limit)[:, None]
