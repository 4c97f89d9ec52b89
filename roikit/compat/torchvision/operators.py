"""torchvision's operators: the schemas, and the kernels and gradients that roikit has for them.

torchvision's Python calls ``torch.ops.torchvision.nms`` and its like, which its binary defines. What is here takes
their arguments, in their order, and gives what they give.
"""

import torch

import roikit.ops
from roikit.ops._derivatives import autograd_kernel
from roikit.ops._opaque import opaque

__all__ = ["KERNELS", "SCHEMAS", "cuda_version", "missing", "register_gradients"]

_SIZES = "SymInt pooled_height, SymInt pooled_width"
_INPUT = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
_CONVOLUTION = (
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
    "SymInt groups, SymInt offset_groups, bool use_mask"
)
SCHEMAS = (
    "_cuda_version() -> int",
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align(Tensor input, Tensor rois, float spatial_scale, {_SIZES}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, {_SIZES}, {_INPUT}, int sampling_ratio, "
    "bool aligned) -> Tensor",
    "qroi_align(Tensor input, Tensor rois, float input_scale, int input_zero_point, float rois_scale, "
    f"int rois_zero_point, float spatial_scale, {_SIZES}, int sampling_ratio, bool aligned) -> Tensor",
    f"ps_roi_align(Tensor input, Tensor rois, float spatial_scale, {_SIZES}, int sampling_ratio) -> (Tensor, Tensor)",
    f"_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, {_SIZES}, "
    f"int sampling_ratio, {_INPUT}) -> Tensor",
    f"roi_pool(Tensor input, Tensor rois, float spatial_scale, {_SIZES}) -> (Tensor, Tensor)",
    f"_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float spatial_scale, {_SIZES}, {_INPUT}) -> Tensor",
    f"ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, {_SIZES}) -> (Tensor, Tensor)",
    f"_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, {_SIZES}, "
    f"{_INPUT}) -> Tensor",
    f"deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, {_CONVOLUTION}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
    f"{_CONVOLUTION}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor",
)


def _wide(rois):
    return rois.float() if rois.dtype in (torch.float16, torch.bfloat16) else rois


def _nms(dets, scores, iou_threshold):
    return roikit.ops.nms(dets, scores, iou_threshold)


def _roi_align(input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned):
    out = roikit.ops.roi_align(input, rois, (pooled_height, pooled_width), spatial_scale, sampling_ratio, aligned)
    return out.contiguous()  # torchvision's meta function promises it


def _roi_align_backward(grad, rois, spatial_scale, pooled_height, pooled_width, batch_size, channels, height, width,
                        sampling_ratio, aligned):
    return torch.ops.roikit.roi_align_backward(grad.contiguous(), _wide(rois), batch_size, height, width, False,
                                               spatial_scale, sampling_ratio, aligned)


def _roi_pool(input, rois, spatial_scale, pooled_height, pooled_width):
    if input.device != rois.device:
        raise ValueError(f"roi_pool: input and rois must be on the same device, got {input.device} and {rois.device}")
    out, argmax = torch.ops.roikit.roi_pool(input, _wide(rois), spatial_scale, pooled_height, pooled_width)
    return out.contiguous(), argmax.contiguous()


def _roi_pool_backward(grad, rois, argmax, spatial_scale, pooled_height, pooled_width, batch_size, channels, height,
                       width):
    return torch.ops.roikit.roi_pool_backward(grad.contiguous(), argmax, _wide(rois), batch_size, height, width, False)


def _channel_mapping(out):
    """Which input channel each value of a position-sensitive op is from; torchvision keeps it for the gradient."""
    channels = torch.arange(out.shape[1:].numel(), dtype=torch.int32, device=out.device)
    return channels.reshape(out.shape[1:]).expand(out.shape).contiguous()


def _ps_roi_align(input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio):
    out = roikit.ops.ps_roi_align(input, rois, (pooled_height, pooled_width), spatial_scale, sampling_ratio)
    return out, _channel_mapping(out)


def _ps_roi_align_backward(grad, rois, channel_mapping, spatial_scale, pooled_height, pooled_width, sampling_ratio,
                           batch_size, channels, height, width):
    return torch.ops.roikit.ps_roi_align_backward(grad, _wide(rois), batch_size, height, width, spatial_scale,
                                                  sampling_ratio)


def _ps_roi_pool(input, rois, spatial_scale, pooled_height, pooled_width):
    out = roikit.ops.ps_roi_pool(input, rois, (pooled_height, pooled_width), spatial_scale)
    return out, _channel_mapping(out)


def _ps_roi_pool_backward(grad, rois, channel_mapping, spatial_scale, pooled_height, pooled_width, batch_size,
                          channels, height, width):
    return torch.ops.roikit.ps_roi_pool_backward(grad, _wide(rois), batch_size, height, width, spatial_scale)


def _box_iou_rotated(boxes1, boxes2):
    return roikit.ops.box_iou_rotated(boxes1, boxes2)


def _deform_conv2d(input, weight, offset, mask, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups,
                   offset_groups, use_mask):
    rule = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    return roikit.ops.deform_conv2d(input, offset, weight, bias, *rule, mask if use_mask else None).contiguous()


def _deform_conv2d_backward(grad, input, weight, offset, mask, bias, stride_h, stride_w, pad_h, pad_w, dilation_h,
                            dilation_w, groups, offset_groups, use_mask):
    of_input, of_offset, of_weight, of_bias, of_mask = torch.ops.roikit.deform_conv2d_backward(
        grad, input, offset, weight, mask if use_mask else None, (stride_h, stride_w), (pad_h, pad_w),
        (dilation_h, dilation_w), [True] * 5)
    return of_input.contiguous(), of_weight, of_offset, of_mask if use_mask else torch.zeros_like(mask), of_bias


def cuda_version():
    return -1  # "built without CUDA"


KERNELS = {
    "nms": _nms,
    "roi_align": _roi_align,
    "_roi_align_backward": _roi_align_backward,
    "ps_roi_align": _ps_roi_align,
    "_ps_roi_align_backward": _ps_roi_align_backward,
    "ps_roi_pool": _ps_roi_pool,
    "_ps_roi_pool_backward": _ps_roi_pool_backward,
    "roi_pool": _roi_pool,
    "_roi_pool_backward": _roi_pool_backward,
    "box_iou_rotated": _box_iou_rotated,
    "deform_conv2d": _deform_conv2d,
    "_deform_conv2d_backward": _deform_conv2d_backward,
}


def missing(name):
    def kernel(*args):
        raise NotImplementedError(f"torchvision::{name}: torchvision's own binary did not load, and roikit has no "
                                  "kernel for this operator")
    return kernel


def register_gradients(library):
    """For releases of torchvision whose gradients are in the binary."""

    def keep(ctx, inputs, output):
        input, rois, *rest = inputs
        argmax = output[1:] if isinstance(output, tuple) else ()
        ctx.save_for_backward(rois, *argmax)
        ctx.shape, ctx.rest = input.shape, rest

    def align(ctx, grad):
        scale, height, width, ratio, aligned = ctx.rest
        back = torch.ops.torchvision._roi_align_backward(grad, *ctx.saved_tensors, scale, height, width, *ctx.shape,
                                                         ratio, aligned)
        return (back, *[None] * 6)

    def pool(ctx, grad, _):
        back = torch.ops.torchvision._roi_pool_backward(grad, *ctx.saved_tensors, *ctx.rest, *ctx.shape)
        return (back, *[None] * 4)

    def ps_align(ctx, grad, _):
        scale, height, width, ratio = ctx.rest
        back = torch.ops.torchvision._ps_roi_align_backward(grad, *ctx.saved_tensors, scale, height, width, ratio,
                                                            *ctx.shape)
        return (back, *[None] * 5)

    def ps_pool(ctx, grad, _):
        back = torch.ops.torchvision._ps_roi_pool_backward(grad, *ctx.saved_tensors, *ctx.rest, *ctx.shape)
        return (back, *[None] * 4)

    def keep_all(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:5])
        ctx.rest = inputs[5:]

    def convolution(ctx, grad):
        back = torch.ops.torchvision._deform_conv2d_backward(grad, *ctx.saved_tensors, *ctx.rest)
        return (*back, *[None] * 9)

    for name, backward, context in (("deform_conv2d", convolution, keep_all), ("roi_align", align, keep),
                                    ("roi_pool", pool, keep), ("ps_roi_align", ps_align, keep),
                                    ("ps_roi_pool", ps_pool, keep)):
        derivative = autograd_kernel(getattr(torch.ops.torchvision, name).default, backward, context, {})
        library.impl(name, opaque(derivative), "Autograd", with_keyset=True)
