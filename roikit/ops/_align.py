"""torch.ops.roikit.roi_align and multiscale_roi_align: RoIAlign's means of samples; and the kernels of all means."""

from roikit.ops._launch import backend, launch, view
from roikit.ops._maps import in_format, in_own_format, stored_channels_last
from roikit.ops._roi_gradients import register_linear
from roikit.ops._rois import add_up, bins, one_map, one_map_backward, roi_kernels, unpooled


def means(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned, integral=False):
    output = bins(features, boxes, rows, columns)
    features, boxes = in_format(features, stored_channels_last(features)), boxes.contiguous()
    core = roi_kernels("roi_align", output, boxes, features[0].shape[0])
    core.roi_align([view(m) for m in features], view(boxes), scales, thresholds, view(output), sampling_ratio, aligned,
                   integral, launch(output))
    return output


def _means_fake(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned):
    return bins(features, boxes, rows, columns)


def means_backward(grad, boxes, images, heights, widths, channels_last, scales, thresholds, sampling_ratio, aligned,
                   integral=False):
    gradients = [unpooled(grad, images, h, w, channels_last) for h, w in zip(heights, widths, strict=True)]
    grad, boxes, views = in_own_format(grad), boxes.contiguous(), [view(g) for g in gradients]
    add_up(backend(grad, "roi_align"), "roi_align_backward", grad, view(grad), view(boxes), scales, thresholds, views,
           sampling_ratio, aligned, integral,
           scratch_for=lambda exact: (view(grad), views, exact))
    return gradients


def _means_backward_fake(grad, boxes, images, heights, widths, channels_last, scales, thresholds, sampling_ratio,
                         aligned):
    return [unpooled(grad, images, h, w, channels_last) for h, w in zip(heights, widths, strict=True)]


register_linear(
    ("multiscale_roi_align(Tensor[] features, Tensor boxes, float[] scales, float[] thresholds, SymInt pooled_height, "
     "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor", means, _means_fake),
    ("multiscale_roi_align_backward(Tensor grad, Tensor boxes, SymInt images, SymInt[] heights, SymInt[] widths, "
     "bool channels_last, float[] scales, float[] thresholds, int sampling_ratio, bool aligned) -> Tensor[]",
     means_backward, _means_backward_fake))
register_linear(
    ("roi_align(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
     "int sampling_ratio, bool aligned) -> Tensor", one_map(means), one_map(_means_fake)),
    ("roi_align_backward(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, bool channels_last, "
     "float spatial_scale, int sampling_ratio, bool aligned) -> Tensor",
     one_map_backward(means_backward), one_map_backward(_means_backward_fake)))
