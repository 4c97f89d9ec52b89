"""Anchors on tensors: a cell's shapes, and their copies over a feature map. Nothing here is differentiable."""

import torch

from roikit import _check, _core
from roikit._check import anchors as checks
from roikit.ops._arguments import as_boxes
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register

__all__ = ["cell_anchors", "grid_anchors"]


def cell_anchors(sizes, aspect_ratios, *, rounded=False, order="ratio", dtype=torch.float32, device=None):
    """Anchors around the origin, one for each pair of a size and a ratio.

    Args:
        sizes: S positive numbers, the square roots of the anchors' areas, pixels.
        aspect_ratios: R positive numbers, height over width.
        rounded: round the corners to whole pixels, half to even (torchvision's anchors).
        order: "ratio" has the ratio outside and the size inside (torchvision), "size" the size outside and the ratio
            inside (detectron2).
        dtype: float32 or float64; sizes and ratios are cast to it and everything is computed in it.
        device: of the result; computed on the CPU, so that every device gets the same bits.

    Returns:
        (S * R, 4), x1 y1 x2 y2: h = sqrt(ratio), w = 1 / h; [-w size, -h size, w size, h size] / 2.

    Raises:
        TypeError, ValueError: dtype or order is another; a size or a ratio is not a positive number.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.1.
    """
    sizes, ratios = checks.cell("cell_anchors", sizes, aspect_ratios, order)
    _check.real_dtype("cell_anchors", dtype, (torch.float32, torch.float64))
    sizes = torch.tensor(sizes, dtype=dtype, device="cpu")
    ratios = torch.tensor(ratios, dtype=dtype, device="cpu")
    cell = torch.ops.roikit.cell_anchors(sizes, ratios, order == "ratio", bool(rounded))
    return cell.to(device, non_blocking=True)  # the host need not wait for what the GPU has to do before


def grid_anchors(cell_anchors, feature_size, stride, *, offset=0.0, device=None):
    """Copies of a cell at every position of a feature map.

    Args:
        cell_anchors: (A, 4) floating, xyxy around the origin, pixels; half is cast to float32. Or (A, 5), rotated
            boxes cx, cy, w, h, degrees, whose centres alone are moved.
        feature_size: (H, W), map pixels.
        stride: image pixels a map pixel: a number, or (sy, sx).
        offset: where in its map pixel a cell sits: 0 its corner, 0.5 its centre.
        device: of the result; that of the cell by default.

    Returns:
        (H * W * A, 4), or 5, float32 or float64, rows in the order y, x, cell.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.
        BackendError: a CUDA device, and no CUDA module.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.1.
    """
    cell = as_boxes("grid_anchors", "cell_anchors", cell_anchors, (4, 5))
    rule = checks.grid("grid_anchors", feature_size, stride, offset)
    return torch.ops.roikit.grid_anchors(cell.to(device=device), *rule)


def _cell_anchors_kernel(sizes, ratios, ratio_outside, rounded):
    s, r = sizes.cpu().contiguous(), ratios.cpu().contiguous()  # a few numbers, computed on the host for every device
    out = _cell_anchors_fake(s, r, ratio_outside, rounded)
    _core.cell_anchors(view(s), view(r), ratio_outside, rounded, view(out), launch(s))
    return out.to(sizes.device)


def _cell_anchors_fake(sizes, ratios, ratio_outside, rounded):
    return sizes.new_empty((sizes.shape[0] * ratios.shape[0], 4))


def _grid_anchors_kernel(cell_anchors, height, width, stride_y, stride_x, offset):
    cell = cell_anchors.contiguous()
    out = _grid_anchors_fake(cell, height, width, stride_y, stride_x, offset)
    backend(cell, "grid_anchors").grid_anchors(view(cell), height, width, stride_y, stride_x, offset, view(out),
                                               launch(cell))
    return out


def _grid_anchors_fake(cell_anchors, height, width, stride_y, stride_x, offset):
    return cell_anchors.new_empty((height * width * cell_anchors.shape[0], cell_anchors.shape[1]))


register("cell_anchors(Tensor sizes, Tensor ratios, bool ratio_outside, bool rounded) -> Tensor", _cell_anchors_kernel,
         _cell_anchors_fake)
register("grid_anchors(Tensor cell_anchors, SymInt height, SymInt width, Scalar stride_y, Scalar stride_x, "
         "float offset) -> Tensor", _grid_anchors_kernel, _grid_anchors_fake)
