"""detectron2.modeling.anchor_generator."""

from collections.abc import Sequence

import torch

import roikit.ops

__all__ = ["DefaultAnchorGenerator", "RotatedAnchorGenerator"]


def _for_each_map(name, values, maps):
    """One list a map, from that, from one list in a list, or from one list for all maps."""
    if not isinstance(values, Sequence) or not len(values):
        raise ValueError(f"anchor generator: {name} must be a list with something in it, got {values}")
    if not isinstance(values[0], Sequence):
        return [values] * maps
    if len(values) not in (1, maps):
        raise ValueError(f"anchor generator: {name} must have one list for all maps or one a map ({maps}), "
                         f"got {len(values)}")
    return list(values) * (maps if len(values) == 1 else 1)


class _Generator(torch.nn.Module):
    """What the generators share: cells as buffers that a checkpoint does not hold, and the walk over the maps."""

    def __init__(self, strides, offset, boxes_class, cells):
        super().__init__()
        if not 0 <= offset < 1:
            raise ValueError(f"anchor generator: offset must be in [0, 1), got {offset}")
        self.strides, self.num_features = strides, len(strides)
        self.offset, self.boxes_class = offset, boxes_class
        for i, cell in enumerate(cells):
            self.register_buffer(f"cell_{i}", cell, persistent=False)

    @property
    def cell_anchors(self):
        """Of each map, (A, 4), or (A, 5) when rotated: the anchors around the origin."""
        return [getattr(self, f"cell_{i}") for i in range(self.num_features)]

    @property
    def num_anchors(self):
        """How many anchors a position of each map has."""
        return [len(cell) for cell in self.cell_anchors]

    num_cell_anchors = num_anchors

    def grid_anchors(self, grid_sizes):
        """Of each map of (height, width), (H * W * A, 4), or 5 when rotated."""
        if len(grid_sizes) != self.num_features:
            raise ValueError(f"anchor generator: there must be one map a stride ({self.num_features}), "
                             f"got {len(grid_sizes)}")
        return [roikit.ops.grid_anchors(cell, tuple(size), stride, offset=self.offset)
                for cell, size, stride in zip(self.cell_anchors, grid_sizes, self.strides, strict=True)]

    def forward(self, features):
        """Anchors of each feature map (N, C, H, W): rows in the order y, x, cell."""
        anchors = self.grid_anchors([m.shape[-2:] for m in features])
        return anchors if self.boxes_class is None else [self.boxes_class(a) for a in anchors]


class DefaultAnchorGenerator(_Generator):
    """detectron2.modeling.anchor_generator.DefaultAnchorGenerator on roikit.ops.cell_anchors and grid_anchors.

    Args, all by name:
        sizes: square roots of the anchors' areas in pixels; one list for all maps or one a map.
        aspect_ratios: height over width; likewise.
        strides: image pixels a map pixel, one a map.
        offset: where in its map pixel an anchor's centre is, in [0, 1).
        boxes_class: roikit's own: what to wrap each result in, such as detectron2.structures.Boxes; by default the
            results are the tensors.

    Returns, when called with a list of feature maps:
        a list with (H * W * A, 4) float32 a map, the size outside and the ratio inside; nothing is rounded.

    Raises:
        ValueError: an empty list, a list of another length, an offset outside [0, 1).
    """

    box_dim = 4

    def __init__(self, *, sizes, aspect_ratios, strides, offset=0.5, boxes_class=None):
        sizes = _for_each_map("sizes", sizes, len(strides))
        ratios = _for_each_map("aspect_ratios", aspect_ratios, len(strides))
        cells = [self.generate_cell_anchors(s, r) for s, r in zip(sizes, ratios, strict=True)]
        super().__init__(strides, offset, boxes_class, cells)

    @staticmethod
    def generate_cell_anchors(sizes=(32, 64, 128, 256, 512), aspect_ratios=(0.5, 1, 2)):
        """(A, 4) float32, computed in float64."""
        return roikit.ops.cell_anchors(sizes, aspect_ratios, order="size", dtype=torch.float64).float()


class RotatedAnchorGenerator(_Generator):
    """detectron2.modeling.anchor_generator.RotatedAnchorGenerator on roikit.ops.cell_anchors_rotated and grid_anchors.

    Args, all by name: as in `DefaultAnchorGenerator`, and
        angles: degrees counter-clockwise; one list for all maps or one a map.

    Returns, when called with a list of feature maps:
        a list with (H * W * A, 5) float32 a map: cx, cy, w, h, degrees; the size outside, the angle inside.

    Raises:
        ValueError: as in `DefaultAnchorGenerator`.
    """

    box_dim = 5

    def __init__(self, *, sizes, aspect_ratios, strides, angles, offset=0.5, boxes_class=None):
        lists = {"sizes": sizes, "aspect_ratios": aspect_ratios, "angles": angles}
        lists = [_for_each_map(name, values, len(strides)) for name, values in lists.items()]
        cells = [self.generate_cell_anchors(*each) for each in zip(*lists, strict=True)]
        super().__init__(strides, offset, boxes_class, cells)

    @staticmethod
    def generate_cell_anchors(sizes=(32, 64, 128, 256, 512), aspect_ratios=(0.5, 1, 2),
                              angles=(-90, -60, -30, 0, 30, 60, 90)):
        """(A, 5) float32, computed in float64."""
        return roikit.ops.cell_anchors_rotated(sizes, aspect_ratios, angles, dtype=torch.float64).float()
