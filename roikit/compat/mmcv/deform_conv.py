"""mmcv.ops: deform_conv and modulated_deform_conv."""

import torch

from roikit.compat._arguments import renamed
from roikit.compat._deform import DeformableConvolution, check_axes, convolve

__all__ = ["DeformConv2d", "DeformConv2dPack", "ModulatedDeformConv2d", "ModulatedDeformConv2dPack", "deform_conv2d",
           "modulated_deform_conv2d"]


def deform_conv2d(input, offset, weight, stride=1, padding=0, dilation=1, groups=1, deform_groups=1, bias=False,
                  im2col_step=32):
    """mmcv.ops.deform_conv2d; the order of arguments is not torchvision's.

    Args:
        input, offset, weight, stride, padding, dilation: as in roikit.ops.deform_conv2d; input and weight are cast to
            the dtype of offset.
        groups, deform_groups: must fit the shapes of weight and offset.
        bias: must be False.
        im2col_step: not used; any size of a batch will do.

    Returns:
        (N, O, OH, OW), the dtype of offset. Differentiable in every tensor.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.deform_conv2d; a bias.
    """
    if bias:
        raise ValueError("deform_conv2d: bias must be False")
    check_axes("deform_conv2d", input=input, offset=offset, weight=weight)
    return convolve("deform_conv2d", input.type_as(offset), offset, weight.type_as(offset), None, stride, padding,
                    dilation, groups, deform_groups)


def modulated_deform_conv2d(input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1,
                            deform_groups=1):
    """mmcv.ops.modulated_deform_conv2d; mask comes before weight.

    Args, returns, errors: as `deform_conv2d`; mask and bias as in roikit.ops.deform_conv2d, cast like the others.
    """
    check_axes("modulated_deform_conv2d", input=input, offset=offset, mask=mask, weight=weight)
    bias = None if bias is None else bias.type_as(offset)
    return convolve("modulated_deform_conv2d", input.type_as(offset), offset, weight.type_as(offset), bias, stride,
                    padding, dilation, groups, deform_groups, mask.type_as(offset))


class _DeformableConvolution(DeformableConvolution):
    SHOWN = (*DeformableConvolution.SHOWN, "deform_groups")


class DeformConv2d(_DeformableConvolution):
    """mmcv.ops.DeformConv2d. Input: features (N, in_channels, H, W); offset.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups: as in torch.nn.Conv2d.
        deform_groups: groups of offsets.
        bias: must be False.
        im2col_step: not used.
    """

    @renamed(deformable_groups="deform_groups")
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1,
                 deform_groups=1, bias=False, im2col_step=32):
        if bias:
            raise ValueError("DeformConv2d: bias must be False")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, False)
        self.deform_groups, self.im2col_step = deform_groups, im2col_step

    def forward(self, x, offset):
        return deform_conv2d(x, offset, self.weight, self.stride, self.padding, self.dilation, self.groups,
                             self.deform_groups)


class ModulatedDeformConv2d(_DeformableConvolution):
    """mmcv.ops.ModulatedDeformConv2d. Input: features (N, in_channels, H, W); offset; mask.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in torch.nn.Conv2d.
        deform_groups: groups of offsets and of the mask.
    """

    @renamed(deformable_groups="deform_groups")
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1,
                 deform_groups=1, bias=True):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.deform_groups = deform_groups
        bound = (in_channels * self.kernel_size[0] * self.kernel_size[1]) ** -0.5
        torch.nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x, offset, mask):
        return modulated_deform_conv2d(x, offset, mask, self.weight, self.bias, self.stride, self.padding,
                                       self.dilation, self.groups, self.deform_groups)


def _offsets(module, channels):
    """The convolution, at first 0, that gives each tap ``channels`` numbers."""
    taps = module.deform_groups * module.kernel_size[0] * module.kernel_size[1]
    conv = torch.nn.Conv2d(module.in_channels, channels * taps, module.kernel_size, module.stride, module.padding,
                           module.dilation)
    torch.nn.init.zeros_(conv.weight)
    torch.nn.init.zeros_(conv.bias)
    return conv


class DeformConv2dPack(DeformConv2d):
    """mmcv.ops.DeformConv2dPack: `DeformConv2d` that finds its offsets itself."""

    def __init__(self, *args, **arguments):
        super().__init__(*args, **arguments)
        self.conv_offset = _offsets(self, 2)

    def forward(self, x):
        return super().forward(x, self.conv_offset(x))


class ModulatedDeformConv2dPack(ModulatedDeformConv2d):
    """mmcv.ops.ModulatedDeformConv2dPack: `ModulatedDeformConv2d` that finds its offsets and its mask itself."""

    def __init__(self, *args, **arguments):
        super().__init__(*args, **arguments)
        self.conv_offset = _offsets(self, 3)

    def forward(self, x):
        out = self.conv_offset(x)
        taps = out.shape[1] // 3
        return super().forward(x, out[:, : 2 * taps], out[:, 2 * taps :].sigmoid())
