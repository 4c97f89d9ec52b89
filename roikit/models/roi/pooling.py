"""Pooling of each box from the level that suits it: RoIAlign, of rotated boxes as well, RoIPool or RoIWarp."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from roikit.models.parts.graphs import outside_graphs
from roikit.ops import multiscale_roi_align, multiscale_roi_align_rotated, roi_pool, roi_warp

__all__ = ["PyramidRoIAlign", "PyramidRoIAlignRotated", "PyramidRoIPool", "pyramid_levels"]


class _PyramidPool(nn.Module):
    """What the poolers share: the levels, and their scales.

    Args:
        output_size: cells on each side.
        strides: of the levels; None takes the power of two that is nearest to the batch's size / the level's size.
    """

    def __init__(self, output_size: int, strides: Sequence[int] | None) -> None:
        super().__init__()
        self.output_size = output_size
        self.strides = None if strides is None else tuple(strides)

    def levels(self, features: dict[str, Tensor], padded_size: tuple[int, int]) -> tuple[list[Tensor], list[float]]:
        """The maps that boxes are pooled from, and their scales."""
        levels = [level for name, level in features.items() if name != "pool"]
        if self.strides is None:
            return levels, [2.0 ** round(math.log2(level.shape[-1] / padded_size[1])) for level in levels]
        return levels, [1 / stride for stride in self.strides]


class PyramidRoIAlign(_PyramidPool):
    """RoIAlign of boxes from the levels "0", "1", ... of a pyramid, or from its only one.

    Args:
        output_size: cells on each side.
        sampling_ratio, aligned: RoIAlign's.
        strides: of the levels; None takes them from the sizes of maps and batch, which holds for batches padded to a
            multiple of the coarsest stride.
        reduce: "mean" or "max" of a cell's samples.

    `forward(features, boxes, padded_size)` takes the maps, a list of (L, 4) boxes in pixels of
    the batch and the batch's (H, W); it returns (sum of L, C, output_size, output_size) in the
    order of the boxes.
    """

    def __init__(self, output_size: int, sampling_ratio: int, aligned: bool, strides: Sequence[int] | None = None,
                 reduce: str = "mean") -> None:
        super().__init__(output_size, strides)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.reduce = reduce

    @outside_graphs
    def forward(self, features: dict[str, Tensor], boxes: list[Tensor],
                padded_size: tuple[int, int]) -> Tensor:
        levels, scales = self.levels(features, padded_size)
        return multiscale_roi_align(levels, boxes, self.output_size, scales, sampling_ratio=self.sampling_ratio,
                                    aligned=self.aligned, reduce=self.reduce)

    def extra_repr(self) -> str:
        return (f"output_size={self.output_size}, sampling_ratio={self.sampling_ratio}, "
                f"aligned={self.aligned}, strides={self.strides}, reduce={self.reduce}")


class PyramidRoIAlignRotated(_PyramidPool):
    """RoIAlign of rotated boxes from the levels "0", "1", ... of a pyramid, or from its only one, in their own frame.

    Args:
        output_size: cells on each side.
        sampling_ratio: RoIAlign's; its pixels have their centres at halves, as with `aligned` of `PyramidRoIAlign`.
        strides: as in `PyramidRoIAlign`, which says what `forward` takes, with (L, 5) boxes, and gives.
    """

    def __init__(self, output_size: int, sampling_ratio: int, strides: Sequence[int] | None = None) -> None:
        super().__init__(output_size, strides)
        self.sampling_ratio = sampling_ratio

    @outside_graphs
    def forward(self, features: dict[str, Tensor], boxes: list[Tensor],
                padded_size: tuple[int, int]) -> Tensor:
        levels, scales = self.levels(features, padded_size)
        return multiscale_roi_align_rotated(levels, boxes, self.output_size, scales,
                                            sampling_ratio=self.sampling_ratio)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, sampling_ratio={self.sampling_ratio}, strides={self.strides}"


class PyramidRoIPool(_PyramidPool):
    """RoIPool or RoIWarp of boxes from the levels "0", "1", ... of a pyramid, or from its only one.

    Args:
        output_size: cells on each side.
        kind: "roi_pool" or "roi_warp".
        reduce: RoIWarp's: "mean" or "max".
        strides: as in `PyramidRoIAlign`, which says what `forward` takes and gives.
    """

    def __init__(self, output_size: int, kind: str, reduce: str = "max", strides: Sequence[int] | None = None) -> None:
        super().__init__(output_size, strides)
        self.kind = kind
        self.reduce = reduce

    @outside_graphs
    def forward(self, features: dict[str, Tensor], boxes: list[Tensor],
                padded_size: tuple[int, int]) -> Tensor:
        levels, scales = self.levels(features, padded_size)
        # Not new_full of a length: torch.export would settle that number, which depends on the image.
        image = torch.cat([torch.full_like(box[:, :1], i) for i, box in enumerate(boxes)])
        rois = torch.cat((image, torch.cat(boxes)), 1)
        if len(levels) == 1:
            return self._pool(levels[0], rois, scales[0])
        level_of = pyramid_levels(rois[:, 1:], scales)
        rows = [(level_of == index).nonzero()[:, 0] for index in range(len(levels))]
        pooled = [self._pool(level, rois[own], scale)
                  for level, own, scale in zip(levels, rows, scales, strict=True)]
        return torch.cat(pooled)[torch.cat(rows).argsort()]

    def _pool(self, level: Tensor, rois: Tensor, scale: float) -> Tensor:
        if self.kind == "roi_pool":
            return roi_pool(level, rois, self.output_size, scale)
        return roi_warp(level, rois, self.output_size, scale, reduce=self.reduce)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, kind={self.kind}, reduce={self.reduce}, strides={self.strides}"


def pyramid_levels(boxes: Tensor, scales: Sequence[float]) -> Tensor:
    """(R,) int64 index of the level of each of (R, 4) boxes, as `multiscale_roi_align` chooses it.

    Source: Lin et al. 2017, arXiv:1612.03144, equation 1, with the level of 224 pixels at stride 16.
    """
    finest = round(-math.log2(scales[0]))
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    bounds = [224 * 2.0 ** (finest + step - 4 - 1e-6) for step in range(1, len(scales))]
    return torch.bucketize(side, side.new_tensor(bounds), right=True)
