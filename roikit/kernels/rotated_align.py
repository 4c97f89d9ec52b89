"""RoIAlign of rotated boxes on NumPy arrays: the compiled face of roikit.reference.rotated_align."""

from roikit import _check, _core
from roikit._check import roi_align as checks
from roikit.kernels._arguments import as_map, as_maps, as_rois
from roikit.kernels._launch import empty_map, launch, result, view

__all__ = ["multiscale_roi_align_rotated", "multiscale_roi_align_rotated_backward", "roi_align_rotated",
           "roi_align_rotated_backward"]


def roi_align_rotated(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, *, out=None, threads=None):
    """Pool each rotated RoI into PH x PW means of bilinear samples: `roikit.ops.roi_align_rotated` for arrays.

    Args:
        input: (N, C, H, W) float16, float32 or float64, contiguous or channels_last (others are copied).
        boxes: (K, 6) floating: batch index, cx, cy, w, h, degrees; or a list with one (L, 5) array an image.
        output_size, spatial_scale, sampling_ratio: as in `roikit.ops.roi_align_rotated`.
        out: (K, C, PH, PW), for the result.
        threads: how many may work.

    Returns:
        (K, C, PH, PW), the dtype of ``input``, and channels_last where it is.

    Raises: TypeError or ValueError for a wrong kind, shape or value, IndexError for a batch index that names no image.
    """
    op = "roi_align_rotated"
    scale, *size = _check.pooling(op, output_size, spatial_scale)
    return _forward(op, [as_map(op, "input", input)], boxes, size, [scale], [], sampling_ratio, out, threads)


def multiscale_roi_align_rotated(features, boxes, output_size, scales, *, sampling_ratio=2, canonical_scale=224,
                                 canonical_level=4, out=None, threads=None):
    """`roi_align_rotated` of each RoI on the pyramid level that its size asks for.

    Args:
        features: list of (N, C, H_i, W_i), one a level, finest first, of one dtype.
        boxes, output_size, sampling_ratio, out, threads: as in `roi_align_rotated`.
        scales, canonical_scale, canonical_level: as in `roikit.ops.multiscale_roi_align_rotated`.

    Returns:
        (K, C, PH, PW), the dtype of the features, rows in the order of the boxes.

    Raises: TypeError, ValueError or IndexError as `roi_align_rotated`, or where ``features`` and ``scales`` differ in
    length.
    """
    op = "multiscale_roi_align_rotated"
    scales, thresholds = checks.pyramid(op, scales, canonical_scale, canonical_level)
    maps = [as_map(op, f"features[{i}]", m) for i, m in enumerate(features)]
    checks.one_a_level(op, scales, maps)
    checks.agreeing(op, maps)
    return _forward(op, maps, boxes, _check.pair(op, "output_size", output_size), scales, thresholds, sampling_ratio,
                    out, threads)


def _forward(op, maps, boxes, size, scales, thresholds, sampling_ratio, out, threads):
    maps, channels_last = as_maps(maps)
    rois = as_rois(op, boxes, 5)
    shape = len(rois), maps[0].shape[1], *size
    dtype = maps[0].dtype
    out = empty_map(shape, dtype, channels_last) if out is None else result(op, out, shape, dtype)
    _core.roi_align_rotated([view(m) for m in maps], view(rois), scales, thresholds, view(out),
                            _check.sampling(op, sampling_ratio), launch(op, threads))
    return out


def roi_align_rotated_backward(grad, boxes, input_shape, output_size, spatial_scale=1.0, sampling_ratio=-1, *,
                               threads=None):
    """Gradient of `roi_align_rotated` with respect to its input.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, output_size, spatial_scale, sampling_ratio, threads: as given to the forward pass.
        input_shape: (N, C, H, W).

    Returns:
        (N, C, H, W), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `roi_align_rotated`.
    """
    op = "roi_align_rotated"
    scale, *size = _check.pooling(op, output_size, spatial_scale)
    shape = _check.map_shape(op, "input_shape", input_shape)
    return _backward(op, grad, boxes, [shape], size, [scale], [], sampling_ratio, threads)[0]


def multiscale_roi_align_rotated_backward(grad, boxes, input_shapes, output_size, scales, *, sampling_ratio=2,
                                          canonical_scale=224, canonical_level=4, threads=None):
    """Gradients of `multiscale_roi_align_rotated` with respect to each level.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, output_size, scales, sampling_ratio, canonical_scale, canonical_level, threads: as given to the forward
            pass.
        input_shapes: list of (N, C, H_i, W_i).

    Returns:
        list of (N, C, H_i, W_i), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `multiscale_roi_align_rotated`.
    """
    op = "multiscale_roi_align_rotated"
    scales, thresholds = checks.pyramid(op, scales, canonical_scale, canonical_level)
    shapes = [_check.map_shape(op, f"input_shapes[{i}]", s) for i, s in enumerate(input_shapes)]
    checks.one_a_level(op, scales, shapes)
    return _backward(op, grad, boxes, shapes, _check.pair(op, "output_size", output_size), scales, thresholds,
                     sampling_ratio, threads)


def _backward(op, grad, boxes, shapes, size, scales, thresholds, sampling_ratio, threads):
    (grad,), _ = as_maps([as_map(op, "grad", grad)])
    rois = as_rois(op, boxes, 5)
    if grad.shape != (len(rois), shapes[0][1], *size):
        raise ValueError(f"{op}: grad must have shape ({len(rois)}, {shapes[0][1]}, {size[0]}, {size[1]}), "
                         f"got {_check.shape_text(grad)}")
    gradients = [empty_map(shape, grad.dtype, False) for shape in shapes]
    _core.roi_align_rotated_backward(view(grad), view(rois), scales, thresholds, [view(g) for g in gradients],
                                     _check.sampling(op, sampling_ratio), launch(op, threads))
    return gradients
