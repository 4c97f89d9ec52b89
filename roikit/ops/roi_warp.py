"""RoIWarp on tensors, twice differentiable in the features."""

import torch

from roikit import _check
from roikit._check.roi_warp import reduction
from roikit.ops._arguments import as_map, as_rois
from roikit.ops._launch import backend, launch, view
from roikit.ops._roi_gradients import register_at, register_winners
from roikit.ops._rois import add_up, roi_kernels

__all__ = ["roi_warp"]

MAX, MEAN, GIVEN = 0, 1, 2


def roi_warp(input, boxes, output_size, spatial_scale=1.0, *, reduce="max"):
    """Bilinear samples in each RoI rounded to whole pixels, two a bin along each axis, reduced to PH x PW.

    The RoIWarp of Mask R-CNN's ablation: it interpolates as RoIAlign does, in a box that is quantised as in RoIPool.

    Args:
        input: (N, C, H, W) float16, bfloat16, float32 or float64 features, contiguous (others are copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            tensor an image; whatever the features' dtype, half is cast to float32.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.
        reduce: "max" or "mean" of a bin's four samples.

    Returns:
        (K, C, PH, PW), contiguous, the dtype of ``input``; 0 for a RoI that is not finite. Differentiable in ``input``:
        the first largest sample, or a quarter each, receives the bin's gradient. The boxes have none.

    Raises:
        TypeError, ValueError, IndexError, BackendError: as in `roi_pool`.

    On CUDA the gradient is added up as that of `roi_pool` is.

    Source: Dai et al. 2016, arXiv:1512.04412, section 3.2; He et al. 2017, arXiv:1703.06870, section 3.
    """
    op = "roi_warp"
    rois = as_rois(op, boxes, as_map(op, "input", input))
    mean = reduction(op, reduce) == MEAN
    return torch.ops.roikit.roi_warp(input, rois, *_check.pooling(op, output_size, spatial_scale), mean)[0]


def _forward_fake(input, boxes, spatial_scale, rows, columns, mean):
    bins = input.shape[1], rows, columns
    return (input.new_empty((boxes.shape[0], *bins)),
            input.new_empty((0 if mean else boxes.shape[0], *bins), dtype=torch.int8))


def _run(input, boxes, spatial_scale, reduce, output, argmax):
    input, boxes = input.contiguous(), boxes.contiguous()
    core = roi_kernels("roi_warp", output, boxes, input.shape[0])
    core.roi_warp(view(input), view(boxes), spatial_scale, reduce, view(output), view(argmax), launch(output))


def _forward(input, boxes, spatial_scale, rows, columns, mean):
    output, argmax = _forward_fake(input, boxes, spatial_scale, rows, columns, mean)
    _run(input, boxes, spatial_scale, MEAN if mean else MAX, output, argmax)
    return output, argmax


def _given_fake(input, argmax, boxes, spatial_scale):
    return input.new_empty(argmax.shape)


def _given(input, argmax, boxes, spatial_scale):
    output = _given_fake(input, argmax, boxes, spatial_scale)
    _run(input, boxes, spatial_scale, GIVEN, output, argmax.contiguous())
    return output


def _backward_fake(grad, argmax, boxes, images, height, width, spatial_scale):
    return grad.new_empty((images, grad.shape[1], height, width))


def _backward(grad, argmax, boxes, images, height, width, spatial_scale):
    gradient = _backward_fake(grad, argmax, boxes, images, height, width, spatial_scale)
    grad, argmax, boxes = grad.contiguous(), argmax.contiguous(), boxes.contiguous()
    add_up(backend(grad, "roi_warp"), "roi_warp_backward", grad, view(grad), view(argmax), view(boxes), spatial_scale,
           view(gradient), scratch_for=lambda exact: (view(gradient),))
    return gradient


def _at(maps, argmax, boxes, spatial_scale):
    """The samples of the maps that the winners are made of; without winners, the mean of all."""
    if argmax.shape[0] == boxes.shape[0]:
        return torch.ops.roikit.roi_warp_at(maps, argmax, boxes, spatial_scale)
    return torch.ops.roikit.roi_warp(maps, boxes, spatial_scale, *argmax.shape[2:], True)[0]


_BACKWARD = ("roi_warp_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt images, SymInt height, SymInt width, "
             "float spatial_scale) -> Tensor", _backward, _backward_fake)
register_winners(
    ("roi_warp(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, bool mean) "
     "-> (Tensor, Tensor)", _forward, _forward_fake), _BACKWARD, _at)
register_at(
    ("roi_warp_at(Tensor input, Tensor argmax, Tensor boxes, float spatial_scale) -> Tensor", _given, _given_fake),
    _BACKWARD)
