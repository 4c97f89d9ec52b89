"""Position-sensitive pooling on tensors, twice differentiable in the features."""

import torch

from roikit import _check
from roikit._check.ps_roi import pooling
from roikit.ops._arguments import as_map, as_rois
from roikit.ops._launch import backend, launch, view
from roikit.ops._roi_gradients import register_linear
from roikit.ops._rois import add_up, roi_kernels

__all__ = ["PSRoIAlign", "PSRoIPool", "ps_roi_align", "ps_roi_pool"]


def _arguments(op, input, boxes, output_size, spatial_scale):
    """RoIs, scale, rows and columns of bins, after the checks."""
    rois = as_rois(op, boxes, as_map(op, "input", input))
    return rois, *pooling(op, input.shape[1], output_size, spatial_scale)


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

    The end pixel of a RoI, and the last row and column of the map, are left out, as in torchvision.

    Args:
        input: (N, C * PH * PW, H, W), as in `ps_roi_align`.
        boxes: (K, 5) floating, or a list, as in `ps_roi_align`; rounded to whole pixels, and not shifted.
        output_size, spatial_scale: as in `ps_roi_align`.

    Returns:
        (K, C, PH, PW), contiguous, the dtype of ``input``; 0 for a RoI that is not finite. Twice differentiable in
        ``input``; the boxes have no gradient.

    Raises:
        TypeError, ValueError, IndexError, BackendError: as in `ps_roi_align`.

    On CUDA the gradient is added up as that of `ps_roi_align` is.

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


def _run(op, align, input, boxes, spatial_scale, rows, columns, sampling_ratio=-1):
    output, input, boxes = _output(input, boxes, rows, columns), input.contiguous(), boxes.contiguous()
    core = roi_kernels(op, output, boxes, input.shape[0])
    core.ps_roi(view(input), view(boxes), spatial_scale, align, sampling_ratio, view(output), launch(output))
    return output


def _run_backward(op, align, grad, boxes, images, height, width, spatial_scale, sampling_ratio=-1):
    grad, boxes, gradient = grad.contiguous(), boxes.contiguous(), _gradient(grad, images, height, width)
    add_up(backend(grad, op), "ps_roi_backward", grad, view(grad), view(boxes), spatial_scale, align, sampling_ratio,
           view(gradient), scratch_for=lambda exact: (view(gradient),))
    return gradient


def _register(name, align, extra=""):
    """One of the ops; ``extra`` are further arguments in its schema: the kernels' sampling_ratio, or nothing."""

    def kernel(*arguments):
        return _run(name, align, *arguments)

    def fake(input, boxes, spatial_scale, rows, columns, *_):
        return _output(input, boxes, rows, columns)

    def back_kernel(*arguments):
        return _run_backward(name, align, *arguments)

    def back_fake(grad, boxes, images, height, width, *_):
        return _gradient(grad, images, height, width)

    register_linear(
        (f"{name}(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width{extra}) "
         "-> Tensor", kernel, fake),
        (f"{name}_backward(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, float spatial_scale"
         f"{extra}) -> Tensor", back_kernel, back_fake))


_register("ps_roi_align", True, ", int sampling_ratio")
_register("ps_roi_pool", False)
