"""Deformable convolution on tensors, differentiable in all of them."""

import math

import torch

from roikit import _check, _core
from roikit._check.deform_conv import convolution
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import implement, register
from roikit.ops._maps import empty_map, in_format, in_own_format, stored_channels_last

__all__ = ["DeformConv2d", "deform_conv2d"]

_COLUMNS = 1 << 28  # CUDA: bytes of columns that are held at a time, unless one image has more


@torch.fx.wrap
def deform_conv2d(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None):
    """Convolve ``input`` with a kernel whose taps are moved by ``offset`` and weighed by ``mask``.

    Args:
        input: (N, C, H, W) float16, bfloat16, float32 or float64, contiguous or channels_last (others are copied).
        offset: (N, 2 * DG * KH * KW, OH, OW), pixels of the input, y then x of each tap; DG divides C.
        weight: (O, C / G, KH, KW); G divides O.
        bias: (O,), or None.
        stride, padding, dilation: a whole number or (y, x).
        mask: (N, DG * KH * KW, OH, OW), what each sample is multiplied with; None is ones. All tensors have the dtype
            of ``input``; under autocast they are cast to float32, and the result back to the dtype of ``input``.

    Returns:
        (N, O, OH, OW), the dtype of ``input``, and channels_last where it is; OH = (H + 2 * padding - dilation *
        (KH - 1) - 1) // stride + 1. A sample beyond the map, or not finite, is 0 and has no gradient. Once
        differentiable in every tensor.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.

    On CUDA matrices are multiplied by torch, with its settings (TF32, sums in half), and half samples are rounded
    before; the gradient of the input is added up in an order that changes from run to run, unless
    ``torch.use_deterministic_algorithms(True)`` asks for a fixed one.

    Source: Dai et al. 2017, arXiv:1703.06211; Zhu et al. 2019, arXiv:1811.11168.
    """
    op = "deform_conv2d"
    given = {name: x for name, x in (("bias", bias), ("mask", mask)) if x is not None}
    *rule, _ = convolution(op, input, offset, weight, bias, stride, padding, dilation, mask, casts=_casts(input))
    _check.same_device(op, input=input, offset=offset, weight=weight, **given)
    return torch.ops.roikit.deform_conv2d(input, offset, weight, bias, *map(list, rule), mask)


def _casts(x):
    """Whether autocast is on where ``x`` is, so that dtypes may differ before it makes them float32."""
    return isinstance(x, torch.Tensor) and x.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(x.device.type)


class DeformConv2d(torch.nn.Module):
    """`deform_conv2d` with a weight and a bias of its own; torchvision's constructor.

    Input: features (N, in_channels, H, W), offset, and optionally mask.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        super().__init__()
        name = "DeformConv2d"
        self.in_channels = _check.whole(name, "in_channels", in_channels, 1)
        self.out_channels = _check.whole(name, "out_channels", out_channels, 1)
        self.kernel_size = _check.pair(name, "kernel_size", kernel_size)
        self.stride = _check.pair(name, "stride", stride)
        self.padding = _check.pair(name, "padding", padding, 0)
        self.dilation = _check.pair(name, "dilation", dilation)
        self.groups = _check.whole(name, "groups", groups, 1)
        for argument, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name}: {argument} must be divisible by groups = {groups}, got {channels}")
        self.weight = torch.nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        if bias:
            self.bias = torch.nn.Parameter(torch.empty(out_channels))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        """As torch's convolutions: uniform within 1 / sqrt(fan_in)."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        torch.nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            torch.nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input, offset, mask=None):
        return deform_conv2d(input, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask)

    def extra_repr(self):
        """As torch's convolutions and torchvision's: without what has its default."""
        more = (("padding", self.padding, (0, 0)), ("dilation", self.dilation, (1, 1)), ("groups", self.groups, 1),
                ("bias", self.bias is not None, True))
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
                + "".join(f", {name}={value}" for name, value, default in more if value != default))


def _view(t):
    return None if t is None else view(t)


def _whole(*tensors):
    return (None if t is None else t.contiguous() for t in tensors)


