"""RoIAlign on the pyramid level that suits each box."""

import math

from torch import Tensor, nn

from roikit.models.graphs import outside_graphs
from roikit.ops import multiscale_roi_align

__all__ = ["PyramidRoIAlign"]


class PyramidRoIAlign(nn.Module):
    """Pools boxes from the levels "0" to "3" of a pyramid (strides 4 to 32).

    Args:
        output_size: cells on each side.
        sampling_ratio, aligned: RoIAlign's.

    `forward(features, boxes, padded_size)` takes the pyramid, a list of (L, 4) boxes in pixels of
    the batch and the batch's (H, W); it returns (sum of L, C, output_size, output_size) in the
    order of the boxes. Strides come from the padded size, which holds for images of any size.
    """

    def __init__(self, output_size: int, sampling_ratio: int, aligned: bool) -> None:
        super().__init__()
        self.output_size = output_size
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    @outside_graphs
    def forward(self, features: dict[str, Tensor], boxes: list[Tensor],
                padded_size: tuple[int, int]) -> Tensor:
        levels = [level for name, level in features.items() if name != "pool"]
        scales = [2.0 ** round(math.log2(level.shape[-1] / padded_size[1])) for level in levels]
        return multiscale_roi_align(levels, boxes, self.output_size, scales,
                                    sampling_ratio=self.sampling_ratio, aligned=self.aligned)

    def extra_repr(self) -> str:
        return (f"output_size={self.output_size}, sampling_ratio={self.sampling_ratio}, "
                f"aligned={self.aligned}")
