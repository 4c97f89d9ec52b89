"""torchvision.ops.poolers on roikit's kernels."""

import torch

import roikit.ops

__all__ = ["MultiScaleRoIAlign"]


class MultiScaleRoIAlign(roikit.ops.MultiScaleRoIAlign):
    """`roikit.ops.MultiScaleRoIAlign` with torchvision's manners.

    It takes those named maps that are there, in the order of ``x``; roikit's own asks for all of them. ``output_size``
    is kept as a pair, which torchvision's detectors read.
    """

    def __init__(self, featmap_names, output_size, sampling_ratio, *, canonical_scale=224, canonical_level=4):
        size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        super().__init__(featmap_names, size, sampling_ratio, canonical_scale=canonical_scale,
                         canonical_level=canonical_level)

    def forward(self, x, boxes, image_shapes):
        return self.pool(_maps_there(x, self.featmap_names), boxes, image_shapes)


@torch.fx.wrap
def _maps_there(x, names):
    return [m for name, m in x.items() if name in names]
