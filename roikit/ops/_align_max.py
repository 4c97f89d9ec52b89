"""torch.ops.roikit.roi_align_max and multiscale_roi_align_max: RoIAlign with the largest sample of each bin.

Linear at fixed winners: the derivatives are samples at the winners (`..._max_at`) and sums over them
(`..._max_backward`).
"""

import torch

from roikit.ops._launch import backend, launch, view
from roikit.ops._maps import empty_map, in_format, stored_channels_last
from roikit.ops._roi_gradients import register_at, register_winners
from roikit.ops._rois import add_up, bins_with_argmax, one_map, one_map_backward, roi_kernels, unpooled

ROIKIT = torch.ops.roikit


def _run(features, boxes, scales, thresholds, output, argmax, given, sampling_ratio, aligned):
    boxes = boxes.contiguous()
    core = roi_kernels("roi_align", output, boxes, features[0].shape[0])
    core.roi_align_max([view(m) for m in features], view(boxes), scales, thresholds, view(output), view(argmax), given,
                       sampling_ratio, aligned, launch(output))


def _fake(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned, with_argmax):
    return bins_with_argmax(features, boxes, rows, columns, with_argmax)


def _forward(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned, with_argmax):
    output, argmax = bins_with_argmax(features, boxes, rows, columns, with_argmax)
    features = in_format(features, stored_channels_last(features))
    _run(features, boxes, scales, thresholds, output, argmax, False, sampling_ratio, aligned)
    return output, argmax


def _at_fake(features, argmax, boxes, scales, thresholds, sampling_ratio, aligned):
    return empty_map(features[0], argmax.shape, stored_channels_last([argmax]))


def _at(features, argmax, boxes, scales, thresholds, sampling_ratio, aligned):
    channels_last = stored_channels_last([argmax])
    output = _at_fake(features, argmax, boxes, scales, thresholds, sampling_ratio, aligned)
    features, (argmax,) = in_format(features, channels_last), in_format([argmax], channels_last)
    _run(features, boxes, scales, thresholds, output, argmax, True, sampling_ratio, aligned)
    return output


def _backward_fake(grad, argmax, boxes, images, heights, widths, channels_last, scales, thresholds, sampling_ratio,
                   aligned):
    return [unpooled(grad, images, h, w, channels_last) for h, w in zip(heights, widths, strict=True)]


def _backward(grad, argmax, boxes, images, heights, widths, channels_last, scales, thresholds, sampling_ratio, aligned):
    gradients = [unpooled(grad, images, h, w, channels_last) for h, w in zip(heights, widths, strict=True)]
    grad, argmax = in_format([grad, argmax], stored_channels_last([argmax]))
    boxes, views = boxes.contiguous(), [view(g) for g in gradients]
    add_up(backend(grad, "roi_align"), "roi_align_max_backward", grad, view(grad), view(argmax), view(boxes), scales,
           thresholds, views, sampling_ratio, aligned, scratch_for=lambda exact: (views,))
    return gradients


_LEVELS_BACKWARD = (
    "multiscale_roi_align_max_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt images, SymInt[] heights, "
    "SymInt[] widths, bool channels_last, float[] scales, float[] thresholds, int sampling_ratio, bool aligned) "
    "-> Tensor[]", _backward, _backward_fake)
register_winners(
    ("multiscale_roi_align_max(Tensor[] features, Tensor boxes, float[] scales, float[] thresholds, "
     "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned, bool with_argmax) "
     "-> (Tensor, Tensor)", _forward, _fake),
    _LEVELS_BACKWARD, lambda *arguments: ROIKIT.multiscale_roi_align_max_at(*arguments))
register_at(
    ("multiscale_roi_align_max_at(Tensor[] features, Tensor argmax, Tensor boxes, float[] scales, "
     "float[] thresholds, int sampling_ratio, bool aligned) -> Tensor", _at, _at_fake), _LEVELS_BACKWARD)

_BACKWARD = (
    "roi_align_max_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt images, SymInt height, SymInt width, "
    "bool channels_last, float spatial_scale, int sampling_ratio, bool aligned) -> Tensor",
    one_map_backward(_backward, 2), one_map_backward(_backward_fake, 2))
register_winners(
    ("roi_align_max(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
     "int sampling_ratio, bool aligned, bool with_argmax) -> (Tensor, Tensor)", one_map(_forward), one_map(_fake)),
    _BACKWARD, lambda *arguments: ROIKIT.roi_align_max_at(*arguments))
register_at(
    ("roi_align_max_at(Tensor input, Tensor argmax, Tensor boxes, float spatial_scale, int sampling_ratio, "
     "bool aligned) -> Tensor", one_map(_at, 2), one_map(_at_fake, 2)), _BACKWARD)
