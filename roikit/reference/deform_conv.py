"""Deformable convolution: each tap of the kernel samples the input where an offset says, bilinearly.

A, the accumulate type: float32 for float16 and float32, float64 for float64. All arguments have one dtype; the result
is rounded to it once.

Output place (oy, ox), tap (ky, kx), offset group g, channels of the group, all in A and in this order:

- y = (oy * stride - padding + ky * dilation) + offset[n, 2 * ((g * KH + ky) * KW + kx), oy, ox], and x likewise with
  the channel after it.
- A sample counts if -1 < y < H and -1 < x < W; any other, NaN and infinity among them, is 0 and has no gradient.
- low = floor(y), f = y - low; rows low and low + 1 weigh 1 - f and f, columns likewise; a pixel beyond the map is 0.
- output[n, o, oy, ox] = bias[o] + sum over taps and channels of the group of weight * mask * sample.

The derivative of a sample by y is that of floor's cell, so at a whole y the one to the right.

Groups: weight (O, C / G, KH, KW), its group of channel c is c // (C / G), and outputs are divided alike. Offsets
(N, 2 * DG * KH * KW, OH, OW), their group of channel c is c // (C / DG).

Bound. Implementations may add in any order and fold the mask into weights. Each element of the result and of a
gradient lies within TOLERANCE[dtype] * ``magnitudes``. With n terms and u = 2**-24 that is (n + 8) * u at most on each
side, under 1e-5 up to n = 76; longer sums stay inside as rounding errors mostly cancel. Half allows for samples that
are rounded to half before they are multiplied, as matrix products on a GPU take them.

Source: Dai et al. 2017, arXiv:1703.06211; Zhu et al. 2019, arXiv:1811.11168 (the mask); layout and border as
torchvision's.
"""

import numpy as np

from roikit.reference.arguments import pair

__all__ = ["deform_conv2d", "deform_conv2d_backward"]

TOLERANCE = {"bfloat16": 3 * 2.0**-8, "float16": 3 * 2.0**-11, "float32": 1e-5, "float64": 1e-13}


