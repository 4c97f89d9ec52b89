"""detectron2.layers.deform_conv."""

from roikit.compat._deform import DeformableConvolution, convolve

__all__ = ["DeformConv", "ModulatedDeformConv", "deform_conv", "modulated_deform_conv"]


def deform_conv(input, offset, weight, stride=1, padding=0, dilation=1, groups=1, deformable_groups=1, im2col_step=64):
    """detectron2.layers.deform_conv.deform_conv, on the CPU too, with every gradient.

    Args:
        input, offset, weight, stride, padding, dilation: as in roikit.ops.deform_conv2d.
        groups, deformable_groups: must fit the shapes of weight and offset.
        im2col_step: not used.

    Returns:
        (N, O, OH, OW). Differentiable in every tensor.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.deform_conv2d.
    """
    return convolve("deform_conv", input, offset, weight, None, stride, padding, dilation, groups, deformable_groups)


def modulated_deform_conv(input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1,
                          deformable_groups=1):
    """detectron2.layers.deform_conv.modulated_deform_conv, on the CPU too; mask comes before weight.

    Args, returns, errors: as `deform_conv`; mask and bias as in roikit.ops.deform_conv2d.
    """
    return convolve("modulated_deform_conv", input, offset, weight, bias, stride, padding, dilation, groups,
                    deformable_groups, mask)


class _DeformableConvolution(DeformableConvolution):
    SHOWN = (*DeformableConvolution.SHOWN, "deformable_groups")


class DeformConv(_DeformableConvolution):
    """detectron2.layers.DeformConv. Input: features (N, in_channels, H, W); offset.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups: as in torch.nn.Conv2d.
        deformable_groups: groups of offsets.
        bias: must be False.
        norm, activation: modules or functions that follow, or None.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1,
                 deformable_groups=1, bias=False, norm=None, activation=None):
        if bias:
            raise ValueError("DeformConv: bias must be False")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, False)
        self.deformable_groups, self.norm, self.activation = deformable_groups, norm, activation

    def forward(self, x, offset):
        return _run(self, x, offset)


class ModulatedDeformConv(_DeformableConvolution):
    """detectron2.layers.ModulatedDeformConv. Input: features (N, in_channels, H, W); offset; mask.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in torch.nn.Conv2d.
        deformable_groups: groups of offsets and of the mask.
        norm, activation: modules or functions that follow, or None.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1,
                 deformable_groups=1, bias=True, norm=None, activation=None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.stride, self.padding, self.dilation = stride, padding, dilation  # not as pairs: detectron2 shows them so
        self.deformable_groups, self.norm, self.activation = deformable_groups, norm, activation

    def forward(self, x, offset, mask):
        return _run(self, x, offset, mask)


def _run(module, x, offset, mask=None):
    x = convolve(type(module).__name__, x, offset, module.weight, module.bias, module.stride, module.padding,
                 module.dilation, module.groups, module.deformable_groups, mask)
    for step in (module.norm, module.activation):
        x = x if step is None else step(x)
    return x
