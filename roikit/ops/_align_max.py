"""torch.ops.roikit.roi_align_max and multiscale_roi_align_max: RoIAlign with the largest sample of each bin.

Linear at fixed winners: the derivatives are samples at the winners (`..._max_at`) and sums over them
(`..._max_backward`).
"""

import torch

from roikit import _config, _core
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import autocast_boxes, register
from roikit.ops._rois import check_images, empty_map, in_format, stored_channels_last

ROIKIT = torch.ops.roikit


def _run(features, boxes, scales, thresholds, output, argmax, given, sampling_ratio, aligned):
    core, boxes = backend(output, "roi_align"), boxes.contiguous()
    if core is not _core and _config.debug():
        check_images("roi_align", boxes, features[0].shape[0])
    core.roi_align_max([view(m) for m in features], view(boxes), scales, thresholds, view(output), view(argmax), given,
                       sampling_ratio, aligned, launch(output))


def _fake(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned, with_argmax):
    bins, channels_last = (features[0].shape[1], rows, columns), stored_channels_last(features)
    return (empty_map(features[0], (boxes.shape[0], *bins), channels_last),
            empty_map(features[0], (boxes.shape[0] if with_argmax else 0, *bins), channels_last, torch.int32))


def _forward(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned, with_argmax):
    output, argmax = _fake(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned, with_argmax)
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
    return [empty_map(grad, (images, grad.shape[1], h, w), channels_last)
            for h, w in zip(heights, widths, strict=True)]


def _backward(grad, argmax, boxes, images, heights, widths, channels_last, scales, thresholds, sampling_ratio, aligned):
    gradients = _backward_fake(grad, argmax, boxes, images, heights, widths, channels_last, scales, thresholds,
                               sampling_ratio, aligned)
    grad, argmax = in_format([grad, argmax], stored_channels_last([argmax]))
    core, place, views, boxes = backend(grad, "roi_align"), {}, [view(g) for g in gradients], boxes.contiguous()
    if core is not _core:
        place["deterministic"] = torch.are_deterministic_algorithms_enabled()
        place["scratch"] = workspace(grad, core.roi_align_max_backward_workspace(views))
    core.roi_align_max_backward(view(grad), view(argmax), view(boxes), scales, thresholds, views, sampling_ratio,
                                aligned, launch(grad, **place))
    return gradients


def _winners(op, inputs, output, arguments):
    """The argmax, found anew where the call did not ask: a compiler does not say that a transform will."""
    asked = (*inputs, True)[arguments]  # not by the lengths, which torch.export may not know
    return output[1] if asked else op(*inputs[:arguments], True)[1]


def _context(ctx, inputs, output):
    features, boxes, scales, thresholds, _, _, *rule = inputs
    ctx.save_for_backward(_winners(ROIKIT.multiscale_roi_align_max, inputs, output, 8), boxes)
    ctx.set_materialize_grads(False)  # else argmax gets a gradient of zeros, as large as it is
    ctx.places = (features[0].shape[0], [m.shape[2] for m in features], [m.shape[3] for m in features],
                  stored_channels_last(features))
    ctx.rule = scales, thresholds, *rule[:2]


def _forward_backward(ctx, grad, _):
    if grad is None:
        return (None,) * 9
    gradients = ROIKIT.multiscale_roi_align_max_backward(grad, *ctx.saved_tensors, *ctx.places, *ctx.rule)
    return gradients, *(None,) * 8


def _tangent(op, place, tangent, inputs, output):
    _, boxes, scales, thresholds, _, _, *rule = inputs
    winners = _winners(op, inputs, output, 8)
    return ROIKIT.multiscale_roi_align_max_at(tangent, winners, boxes, scales, thresholds, *rule[:2]), None


def _at_context(ctx, inputs, output):
    features, argmax, boxes, *ctx.rule = inputs
    ctx.save_for_backward(argmax, boxes)
    ctx.places = (features[0].shape[0], [m.shape[2] for m in features], [m.shape[3] for m in features],
                  stored_channels_last(features))


def _at_backward(ctx, grad):
    gradients = ROIKIT.multiscale_roi_align_max_backward(grad, *ctx.saved_tensors, *ctx.places, *ctx.rule)
    return gradients, None, None, None, None, None, None


def _backward_context(ctx, inputs, output):
    _, argmax, boxes, _, _, _, _, *ctx.rule = inputs
    ctx.save_for_backward(argmax, boxes)


def _backward_backward(ctx, grads):
    """Linear in the bins' gradients: the transpose samples where the winners are."""
    again = ROIKIT.multiscale_roi_align_max_at(list(grads), *ctx.saved_tensors, *ctx.rule)
    return again, *(None,) * 10


