"""Position-sensitive pooling on tensors, twice differentiable in the features."""

import torch

from roikit import _check, _config, _core
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import autocast_boxes, register
from roikit.ops._rois import as_rois, check_images, feature_map

__all__ = ["PSRoIAlign", "PSRoIPool", "ps_roi_align", "ps_roi_pool"]


def _arguments(op, input, boxes, output_size, spatial_scale):
    """RoIs, scale, rows and columns of bins, after the checks."""
    feature_map(op, "input", input)
    rois = as_rois(op, boxes, input)
    rows, columns = _check.pair(op, "output_size", output_size)
    _check.channels_of_bins(op, input.shape[1], rows, columns)
    return rois, _check.positive(op, "spatial_scale", spatial_scale), rows, columns


@torch.fx.wrap
def ps_roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    """Means of bilinear samples, bin (ph, pw) of channel c from input channel (c * PH + ph) * PW + pw.

    Args:
        input: (N, C * PH * PW, H, W) float16, bfloat16, float32 or float64 features, contiguous (others are copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            tensor an image; whatever the features' dtype, half is cast to float32. Shifted by half a map pixel, as
            in `roi_align` with ``aligned=True``.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.
        sampling_ratio: samples a bin along each axis, at most 2**24; 0 or less: as many as a bin has map pixels,
            rounded up.

    Returns:
        (K, C, PH, PW), contiguous, the dtype of ``input``; 0 for a RoI that is not finite. Twice differentiable in
        ``input``; the boxes have no gradient.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence; channels that are no multiple of PH * PW.
        IndexError: a batch index is not whole, negative, or at least N (CUDA: with ROIKIT_DEBUG=1; else that RoI gives
            0 and has no gradient).
        BackendError: CUDA tensors, and no CUDA module in this build.

    On CUDA the gradient is added up in an order that changes from run to run, unless
    ``torch.use_deterministic_algorithms(True)`` asks for the CPU's order.

    Source: Dai et al. 2016, arXiv:1605.06409, equation 1; He et al. 2017, arXiv:1703.06870, section 3.
    """
    op = "ps_roi_align"
    rule = _arguments(op, input, boxes, output_size, spatial_scale)
    return torch.ops.roikit.ps_roi_align(input, *rule, _check.sampling(op, sampling_ratio))


@torch.fx.wrap
def ps_roi_pool(input, boxes, output_size, spatial_scale=1.0):
    """Means over the pixels of each bin of the rounded RoI, each bin from its own channels as in `ps_roi_align`.

    Args, result, gradients and errors as in `ps_roi_align`. The end pixel of a RoI, and the last row and column of the
    map, are left out, as in torchvision.

    Source: Dai et al. 2016, arXiv:1605.06409, equation 1.
    """
    return torch.ops.roikit.ps_roi_pool(input, *_arguments("ps_roi_pool", input, boxes, output_size, spatial_scale))


class PSRoIAlign(torch.nn.Module):
    """`ps_roi_align` with fixed parameters; torchvision's constructor. Input: features (N, C, H, W), boxes."""

    def __init__(self, output_size, spatial_scale, sampling_ratio):
        super().__init__()
        self.output_size, self.spatial_scale, self.sampling_ratio = output_size, spatial_scale, sampling_ratio

    def forward(self, input, rois):
        return ps_roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def extra_repr(self):
        return (f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
                f"sampling_ratio={self.sampling_ratio}")


class PSRoIPool(torch.nn.Module):
    """`ps_roi_pool` with fixed parameters; torchvision's constructor. Input: features (N, C, H, W), boxes."""

    def __init__(self, output_size, spatial_scale):
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale

    def forward(self, input, rois):
        return ps_roi_pool(input, rois, self.output_size, self.spatial_scale)

    def extra_repr(self):
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"


def _output(input, boxes, rows, columns):
    return input.new_empty((boxes.shape[0], input.shape[1] // (rows * columns), rows, columns))


def _gradient(grad, images, height, width):
    return grad.new_empty((images, grad.shape[1] * grad.shape[2] * grad.shape[3], height, width))


def _run(op, input, boxes, spatial_scale, rows, columns, align, sampling_ratio):
    output, input, boxes = _output(input, boxes, rows, columns), input.contiguous(), boxes.contiguous()
    core = backend(output, op)
    if core is not _core and _config.debug():
        check_images(op, boxes, input.shape[0])
    core.ps_roi(view(input), view(boxes), spatial_scale, align, sampling_ratio, view(output), launch(output))
    return output


def _run_backward(op, grad, boxes, images, height, width, spatial_scale, align, sampling_ratio):
    grad, boxes, gradient = grad.contiguous(), boxes.contiguous(), _gradient(grad, images, height, width)
    core, place = backend(grad, op), {}
    if core is not _core:
        place["deterministic"] = torch.are_deterministic_algorithms_enabled()
        place["scratch"] = workspace(grad, core.ps_roi_backward_workspace(view(gradient)))
    core.ps_roi_backward(view(grad), view(boxes), spatial_scale, align, sampling_ratio, view(gradient),
                         launch(grad, **place))
    return gradient


def _context(ctx, inputs, output):
    input, boxes, ctx.scale, _, _, *ctx.rest = inputs
    ctx.save_for_backward(boxes)
    ctx.place = input.shape[0], input.shape[2], input.shape[3]


def _backward_context(ctx, inputs, output):
    grad, boxes, _, _, _, ctx.scale, *ctx.rest = inputs
    ctx.save_for_backward(boxes)
    ctx.size = grad.shape[2:]


def _register(name, align, extra=""):
    """The op, its backward, and the op again as the backward of that, since both are linear.

    Args:
        name: of the op.
        align: the kernels' rule.
        extra: further arguments in the schema; the kernels' sampling_ratio, or nothing.
    """
    back = f"{name}_backward"

    def kernel(input, boxes, spatial_scale, rows, columns, sampling_ratio=-1):
        return _run(name, input, boxes, spatial_scale, rows, columns, align, sampling_ratio)

    def fake(input, boxes, spatial_scale, rows, columns, sampling_ratio=-1):
        return _output(input, boxes, rows, columns)

    def backward(ctx, grad):
        run = getattr(torch.ops.roikit, back)
        gradient = run(grad, ctx.saved_tensors[0], *ctx.place, ctx.scale, *ctx.rest)
        return gradient, None, None, None, None, *[None] * len(ctx.rest)

    def back_kernel(grad, boxes, images, height, width, spatial_scale, sampling_ratio=-1):
        return _run_backward(name, grad, boxes, images, height, width, spatial_scale, align, sampling_ratio)

    def back_fake(grad, boxes, images, height, width, spatial_scale, sampling_ratio=-1):
        return _gradient(grad, images, height, width)

    def back_backward(ctx, grad):
        run = getattr(torch.ops.roikit, name)
        again = run(grad, ctx.saved_tensors[0], ctx.scale, *ctx.size, *ctx.rest)
        return again, None, None, None, None, None, *[None] * len(ctx.rest)

    register(f"{name}(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
             f"{extra}) -> Tensor", kernel, fake, backward=backward, setup_context=_context,
             tangents={"input": linear})
    register(f"{back}(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, float spatial_scale"
             f"{extra}) -> Tensor", back_kernel, back_fake, backward=back_backward, setup_context=_backward_context,
             tangents={"grad": linear})
    autocast_boxes(name)


_register("ps_roi_align", True, ", int sampling_ratio")
_register("ps_roi_pool", False)
