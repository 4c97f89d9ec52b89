"""What detectron2's and mmcv's deformable convolutions have in common, and the functions of their compiled modules."""

import torch

import roikit.ops
from roikit.compat._arguments import pair, shaped

__all__ = ["DeformableConvolution", "FUNCTIONS", "check_axes", "convolve"]


def check_axes(op, **tensors):
    """Each of the named is a tensor with four axes."""
    for name, x in tensors.items():
        shaped(op, name, x, *(("O", "C / groups", "KH", "KW") if name == "weight" else ("N", "C", "H", "W")))


def convolve(op, input, offset, weight, bias, stride, padding, dilation, groups, offset_groups, mask=None):
    """roikit.ops.deform_conv2d, with the numbers of groups, which it reads off the shapes, held against these."""
    check_axes(op, input=input, offset=offset, weight=weight, **({} if mask is None else {"mask": mask}))
    if weight.shape[1] * groups != input.shape[1]:
        raise ValueError(f"{op}: weight must have {input.shape[1]} / groups = {groups} input channels, "
                         f"got {weight.shape[1]}")
    taps = weight.shape[2] * weight.shape[3] * offset_groups
    for name, x, channels in (("offset", offset, 2 * taps), ("mask", mask, taps)):
        if x is not None and x.shape[1] != channels:
            raise ValueError(f"{op}: {name} must have {channels} channels for {offset_groups} groups of offsets, "
                             f"got {x.shape[1]}")
    return roikit.ops.deform_conv2d(input, offset, weight, bias, pair(stride), pair(padding), pair(dilation), mask)


class DeformableConvolution(torch.nn.Module):
    """The parameters of a deformable convolution: weight as Kaiming has it for ReLU, bias 0 or None."""

    SHOWN = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias):
        super().__init__()
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{type(self).__name__}: {name} must be divisible by groups = {groups}, "
                                 f"got {channels}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = pair(kernel_size), pair(stride)
        self.padding, self.dilation = pair(padding), pair(dilation)
        self.weight = torch.nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        torch.nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        self.register_parameter("bias", torch.nn.Parameter(torch.zeros(out_channels)) if bias else None)

    def extra_repr(self):
        return ", ".join([f"{name}={getattr(self, name)}" for name in self.SHOWN] + [f"bias={self.bias is not None}"])


def _gradients(wanted, grad_output, rule, *tensors):
    """Of input, offset, weight, bias, mask, those at the places ``wanted``."""
    with torch.enable_grad():
        x = [None if t is None else t.detach().requires_grad_(i in wanted) for i, t in enumerate(tensors)]
        out = roikit.ops.deform_conv2d(*x[:4], *rule, x[4])
        return torch.autograd.grad(out, [x[i] for i in wanted], grad_output.to(out.dtype))


def _forward(input, weight, offset, output, columns, ones, kW, kH, dW, dH, padW, padH, dilationW, dilationH, group,
             deformable_group, im2col_step):
    rule = (dH, dW), (padH, padW), (dilationH, dilationW)
    output.copy_(convolve("deform_conv_forward", input, offset, weight, None, *rule, group, deformable_group))


def _backward_input(input, offset, gradOutput, gradInput, gradOffset, weight, columns, kW, kH, dW, dH, padW, padH,
                    dilationW, dilationH, group, deformable_group, im2col_step):
    rule = (dH, dW), (padH, padW), (dilationH, dilationW)
    found = _gradients((0, 1), gradOutput, rule, input, offset, weight, None, None)
    gradInput.copy_(found[0])
    gradOffset.copy_(found[1])


def _backward_weight(input, offset, gradOutput, gradWeight, columns, ones, kW, kH, dW, dH, padW, padH, dilationW,
                     dilationH, group, deformable_group, scale, im2col_step):
    rule = (dH, dW), (padH, padW), (dilationH, dilationW)
    weight = torch.zeros_like(gradWeight)  # its own gradient does not depend on it
    gradWeight.add_(_gradients((2,), gradOutput, rule, input, offset, weight, None, None)[0], alpha=scale)


def _modulated_forward(input, weight, bias, ones, offset, mask, output, columns, kernel_h, kernel_w, stride_h, stride_w,
                       pad_h, pad_w, dilation_h, dilation_w, group, deformable_group, with_bias):
    rule = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    output.copy_(convolve("modulated_deform_conv_forward", input, offset, weight, bias if with_bias else None, *rule,
                          group, deformable_group, mask))


def _modulated_backward(input, weight, bias, ones, offset, mask, columns, grad_input, grad_weight, grad_bias,
                        grad_offset, grad_mask, grad_output, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w,
                        dilation_h, dilation_w, group, deformable_group, with_bias):
    rule = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    into = [grad_input, grad_offset, grad_weight, grad_bias, grad_mask]
    wanted = [i for i in range(5) if i != 3 or with_bias]
    found = _gradients(wanted, grad_output, rule, input, offset, weight, bias if with_bias else None, mask)
    for i, gradient in zip(wanted, found, strict=True):
        into[i].copy_(gradient)


# As both compiled modules have them; mmcv passes the arguments by name, detectron2 by place.
FUNCTIONS = {
    "deform_conv_forward": _forward,
    "deform_conv_backward_input": _backward_input,
    "deform_conv_backward_filter": _backward_weight,  # detectron2's name
    "deform_conv_backward_parameters": _backward_weight,  # mmcv's name
    "modulated_deform_conv_forward": _modulated_forward,
    "modulated_deform_conv_backward": _modulated_backward,
}
