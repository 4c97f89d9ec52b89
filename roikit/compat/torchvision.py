"""torchvision's operators on roikit's kernels, for a torchvision whose own binary is missing or does not load.

    import roikit.compat.torchvision
    roikit.compat.torchvision.install()
    import torchvision              # imports, and runs nms and the RoI ops on roikit

torchvision registers shapes and gradients for its operators from Python and counts on its binary to have defined
them. Where the binary does not fit the installed torch, `import torchvision` ends in "operator torchvision::nms does
not exist". `install` defines those operators, with the same schemas, at the moment when torchvision has found that
its binary is not there. A binary that loads is left alone.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path

import torch

import roikit.ops

__all__ = ["install"]

_EXTENSION = "torchvision.extension"
_SIZES = "SymInt pooled_height, SymInt pooled_width"
_INPUT = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
_CONVOLUTION = (
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
    "SymInt groups, SymInt offset_groups, bool use_mask"
)
_SCHEMAS = (
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


def _cuda_version():
    return -1  # "built without CUDA"


_KERNELS = {
    "nms": _nms,
    "roi_align": _roi_align,
    "_roi_align_backward": _roi_align_backward,
    "ps_roi_align": _ps_roi_align,
    "_ps_roi_align_backward": _ps_roi_align_backward,
    "ps_roi_pool": _ps_roi_pool,
    "_ps_roi_pool_backward": _ps_roi_pool_backward,
    "roi_pool": _roi_pool,
    "_roi_pool_backward": _roi_pool_backward,
}


def _missing(name):
    def kernel(*args):
        raise NotImplementedError(f"torchvision::{name}: torchvision's own binary did not load, and roikit has no "
                                  "kernel for this operator")
    return kernel


def _define(extension):
    """Give torchvision the operators that its binary would have brought; ``extension`` is its module of that name."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        name = schema.split("(", 1)[0]
        library.define(schema)
        if name == "_cuda_version":
            library.impl(name, _cuda_version, "CompositeExplicitAutograd")  # it takes no tensor, so has no device
            continue
        for key in ("CPU", "CUDA"):
            library.impl(name, _KERNELS.get(name) or _missing(name), key)
    if not (Path(extension.__file__).parent / "_autograd_registrations.py").exists():
        _register_gradients(library)
    extension._has_ops = lambda: True
    extension._roikit_library = library  # a Library takes its operators with it when it goes


def _register_gradients(library):
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

    for name, backward in (("roi_align", align), ("roi_pool", pool), ("ps_roi_align", ps_align),
                           ("ps_roi_pool", ps_pool)):
        torch.library.register_autograd(f"torchvision::{name}", backward, setup_context=keep, lib=library)


class _AfterExtension(Loader):
    """Runs torchvision.extension as ever, then fills in what its binary did not bring."""

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        if not module._has_ops():
            _define(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != _EXTENSION:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _AfterExtension(spec.loader)
                return spec
        return None


def install():
    """Let torchvision run on roikit's kernels where its own binary does not load. Calling it twice is harmless.

    Works whether or not torchvision is installed; nothing happens until it is imported.

    Raises:
        RuntimeError: torchvision was imported before, without its operators.
    """
    loaded = sys.modules.get(_EXTENSION)
    if loaded is not None:
        if not loaded._has_ops():
            raise RuntimeError("roikit.compat.torchvision.install: torchvision was imported before, without its "
                               "operators; call install() first")
        return
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