def _parts(input, weight, places):
    """CUDA: the images in runs whose columns fit into _COLUMNS bytes, and the shape of an image's columns."""
    groups, taps = input.shape[1] // weight.shape[1], weight.shape[2] * weight.shape[3]
    size = max(1, _COLUMNS // (input.shape[1] * taps * places * input.element_size()))
    return groups, [slice(i, min(i + size, input.shape[0])) for i in range(0, input.shape[0], size)]


def _columns(core, input, offset, mask, weight, rule):
    columns = input.new_empty((input.shape[1], weight.shape[2] * weight.shape[3], input.shape[0],
                               offset.shape[2] * offset.shape[3]))
    core.deform_conv2d_columns(view(input), view(offset), _view(mask), view(weight), *rule, view(columns),
                               launch(input))
    return columns


def _of(images, t):
    return None if t is None else t[images]


def _forward(input, offset, weight, bias, stride, padding, dilation, mask):
    last, rule = stored_channels_last([input]), (stride, padding, dilation)
    offset, weight, bias, mask = _whole(offset, weight, bias, mask)
    core = backend(input, "deform_conv2d")
    shape = input.shape[0], weight.shape[0], *offset.shape[2:]
    output = empty_map(input, shape, last and core is _core)
    if core is _core:
        (input,) = in_format([input], last)
        core.deform_conv2d(view(input), view(offset), _view(mask), view(weight), _view(bias), *rule, view(output),
                           launch(output))
        return output
    input, places = input.contiguous(), shape[2] * shape[3]
    groups, parts = _parts(input, weight, places)
    matrix = weight.reshape(groups, shape[1] // groups, -1)
    with torch.autocast(input.device.type, enabled=False):
        for images in parts:
            columns = _columns(core, input[images], offset[images], _of(images, mask), weight, rule)
            columns = columns.view(groups, matrix.shape[2], -1)
            if bias is None:
                product = torch.bmm(matrix, columns)
            else:
                product = torch.baddbmm(bias.view(groups, -1, 1), matrix, columns)
            output[images] = product.view(shape[1], -1, *shape[2:]).transpose(0, 1)
    return output.contiguous(memory_format=torch.channels_last) if last else output


def _forward_fake(input, offset, weight, bias, stride, padding, dilation, mask):
    shape = input.shape[0], weight.shape[0], *offset.shape[2:]
    return empty_map(input, shape, stored_channels_last([input]))


def _empty_gradients(input, offset, weight, mask, wanted):
    """For input, offset, weight, bias and mask; of no entries where not wanted."""
    last = stored_channels_last([input])
    shapes = (input.shape, offset.shape, weight.shape, weight.shape[:1], None if mask is None else mask.shape)
    return [input.new_empty((0,)) if not want or shape is None
            else empty_map(input, shape, True) if name == "input" and last else input.new_empty(shape)
            for name, shape, want in zip(("input", "offset", "weight", "bias", "mask"), shapes, wanted, strict=True)]


def _backward(grad, input, offset, weight, mask, stride, padding, dilation, wanted):
    wanted = [*wanted[:4], wanted[4] and mask is not None]
    gradients = _empty_gradients(input, offset, weight, mask, wanted)
    rule, core = (stride, padding, dilation), backend(grad, "deform_conv2d_backward")
    offset, weight, mask = _whole(offset, weight, mask)
    if core is _core:
        input, grad = in_own_format(input), in_own_format(grad)
        of_input, of_offset, of_weight, of_bias, of_mask = (
            view(t) if want else None for t, want in zip(gradients, wanted, strict=True))
        core.deform_conv2d_backward(view(grad), view(input), view(offset), _view(mask), view(weight), *rule, of_input,
                                    of_offset, of_mask, of_weight, of_bias, launch(grad))
        return tuple(gradients)
    with torch.autocast(input.device.type, enabled=False):
        _backward_in_steps(core, grad, input.contiguous(), offset, weight, mask, rule, gradients, wanted)
    return tuple(gradients)


def _backward_in_steps(core, grad, input, offset, weight, mask, rule, gradients, wanted):
    of_input, of_offset, of_weight, of_bias, of_mask = gradients
    outputs, places = weight.shape[0], offset.shape[2] * offset.shape[3]
    groups, parts = _parts(input, weight, places)
    matrix = weight.reshape(groups, outputs // groups, -1)
    wide = torch.promote_types(input.dtype, torch.float32)
    sums = torch.zeros_like(matrix, dtype=wide)
    for images in parts:
        here = input[images], offset[images], _of(images, mask)
        grads = grad[images].reshape(-1, outputs, places).transpose(0, 1).reshape(groups, outputs // groups, -1)
        if wanted[0] or wanted[1] or wanted[4]:
            columns = torch.bmm(matrix.transpose(1, 2), grads)
            columns = columns.view(input.shape[1], -1, here[0].shape[0], places)
            if wanted[1] or wanted[4]:
                core.deform_conv2d_positions(view(columns), *map(_view, here), view(weight), *rule,
                                             view(of_offset[images]) if wanted[1] else None,
                                             view(of_mask[images]) if wanted[4] else None, launch(input))
            if wanted[0]:
                of_input[images] = _input_gradient(core, columns, *here, weight, rule, wide)
        if wanted[2]:
            columns = _columns(core, *here, weight, rule).view(groups, matrix.shape[2], -1)
            sums += torch.bmm(grads, columns.transpose(1, 2))
    if wanted[2]:
        of_weight.copy_(sums.view(weight.shape))
    if wanted[3]:
        of_bias.copy_(grad.sum((0, 2, 3), dtype=wide))


def _input_gradient(core, columns, input, offset, mask, weight, rule, wide):
    """From the gradient of the columns, that of the input, of dtype ``wide``."""
    sums = torch.empty_like(input, dtype=wide)
    given = view(offset), _view(mask), view(weight), *rule
    if not torch.are_deterministic_algorithms_enabled():
        core.deform_conv2d_scatter(view(columns), *given, view(sums), launch(input))
        return sums
    taps = weight.shape[2] * weight.shape[3]
    groups, pixels = offset.shape[1] // (2 * taps), input.shape[2] * input.shape[3]
    keys = torch.empty(2 * offset.numel(), dtype=torch.int64, device=input.device)
    core.deform_conv2d_keys(view(input), view(offset), view(weight), *rule, view(keys), launch(input))
    keys, order = torch.sort(keys, stable=True)
    runs = torch.arange(input.shape[0] * groups * pixels + 1, device=input.device)
    starts = torch.searchsorted(keys, runs)
    core.deform_conv2d_gather(view(columns), *given, view(order), view(starts), view(sums), launch(input))
    return sums


def _backward_fake(grad, input, offset, weight, mask, stride, padding, dilation, wanted):
    return tuple(_empty_gradients(input, offset, weight, mask, wanted))


def _context(ctx, inputs, output):
    input, offset, weight, bias, *ctx.rule, mask = inputs
    ctx.save_for_backward(input, offset, weight, mask)


def _gradients(ctx, grad):
    wanted = [ctx.needs_input_grad[i] for i in (0, 1, 2, 3, 7)]
    found = torch.ops.roikit.deform_conv2d_backward(grad, *ctx.saved_tensors, *ctx.rule, wanted)
    of_input, of_offset, of_weight, of_bias, of_mask = (
        t if want else None for t, want in zip(found, wanted, strict=True))
    return of_input, of_offset, of_weight, of_bias, None, None, None, of_mask


def _tangent(op, place, tangent, inputs, output):
    """By input, weight or mask: the op without its bias is linear in each."""
    inputs = [*inputs[:3], None, *inputs[4:]]
    return linear(op, place, tangent, inputs, output)


def _bias_tangent(op, place, tangent, inputs, output):
    return tangent[:, None, None].expand_as(output)


def _backward_gradients(ctx, *grads):
    raise NotImplementedError("deform_conv2d: it can be differentiated once; its gradients have no gradients")


register("deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, "
         "SymInt[] dilation, Tensor? mask) -> Tensor",
         _forward, _forward_fake, backward=_gradients, setup_context=_context,
         tangents={"bias": _bias_tangent, **dict.fromkeys(("input", "weight", "mask"), _tangent)})
register("deform_conv2d_backward(Tensor grad, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
         "SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool[] wanted) "
         "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
         _backward, _backward_fake, backward=_backward_gradients, setup_context=lambda ctx, inputs, output: None,
         tangents={"grad": linear})


def _autocast(device):
    """Under autocast: in float32, and the result in the input's dtype, as torchvision has it."""

    def rule(input, offset, weight, bias, stride, padding, dilation, mask):
        with torch.autocast(device, enabled=False):
            *wide, last = (t if t is None or t.dtype == torch.float64 else t.float()
                           for t in (input, offset, weight, bias, mask))
            return torch.ops.roikit.deform_conv2d(*wide, stride, padding, dilation, last).to(input.dtype)

    return rule


for _device in ("cpu", "cuda"):
    implement("deform_conv2d", _autocast(_device), f"Autocast{_device.upper()}")
