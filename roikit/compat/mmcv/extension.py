"""mmcv's Python without its compiled module: mmcv._ext made of roikit's ops.

mmcv's functions allocate what mmcv._ext fills; the names and arguments here are those that its Python calls.
"""

import functools

import torch

import roikit
from roikit.compat import _deform
from roikit.compat._extension import missing, stand_in
from roikit.compat.mmcv.focal_loss import sigmoid_focal_loss, softmax_focal_loss
from roikit.compat.mmcv.nms import nms, nms_match, nms_rotated, soft_nms
from roikit.compat.mmcv.overlaps import bbox_overlaps, box_iou_rotated
from roikit.compat.mmcv.roi import bins_as_rois, folded, prroi_pool, roi_align, roi_align_rotated

__all__ = ["install"]

NAME = "mmcv._ext"
METHODS = ("naive", "linear", "gaussian")
MODES = ("iou", "iof")


def _nms(bboxes, scores, iou_threshold, offset):
    return nms(bboxes, scores, iou_threshold, offset)[1]


def _softnms(boxes, scores, dets, iou_threshold, sigma, min_score, method, offset):
    found, inds = soft_nms(boxes, scores, iou_threshold, sigma, min_score, METHODS[method], offset)
    dets[: len(found)] = found
    return inds


def _nms_match(dets, iou_threshold):
    return [group.tolist() for group in nms_match(dets, iou_threshold)]


def _nms_rotated(dets, scores, order, dets_sorted, labels, iou_threshold, multi_label):
    return nms_rotated(dets[:, :5], scores, iou_threshold, labels if multi_label else None)[1]


def _bbox_overlaps(bboxes1, bboxes2, ious, mode, aligned, offset):
    ious.copy_(bbox_overlaps(bboxes1, bboxes2, MODES[mode], aligned, offset))


def _box_iou_rotated(bboxes1, bboxes2, ious, mode_flag, aligned):
    ious.copy_(box_iou_rotated(bboxes1, bboxes2, MODES[mode_flag], aligned).flatten())


def _only_means(pool_mode):
    if pool_mode == 0:
        raise NotImplementedError(f"{NAME}: pool_mode \"max\" is in roikit.compat.mmcv.roi_align alone")


def _roi_align_forward(input, rois, output, argmax_y, argmax_x, aligned_height, aligned_width, spatial_scale,
                       sampling_ratio, pool_mode, aligned):
    _only_means(pool_mode)
    output.copy_(roi_align(input, rois, (aligned_height, aligned_width), spatial_scale, sampling_ratio,
                                aligned=aligned))


def _roi_align_backward(grad_output, rois, argmax_y, argmax_x, grad_input, aligned_height, aligned_width, spatial_scale,
                        sampling_ratio, pool_mode, aligned):
    _only_means(pool_mode)
    _gradient(grad_input, grad_output, lambda x: roi_align(
        x, rois, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned=aligned))


def _gradient(into, grad_output, linear):
    """Of an op that is linear in its input, which is why the values of the input do not matter."""
    with torch.enable_grad():
        x = torch.zeros_like(into).requires_grad_()
        into.copy_(torch.autograd.grad(linear(x), x, grad_output.to(into.dtype))[0])


def _roi_pool_forward(input, rois, output, argmax, pooled_height, pooled_width, spatial_scale):
    bins = bins_as_rois(rois, pooled_height, pooled_width, spatial_scale)
    values, places = torch.ops.roikit.roi_pool(input, bins, 1.0, 1, 1)
    output.copy_(folded(values, pooled_height, pooled_width))
    argmax.copy_(folded(places, pooled_height, pooled_width))


def _roi_pool_backward(grad_output, rois, argmax, grad_input, pooled_height, pooled_width, spatial_scale):
    images, _, height, width = grad_input.shape
    grad_input.copy_(torch.ops.roikit.roi_pool_backward(grad_output.contiguous(), argmax, rois.float(), images, height,
                                                        width, False))


def _roi_align_rotated_forward(input, rois, output, pooled_height, pooled_width, spatial_scale, sampling_ratio, aligned,
                               clockwise):
    output.copy_(roi_align_rotated(input, rois, (pooled_height, pooled_width), spatial_scale, sampling_ratio, aligned,
                                   clockwise))


