"""RoIAlign on NumPy arrays: the compiled face of roikit.reference.roi_align."""

import numpy as np

from roikit import _check, _core
from roikit._check import roi_align as checks
from roikit.kernels._arguments import as_argmax, as_map, as_maps, as_rois
from roikit.kernels._launch import empty_map, launch, result, view

__all__ = ["multiscale_roi_align", "multiscale_roi_align_backward", "multiscale_roi_align_with_argmax", "roi_align",
           "roi_align_backward", "roi_align_boxes_backward", "roi_align_with_argmax"]


def _grad(op, grad, boxes, channels):
    grad = as_map(op, "grad", grad)
    if grad.shape[0] != len(boxes) or grad.shape[1] != channels:
        raise ValueError(f"{op}: grad must have shape ({len(boxes)}, {channels}, PH, PW), "
                         f"got {_check.shape_text(grad)}")
    return as_maps([grad])[0][0]


def _prepared(op, maps, boxes, output_size, out):
    """maps and out in one memory format, RoIs, and the shape of the bins."""
    rois = as_rois(op, boxes)
    maps, channels_last = as_maps(maps)
    shape = (len(rois), maps[0].shape[1], *_check.pair(op, "output_size", output_size))
    if out is None:
        out = empty_map(shape, maps[0].dtype, channels_last)
    elif channels_last:
        maps, out = [np.ascontiguousarray(m) for m in maps], result(op, out, shape, maps[0].dtype)
    else:
        out = result(op, out, shape, maps[0].dtype)
    return maps, out, rois, shape


def _forward(op, maps, boxes, output_size, scales, thresholds, sampling_ratio, aligned, out, threads, kind="mean"):
    maps, out, rois, shape = _prepared(op, maps, boxes, output_size, out)
    if kind == "max":
        argmax = np.empty((0, *shape[1:]), np.int32)
        return _largest(op, maps, rois, scales, thresholds, sampling_ratio, aligned, out, argmax, threads)
    _core.roi_align([view(m) for m in maps], view(rois), scales, thresholds, view(out),
                    _check.sampling(op, sampling_ratio), bool(aligned), kind == "integral",
                    launch(op, threads))
    return out


def _largest(op, maps, rois, scales, thresholds, sampling_ratio, aligned, out, argmax, threads):
    _core.roi_align_max([view(m) for m in maps], view(rois), scales, thresholds, view(out), view(argmax), False,
                        _check.sampling(op, sampling_ratio), bool(aligned), launch(op, threads))
    return out


def _with_argmax(op, maps, boxes, output_size, scales, thresholds, sampling_ratio, aligned, out, threads):
    checks.rule(op, "samples", sampling_ratio, "max")
    maps, out, rois, shape = _prepared(op, maps, boxes, output_size, out)
    argmax = empty_map(shape, np.int32, not out.flags.c_contiguous)
    _largest(op, maps, rois, scales, thresholds, sampling_ratio, aligned, out, argmax, threads)
    return out, argmax


def _backward(op, grad, boxes, shapes, scales, thresholds, sampling_ratio, aligned, threads, integral=False,
              argmax=None):
    rois = as_rois(op, boxes)
    grad = _grad(op, grad, rois, shapes[0][1])
    gradients = [np.empty(shape, grad.dtype) for shape in shapes]
    places, levels = [view(g) for g in gradients], (view(rois), scales, thresholds)
    rule = _check.sampling(op, sampling_ratio), bool(aligned)
    if argmax is None:
        _core.roi_align_backward(view(grad), *levels, places, *rule, integral, launch(op, threads))
        return gradients
    argmax = as_argmax(op, argmax, "int32")
    if argmax.shape != grad.shape:
        raise ValueError(f"{op}: argmax must have the shape of grad, got {_check.shape_text(argmax)} and "
                         f"{_check.shape_text(grad)}")
    grad, argmax = np.ascontiguousarray(grad), np.ascontiguousarray(argmax)
    _core.roi_align_max_backward(view(grad), view(argmax), *levels, places, *rule, launch(op, threads))
    return gradients


def roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False, *, rule="samples",
              reduce="mean", out=None, threads=None):
    """Pool each RoI into PH x PW means of bilinear samples, or their maxima: `roikit.ops.roi_align` for arrays.

    Args:
        input: (N, C, H, W) float16, float32 or float64, contiguous or channels_last (others are copied).
        boxes: (K, 5) floating, or a list with one (L, 4) array an image.
        output_size, spatial_scale, sampling_ratio, aligned, rule, reduce: as in `roikit.ops.roi_align`.
        out: (K, C, PH, PW), for the result.
        threads: how many may work.

    Returns:
        (K, C, PH, PW), the dtype of ``input``, and channels_last where it is.

    Raises: TypeError or ValueError for a wrong kind, shape or value, IndexError for a batch index that names no image.
    """
    op = "roi_align"
    scale = _check.positive(op, "spatial_scale", spatial_scale)
    kind = checks.rule(op, rule, sampling_ratio, reduce)
    return _forward(op, [as_map(op, "input", input)], boxes, output_size, [scale], [], sampling_ratio,
                    aligned, out, threads, kind)


def roi_align_with_argmax(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False, *, out=None,
                          threads=None):
    """`roi_align` with ``reduce="max"``, and which of a bin's samples won.

    Args:
        input, boxes, output_size, spatial_scale, sampling_ratio, aligned, out, threads: as in `roi_align`.

    Returns:
        output (K, C, PH, PW), argmax int32 (K, C, PH, PW): i * n + j for sample (i, j) of those inside the map, n of
        them in a row; -1 where the winner lies outside, and where there is none.

    Raises: TypeError, ValueError or IndexError as `roi_align`.
    """
    op = "roi_align"
    scale = _check.positive(op, "spatial_scale", spatial_scale)
    return _with_argmax(op, [as_map(op, "input", input)], boxes, output_size, [scale], [], sampling_ratio, aligned, out,
                        threads)


def roi_align_backward(grad, boxes, input_shape, output_size, spatial_scale=1.0, sampling_ratio=-1,
                       aligned=False, *, rule="samples", argmax=None, threads=None):
    """Gradient of `roi_align` with respect to its input.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, output_size, spatial_scale, sampling_ratio, aligned, rule, threads: as given to the forward pass.
        input_shape: (N, C, H, W).
        argmax: from `roi_align_with_argmax`: the gradient with ``reduce="max"``; None: of the mean.

    Returns:
        (N, C, H, W), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `roi_align`.
    """
    op = "roi_align_backward"
    scale = _check.positive(op, "spatial_scale", spatial_scale)
    kind = checks.rule(op, rule, sampling_ratio, "mean" if argmax is None else "max")
    _check_bins(op, grad, output_size)
    return _backward(op, grad, boxes, [_check.map_shape(op, "input_shape", input_shape)], [scale], [],
                     sampling_ratio, aligned, threads, kind == "integral", argmax)[0]


def roi_align_boxes_backward(grad, input, boxes, spatial_scale=1.0, aligned=False, *, threads=None):
    """Gradient of `roi_align` with ``rule="integral"`` with respect to its boxes.

    Args:
        grad: (K, C, PH, PW), the gradient of the output, of the dtype of ``input``.
        input: (N, C, H, W), as given to the forward pass.
        boxes, spatial_scale, aligned, threads: as given to the forward pass.

    Returns:
        (K, 5), the dtype of the boxes, at least float32; 0 for the batch index.

    Raises: TypeError, ValueError or IndexError as `roi_align`.

    Source: Jiang et al. 2018, arXiv:1807.11590, equations 6 and 7.
    """
    op = "roi_align_boxes_backward"
    scale = _check.positive(op, "spatial_scale", spatial_scale)
    rois, (input,) = as_rois(op, boxes), as_maps([as_map(op, "input", input)])[0]
    grad = _grad(op, grad, rois, input.shape[1])
    if grad.dtype != input.dtype:
        raise TypeError(f"{op}: grad must have the dtype of input, got {grad.dtype} and {input.dtype}")
    gradient = np.empty((len(rois), 5), rois.dtype)
    _core.roi_align_boxes_backward(view(grad), view(input), view(rois), scale, bool(aligned), view(gradient),
                                   launch(op, threads))
    return gradient