def split(weight, groups, *maps):
    """weight as (G, O / G, C / G, K) and maps (N, O, OH, OW) as (N, G, O / G, OH, OW)."""
    outputs, channels = weight.shape[:2]
    weight = weight.reshape(groups, outputs // groups, channels, -1)
    return weight, *(m.reshape(len(m), groups, outputs // groups, *m.shape[2:]) for m in maps)


def cells(input, offset, mask, weight, stride, padding, dilation):
    """The four pixels of every sample, for each channel.

    Returns:
        value, weight, A, and row, column, int64, of pixel t: (4, N, C, K, OH, OW); weight and value 0 beyond the map.
        fy, fx, A (N, C, K, OH, OW), and mask likewise, 0 where the sample does not count.
    """
    accumulate = np.result_type(input.dtype, np.float32)
    images, channels, height, width = input.shape
    kernel, (rows, columns) = weight.shape[2:], offset.shape[2:]
    groups = offset.shape[1] // (2 * kernel[0] * kernel[1])
    offset = offset.astype(accumulate).reshape(images, groups, *kernel, 2, rows, columns)
    start = [np.arange(n) * s - p for n, s, p in zip((rows, columns), stride, padding, strict=True)]
    tap = [np.arange(n) * d for n, d in zip(kernel, dilation, strict=True)]
    y = (start[0][:, None] + tap[0][:, None, None, None]).astype(accumulate) + offset[..., 0, :, :]
    x = (start[1] + tap[1][:, None, None]).astype(accumulate) + offset[..., 1, :, :]
    counts = (y > -1) & (y < height) & (x > -1) & (x < width)
    factor = np.ones_like(y) if mask is None else mask.astype(accumulate).reshape(y.shape)

    def each_channel(a):
        return a.reshape(images, groups, kernel[0] * kernel[1], rows, columns).repeat(channels // groups, axis=1)

    y, x, factor = (each_channel(np.where(counts, a, 0)) for a in (y, x, factor))
    low_y, low_x = np.floor(y), np.floor(x)
    fy, fx = y - low_y, x - low_x
    n, c = np.ogrid[:images, :channels]
    n, c = (i[..., None, None, None] for i in (n, c))
    corners = []
    for t in range(4):
        row, column = low_y.astype(np.int64) + t // 2, low_x.astype(np.int64) + t % 2
        there = each_channel(counts) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        row, column = np.where(there, row, 0), np.where(there, column, 0)
        share = (fy if t // 2 else 1 - fy) * (fx if t % 2 else 1 - fx)
        value = input[n, c, row, column].astype(accumulate) if input.size else np.zeros_like(share)
        corners.append((np.where(there, value, 0), np.where(there, share, 0), row, column))
    return *map(np.stack, zip(*corners, strict=True)), fy, fx, factor


def deform_conv2d(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None):
    """Convolve ``input`` with a kernel whose taps are moved by ``offset``. The module states the rule.

    Args:
        input: (N, C, H, W) float16, float32 or float64.
        offset: (N, 2 * DG * KH * KW, OH, OW), pixels of the input; y, then x, of each tap.
        weight: (O, C / G, KH, KW).
        bias: (O,), or None.
        stride, padding, dilation: a number or (y, x).
        mask: (N, DG * KH * KW, OH, OW), what each sample is multiplied with; None is ones.

    Returns:
        (N, O, OH, OW), the dtype of ``input``; OH = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1.
    """
    rule = pair(stride), pair(padding), pair(dilation)
    value, share, _, _, _, _, factor = cells(input, offset, mask, weight, *rule)
    samples = factor * (value * share).sum(axis=0)
    groups = input.shape[1] // weight.shape[1]
    grouped, = split(weight.astype(samples.dtype), groups)
    samples = samples.reshape(len(input), groups, weight.shape[1], *samples.shape[2:])
    output = np.einsum("gock,ngckyx->ngoyx", grouped, samples)
    output = output.reshape(len(input), len(weight), *offset.shape[2:])
    if bias is not None:
        output = output + bias.astype(output.dtype)[:, None, None]
    with np.errstate(over="ignore"):
        return output.astype(input.dtype)


def deform_conv2d_backward(grad, input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1),
                           mask=None):
    """Gradients of ``deform_conv2d`` with respect to its arrays.

    Args:
        grad: (N, O, OH, OW), the gradient of the output.
        input, offset, weight, bias, stride, padding, dilation, mask: as given to the forward pass.

    Returns:
        The gradients of input, offset, weight, bias and mask, each of its argument's shape and dtype; None where the
        argument is None.
    """
    rule = pair(stride), pair(padding), pair(dilation)
    v, share, row, column, fy, fx, factor = cells(input, offset, mask, weight, *rule)
    groups, real = input.shape[1] // weight.shape[1], fy.dtype
    grouped, grads = split(weight.astype(real), groups, grad.astype(real))
    of_samples = np.einsum("gock,ngoyx->ngckyx", grouped, grads).reshape(fy.shape)

    of_input = np.zeros(input.shape, real)
    n, c = np.ogrid[: input.shape[0], : input.shape[1]]
    if input.size:
        np.add.at(of_input, (n[..., None, None, None], c[..., None, None, None], row, column),
                  share * factor * of_samples)

    def of_group(a):
        """Sums over the channels that share their offsets: (N, DG, K, OH, OW)."""
        shared = offset.shape[1] // (2 * a.shape[2])
        return a.reshape(len(a), shared, a.shape[1] // shared, *a.shape[2:]).sum(axis=2)

    by_y = of_group(of_samples * factor * ((v[2] - v[0]) * (1 - fx) + (v[3] - v[1]) * fx))
    by_x = of_group(of_samples * factor * ((v[1] - v[0]) * (1 - fy) + (v[3] - v[2]) * fy))
    of_offset = np.stack([by_y, by_x], axis=3).reshape(offset.shape)
    of_mask = None if mask is None else of_group(of_samples * (v * share).sum(axis=0)).reshape(mask.shape)

    samples = (factor * (v * share).sum(axis=0)).reshape(len(input), groups, weight.shape[1], *fy.shape[2:])
    of_weight = np.einsum("ngoyx,ngckyx->gock", grads, samples).reshape(weight.shape)
    of_bias = None if bias is None else grad.astype(real).sum(axis=(0, 2, 3))
    with np.errstate(over="ignore"):
        return tuple(a if a is None else a.astype(input.dtype)
                     for a in (of_input, of_offset, of_weight, of_bias, of_mask))


def magnitudes(grad, input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None):
    """What TOLERANCE is relative to: the sums of their terms' absolute values, or a bound on these.

    Returns:
        float64: of the output (N, O, OH, OW), and of the gradients as `deform_conv2d_backward` has them; of the
        offsets' one number.
    """
    def absolute(a):
        return None if a is None else np.abs(a).astype(np.float64)

    arrays = absolute(input), offset.astype(np.float64), absolute(weight), absolute(bias)
    rest = stride, padding, dilation, absolute(mask)
    output = deform_conv2d(*arrays, *rest)
    of_input, _, *others = deform_conv2d_backward(absolute(grad), *arrays, *rest)
    most = 4.0 * arrays[2].sum(axis=(0, 1)).max()
    for a in (input, grad, *([] if mask is None else [mask])):
        most *= np.abs(a).max(initial=0)
    return output, (of_input, most, *others)
