"""What `deform_conv2d` and its gradient check."""

from roikit import _check
from roikit._check import FLOATS, dtype_name, pair, shape_text


def convolution(op, input, offset, weight, bias, stride, padding, dilation, mask, casts=False):
    """The arguments of a deformable convolution fit each other.

    Args:
        casts: all that is not float64 will be cast to float32; else all have the dtype of the input.

    Returns:
        stride, padding, dilation as (y, x), and the shape (N, O, OH, OW) of the output.
    """
    rule = pair(op, "stride", stride), pair(op, "padding", padding, 0), pair(op, "dilation", dilation)
    given = {"input": input, "offset": offset, "weight": weight, "bias": bias, "mask": mask}
    for name, x in given.items():
        if x is not None or name in ("input", "offset", "weight"):
            _check.array(op, name, x)
            first = dtype_name(input)
            allowed = FLOATS if name == "input" else FLOATS[:3] if casts and first != "float64" else (first,)
            _check.dtype(op, name, x, allowed)
    _check.rank(op, "input", input, ("N", "C", "H", "W"))
    _check.rank(op, "weight", weight, ("O", "C / groups", "KH", "KW"))
    (images, channels), outputs, kernel = input.shape[:2], weight.shape[0], tuple(weight.shape[2:])
    if 0 in tuple(weight.shape) or channels == 0 or channels % weight.shape[1]:
        raise ValueError(f"{op}: weight must have shape (O, C / groups, KH, KW), none of them 0, for input "
                         f"{shape_text(input)}, got {shape_text(weight)}")
    groups = channels // weight.shape[1]
    if outputs % groups:
        raise ValueError(f"{op}: weight must have a multiple of {groups} outputs, one share a group, got {outputs}")
    if bias is not None:
        _check.vector(op, "bias", bias, outputs, "weight")
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(input.shape[2:], kernel, *rule, strict=True)]
    if min(size) < 1:
        raise ValueError(f"{op}: input {shape_text(input)} is too small for a kernel of {kernel[0]} x {kernel[1]} with "
                         f"padding {rule[1]} and dilation {rule[2]}")
    taps = kernel[0] * kernel[1]
    _check.rank(op, "offset", offset, ("N", "2 * DG * KH * KW", "OH", "OW"))
    shared = offset.shape[1] // (2 * taps)
    if (offset.shape[1] % (2 * taps) or shared == 0 or channels % shared
            or (offset.shape[0], *offset.shape[2:]) != (images, *size)):
        raise ValueError(f"{op}: offset must have shape ({images}, 2 * DG * {taps}, {size[0]}, {size[1]}) with DG "
                         f"dividing {channels} channels, got {shape_text(offset)}")
    if mask is not None and tuple(mask.shape) != (images, shared * taps, *size):
        raise ValueError(f"{op}: mask must have shape ({images}, {shared * taps}, {size[0]}, {size[1]}), got "
                         f"{shape_text(mask)}")
    return *rule, (images, outputs, *size)