register("multiscale_roi_align_max(Tensor[] features, Tensor boxes, float[] scales, float[] thresholds, "
         "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned, bool with_argmax) "
         "-> (Tensor, Tensor)",
         _forward, _fake, backward=_forward_backward, setup_context=_context, tangents={"features": _tangent})
register("multiscale_roi_align_max_at(Tensor[] features, Tensor argmax, Tensor boxes, float[] scales, "
         "float[] thresholds, int sampling_ratio, bool aligned) -> Tensor",
         _at, _at_fake, backward=_at_backward, setup_context=_at_context, tangents={"features": linear})
register("multiscale_roi_align_max_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt images, SymInt[] heights, "
         "SymInt[] widths, bool channels_last, float[] scales, float[] thresholds, int sampling_ratio, bool aligned) "
         "-> Tensor[]",
         _backward, _backward_fake, backward=_backward_backward, setup_context=_backward_context,
         tangents={"grad": linear})


def _single(input, boxes, spatial_scale, *rest):
    return _forward([input], boxes, [spatial_scale], [], *rest)


def _single_fake(input, boxes, spatial_scale, *rest):
    return _fake([input], boxes, [spatial_scale], [], *rest)


def _single_at(input, argmax, boxes, spatial_scale, *rest):
    return _at([input], argmax, boxes, [spatial_scale], [], *rest)


def _single_at_fake(input, argmax, boxes, spatial_scale, *rest):
    return _at_fake([input], argmax, boxes, [spatial_scale], [], *rest)


def _single_backward(grad, argmax, boxes, images, height, width, channels_last, spatial_scale, *rest):
    return _backward(grad, argmax, boxes, images, [height], [width], channels_last, [spatial_scale], [], *rest)[0]


def _single_backward_fake(grad, argmax, boxes, images, height, width, channels_last, spatial_scale, *rest):
    return _backward_fake(grad, argmax, boxes, images, [height], [width], channels_last, [spatial_scale], [], *rest)[0]


def _single_context(ctx, inputs, output):
    input, boxes, spatial_scale, _, _, *rule = inputs
    ctx.save_for_backward(_winners(ROIKIT.roi_align_max, inputs, output, 7), boxes)
    ctx.set_materialize_grads(False)
    ctx.place = input.shape[0], input.shape[2], input.shape[3], stored_channels_last([input])
    ctx.rule = spatial_scale, *rule[:2]


def _single_forward_backward(ctx, grad, _):
    if grad is None:
        return (None,) * 8
    return ROIKIT.roi_align_max_backward(grad, *ctx.saved_tensors, *ctx.place, *ctx.rule), *(None,) * 7


def _single_tangent(op, place, tangent, inputs, output):
    _, boxes, spatial_scale, _, _, *rule = inputs
    winners = _winners(op, inputs, output, 7)
    return ROIKIT.roi_align_max_at(tangent, winners, boxes, spatial_scale, *rule[:2]), None


def _single_at_context(ctx, inputs, output):
    input, argmax, boxes, *ctx.rule = inputs
    ctx.save_for_backward(argmax, boxes)
    ctx.place = input.shape[0], input.shape[2], input.shape[3], stored_channels_last([input])


def _single_at_backward(ctx, grad):
    gradient = ROIKIT.roi_align_max_backward(grad, *ctx.saved_tensors, *ctx.place, *ctx.rule)
    return gradient, None, None, None, None, None


def _single_backward_backward(ctx, grad):
    return ROIKIT.roi_align_max_at(grad, *ctx.saved_tensors, *ctx.rule), *(None,) * 9


register("roi_align_max(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
         "int sampling_ratio, bool aligned, bool with_argmax) -> (Tensor, Tensor)",
         _single, _single_fake, backward=_single_forward_backward, setup_context=_single_context,
         tangents={"input": _single_tangent})
register("roi_align_max_at(Tensor input, Tensor argmax, Tensor boxes, float spatial_scale, int sampling_ratio, "
         "bool aligned) -> Tensor",
         _single_at, _single_at_fake, backward=_single_at_backward, setup_context=_single_at_context,
         tangents={"input": linear})
register("roi_align_max_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt images, SymInt height, SymInt width, "
         "bool channels_last, float spatial_scale, int sampling_ratio, bool aligned) -> Tensor",
         _single_backward, _single_backward_fake, backward=_single_backward_backward, setup_context=_backward_context,
         tangents={"grad": linear})
autocast_boxes("roi_align_max")
autocast_boxes("multiscale_roi_align_max")