def _check_bins(op, grad, output_size):
    size = _check.pair(op, "output_size", output_size)
    if tuple(np.shape(grad)[2:]) != size:
        raise ValueError(f"{op}: grad must have {size[0]} x {size[1]} bins, got shape {np.shape(grad)}")


def multiscale_roi_align(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False,
                         canonical_scale=224, canonical_level=4, reduce="mean", out=None, threads=None):
    """`roi_align` of each RoI on the level that its size asks for: `roikit.ops.multiscale_roi_align` for arrays.

    Args:
        features: list of (N, C, H_i, W_i), one a level, finest first, of one dtype.
        boxes, output_size, sampling_ratio, aligned, reduce, out, threads: as in `roi_align`.
        scales, canonical_scale, canonical_level: as in `roikit.ops.multiscale_roi_align`.

    Returns:
        (K, C, PH, PW), the dtype of the features, rows in the order of the boxes.

    Raises: TypeError, ValueError or IndexError as `roi_align`, or where ``features`` and ``scales`` differ in length.
    """
    op = "multiscale_roi_align"
    scales, thresholds = checks.pyramid(op, scales, canonical_scale, canonical_level)
    kind = checks.rule(op, "samples", sampling_ratio, reduce)
    return _forward(op, _levels(op, features, scales), boxes, output_size, scales, thresholds, sampling_ratio, aligned,
                    out, threads, kind)


def multiscale_roi_align_with_argmax(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False,
                                     canonical_scale=224, canonical_level=4, out=None, threads=None):
    """`multiscale_roi_align` with ``reduce="max"``, and which of a bin's samples won.

    Args:
        features: list of (N, C, H_i, W_i), as in `multiscale_roi_align`.
        boxes, output_size, scales, sampling_ratio, aligned, canonical_scale, canonical_level, out, threads: as in
            `multiscale_roi_align`.

    Returns:
        output (K, C, PH, PW), argmax int32 (K, C, PH, PW) as `roi_align_with_argmax` has it.

    Raises: TypeError, ValueError or IndexError as `multiscale_roi_align`.
    """
    op = "multiscale_roi_align"
    scales, thresholds = checks.pyramid(op, scales, canonical_scale, canonical_level)
    return _with_argmax(op, _levels(op, features, scales), boxes, output_size, scales, thresholds, sampling_ratio,
                        aligned, out, threads)


def _levels(op, features, scales):
    maps = [as_map(op, f"features[{i}]", m) for i, m in enumerate(features)]
    checks.one_a_level(op, scales, maps)
    checks.agreeing(op, maps)
    return maps


def multiscale_roi_align_backward(grad, boxes, input_shapes, output_size, scales, *, sampling_ratio=2,
                                  aligned=False, canonical_scale=224, canonical_level=4, argmax=None, threads=None):
    """Gradients of `multiscale_roi_align` with respect to each level.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, output_size, scales, sampling_ratio, aligned, canonical_scale, canonical_level, threads: as given to the
            forward pass.
        input_shapes: list of (N, C, H_i, W_i).
        argmax: from `multiscale_roi_align_with_argmax`: the gradient with ``reduce="max"``; None: of the mean.

    Returns:
        list of (N, C, H_i, W_i), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `multiscale_roi_align`.
    """
    op = "multiscale_roi_align_backward"
    scales, thresholds = checks.pyramid(op, scales, canonical_scale, canonical_level)
    shapes = [_check.map_shape(op, f"input_shapes[{i}]", s) for i, s in enumerate(input_shapes)]
    checks.one_a_level(op, scales, shapes)
    checks.rule(op, "samples", sampling_ratio, "mean" if argmax is None else "max")
    _check_bins(op, grad, output_size)
    return _backward(op, grad, boxes, shapes, scales, thresholds, sampling_ratio, aligned, threads, argmax=argmax)