def _roi_align_rotated_backward(grad_output, rois, grad_input, pooled_height, pooled_width, spatial_scale,
                                sampling_ratio, aligned, clockwise):
    _gradient(grad_input, grad_output, lambda x: roi_align_rotated(
        x, rois, (pooled_height, pooled_width), spatial_scale, sampling_ratio, aligned, clockwise))


def _prroi_pool_forward(features, rois, output, pooled_height, pooled_width, spatial_scale):
    output.copy_(prroi_pool(features, rois, (pooled_height, pooled_width), spatial_scale))


def _prroi_pool_backward(grad_output, rois, grad_input, pooled_height, pooled_width, spatial_scale):
    _gradient(grad_input, grad_output, lambda x: prroi_pool(x, rois, (pooled_height, pooled_width), spatial_scale))


def _prroi_pool_coor_backward(output, grad_output, features, rois, grad_rois, pooled_height, pooled_width,
                              spatial_scale):
    with torch.enable_grad():
        moved = rois.detach().requires_grad_()
        out = prroi_pool(features.detach(), moved, (pooled_height, pooled_width), spatial_scale)
        grad_rois.copy_(torch.autograd.grad(out, moved, grad_output)[0])


def _focal_forward(loss, input, target, weight, output, gamma, alpha):
    output.copy_(loss(input, target, gamma, alpha, weight if weight.numel() else None, "none"))


def _focal_gradient(loss, input, target, weight, into, gamma, alpha):
    with torch.enable_grad():
        x = input.detach().requires_grad_()
        value = loss(x, target, gamma, alpha, weight if weight.numel() else None, "sum")
        into.copy_(torch.autograd.grad(value, x)[0])


def _softmax_forward(softmax, target, weight, output, gamma, alpha):
    _focal_forward(softmax_focal_loss, softmax.log(), target, weight, output, gamma, alpha)


def _softmax_backward(softmax, target, weight, buff, grad_input, gamma, alpha):
    """Logarithms of a softmax are logits of it, and the gradient by logits does not see their common summand."""
    _focal_gradient(softmax_focal_loss, softmax.log(), target, weight, grad_input, gamma, alpha)


FUNCTIONS = {
    "nms": _nms,
    "softnms": _softnms,
    "nms_match": _nms_match,
    "nms_rotated": _nms_rotated,
    "bbox_overlaps": _bbox_overlaps,
    "box_iou_rotated": _box_iou_rotated,
    "roi_align_forward": _roi_align_forward,
    "roi_align_backward": _roi_align_backward,
    "roi_pool_forward": _roi_pool_forward,
    "roi_pool_backward": _roi_pool_backward,
    "roi_align_rotated_forward": _roi_align_rotated_forward,
    "roi_align_rotated_backward": _roi_align_rotated_backward,
    "prroi_pool_forward": _prroi_pool_forward,
    "prroi_pool_backward": _prroi_pool_backward,
    "prroi_pool_coor_backward": _prroi_pool_coor_backward,
    "sigmoid_focal_loss_forward": functools.partial(_focal_forward, sigmoid_focal_loss),
    "sigmoid_focal_loss_backward": functools.partial(_focal_gradient, sigmoid_focal_loss),
    "softmax_focal_loss_forward": _softmax_forward,
    "softmax_focal_loss_backward": _softmax_backward,
    "get_compiler_version": lambda: f"none: roikit {roikit.__version__} stands in",
    "get_compiling_cuda_version": lambda: "not available",
}


def _fill(module):
    module.__dict__.update(FUNCTIONS)
    module.__dict__.update(_deform.FUNCTIONS)

    def other(name):
        """mmcv asks for every name when it is imported; only a call needs a kernel."""
        if name.startswith("__"):
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
        return missing(f"{NAME}.{name}")

    module.__getattr__ = other


def install():
    """Let mmcv.ops run where mmcv was not compiled, such as mmcv-lite. Calling it twice is harmless.

    Works whether or not mmcv is installed; nothing happens until it imports ``mmcv._ext``. A compiled module that loads
    is left alone. What has no kernel in roikit raises NotImplementedError with its name when called.
    """
    stand_in(NAME, "mmcv.ops", _fill)
