"""Keypoints and their heatmaps on tensors. Nothing here is differentiable."""

import torch

from roikit import _check
from roikit._check.keypoints import of_boxes
from roikit.ops._arguments import wider
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register

__all__ = ["decode_keypoints", "encode_keypoints"]


def _of_boxes(op, name, values, boxes, pattern):
    """The values, of the shape in words, and their boxes, of the wider dtype."""
    of_boxes(op, name, values, boxes, pattern)
    _check.same_device(op, **{name: values, "boxes": boxes})
    return wider(values, boxes)


def encode_keypoints(keypoints, boxes, size):
    """The cell of each keypoint in a size x size grid over its box: the target of a keypoint head's softmax.

    Args:
        keypoints: (N, K, 3) floating: x, y, visibility; half is cast to float32.
        boxes: (N, 4), likewise, xyxy, on the same device; the two are computed in the wider dtype.
        size: S, from 1 to 2**24.

    Returns:
        target int64 (N, K): by * S + bx, 0 where it is not valid.
        valid bool (N, K): the point lies in its box, edges included, and its visibility is above 0. No point of an
            empty, reversed or infinite box is.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device.
        BackendError: CUDA tensors, and no CUDA module.

    Source: He et al. 2017, arXiv:1703.06870, section 5.
    """
    keypoints, boxes = _of_boxes("encode_keypoints", "keypoints", keypoints, boxes, ("N", "K", 3))
    return torch.ops.roikit.encode_keypoints(keypoints, boxes, _check.grid_size("encode_keypoints", "size", size))


def decode_keypoints(maps, boxes):
    """The place of the largest value of each map, resized bicubically to one value a pixel of its box.

    Args:
        maps: (N, K, H, W) floating, a map for each keypoint, H and W at least 1; half is cast to float32.
        boxes: (N, 4), likewise, xyxy, on the same device; the two are computed in the wider dtype. A side below 1
            counts as 1; one above 4096 has 4096 wider cells.

    Returns:
        xy (N, K, 2) float32 or float64, in pixels of the boxes; scores (N, K), the resized map's value there. Of equal
        values the first by rows; NaN never wins, and a map of NaN alone has its first cell and score NaN. Both are 0
        for a box that is not finite. Neither requires a gradient.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device.
        BackendError: CUDA tensors, and no CUDA module.

    Source: He et al. 2017, arXiv:1703.06870, section 5; Keys 1981, with A = -0.75 as torch has it.
    """
    return torch.ops.roikit.decode_keypoints(*_of_boxes("decode_keypoints", "maps", maps, boxes, ("N", "K", "H", "W")))


def _encode_fake(keypoints, boxes, size):
    shape = keypoints.shape[:2]
    return keypoints.new_empty(shape, dtype=torch.int64), keypoints.new_empty(shape, dtype=torch.bool)


def _encode(keypoints, boxes, size):
    keypoints, boxes = keypoints.contiguous(), boxes.contiguous()
    target, valid = _encode_fake(keypoints, boxes, size)
    backend(boxes, "encode_keypoints").encode_keypoints(view(keypoints), view(boxes), size, view(target), view(valid),
                                                        launch(boxes))
    return target, valid


def _decode_fake(maps, boxes):
    return maps.new_empty((*maps.shape[:2], 2)), maps.new_empty(maps.shape[:2])


def _decode(maps, boxes):
    maps, boxes = maps.contiguous(), boxes.contiguous()
    xy, scores = _decode_fake(maps, boxes)
    backend(boxes, "decode_keypoints").decode_keypoints(view(maps), view(boxes), view(xy), view(scores), launch(boxes))
    return xy, scores


register("encode_keypoints(Tensor keypoints, Tensor boxes, SymInt size) -> (Tensor, Tensor)", _encode, _encode_fake,
         discrete=True)
register("decode_keypoints(Tensor maps, Tensor boxes) -> (Tensor, Tensor)", _decode, _decode_fake)
