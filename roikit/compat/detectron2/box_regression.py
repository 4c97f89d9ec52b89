"""detectron2.modeling.box_regression."""

import math

import torch

import roikit.ops

__all__ = ["Box2BoxTransform", "Box2BoxTransformLinear", "Box2BoxTransformRotated"]

SCALE_CLAMP = math.log(1000 / 16)


def positive_widths(name, widths):
    """What detectron2 asserts of source boxes; like there, a GPU is waited for."""
    if not (widths > 0).all():
        raise ValueError(f"{name}.get_deltas: src_boxes must have positive widths, got {widths.min().item()}")


class Box2BoxTransform:
    """detectron2.modeling.box_regression.Box2BoxTransform on roikit.ops.encode_boxes and decode_boxes.

    Args:
        weights: four positive factors of dx, dy, dw, dh.
        scale_clamp: dw and dh are limited to this from above.
    """

    def __init__(self, weights, scale_clamp=SCALE_CLAMP):
        self.weights, self.scale_clamp = weights, scale_clamp

    def get_deltas(self, src_boxes, target_boxes):
        """Deltas (N, 4) that carry src_boxes (N, 4), anchors or proposals, to target_boxes (N, 4).

        Raises:
            ValueError: a source box without width.
        """
        positive_widths("Box2BoxTransform", src_boxes[:, 2] - src_boxes[:, 0])
        return roikit.ops.encode_boxes(target_boxes, src_boxes, self.weights)

    def apply_deltas(self, deltas, boxes):
        """Boxes float32 (N, 4 k) from deltas (N, 4 k) of k classes and boxes (N, 4)."""
        return roikit.ops.decode_boxes(deltas.float(), boxes.float(), self.weights, clip=self.scale_clamp)


class Box2BoxTransformRotated:
    """detectron2.modeling.box_regression.Box2BoxTransformRotated on roikit.ops.encode_boxes_rotated and its inverse.

    Args:
        weights: five positive factors of dx, dy, dw, dh, da.
        scale_clamp: dw and dh are limited to this from above.
    """

    def __init__(self, weights, scale_clamp=SCALE_CLAMP):
        self.weights, self.scale_clamp = weights, scale_clamp

    def get_deltas(self, src_boxes, target_boxes):
        """Deltas (N, 5), the angle in radians, that carry src_boxes (N, 5) to target_boxes (N, 5), degrees.

        Raises:
            ValueError: a source box without width.
        """
        positive_widths("Box2BoxTransformRotated", src_boxes[:, 2])
        return roikit.ops.encode_boxes_rotated(target_boxes, src_boxes, self.weights)

    def apply_deltas(self, deltas, boxes):
        """Boxes (N, 5 k), degrees in [-180, 180), from deltas (N, 5 k) of k classes and boxes (N, 5)."""
        return roikit.ops.decode_boxes_rotated(deltas, boxes.to(deltas.dtype), self.weights, clip=self.scale_clamp)


class Box2BoxTransformLinear:
    """detectron2.modeling.box_regression.Box2BoxTransformLinear: distances from the centre to four edges.

    Args:
        normalize_by_size: in sizes of the source box.
    """

    def __init__(self, normalize_by_size=True):
        self.normalize_by_size = normalize_by_size

    def _frame(self, boxes):
        """The centre (N, 1, 2) and the unit of the distances (N, 1, 2), or 1."""
        size = boxes[:, None, 2:] - boxes[:, None, :2]
        return (boxes[:, None, :2] + boxes[:, None, 2:]) * 0.5, size if self.normalize_by_size else 1

    def get_deltas(self, src_boxes, target_boxes):
        """Left, top, right and bottom (N, 4) from the centres of src_boxes (N, 4) to target_boxes (N, 4)."""
        centre, unit = self._frame(src_boxes)
        corners = target_boxes.unflatten(1, (2, 2))
        before, after = centre - corners[:, :1], corners[:, 1:] - centre
        return (torch.cat([before, after], dim=1) / unit).flatten(1)

    def apply_deltas(self, deltas, boxes):
        """Boxes (N, 4 k) from deltas (N, 4 k), of which negative ones count as 0, and boxes (N, 4)."""
        if deltas.dim() != 2 or deltas.shape[1] % 4:
            raise ValueError("Box2BoxTransformLinear.apply_deltas: deltas must have shape (N, 4 k), got "
                             f"{tuple(deltas.shape)}")
        centre, unit = self._frame(boxes.to(deltas.dtype))
        sides = deltas.clamp(min=0).unflatten(1, (-1, 2)) * unit  # (N, 2 k, 2), left top and right bottom in turns
        before, after = centre - sides[:, 0::2], centre + sides[:, 1::2]
        return torch.stack([before, after], dim=2).flatten(1)
