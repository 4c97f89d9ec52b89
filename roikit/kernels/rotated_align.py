"""RoIAlign of rotated boxes on NumPy arrays: the compiled face of roikit.reference.rotated_align."""

from roikit import _check, _core
from roikit.kernels._arguments import as_map, as_maps, as_rois
from roikit.kernels._launch import empty_map, launch, result, view

__all__ = ["roi_align_rotated", "roi_align_rotated_backward"]


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
    (input,), channels_last = as_maps([as_map(op, "input", input)])
    rois = as_rois(op, boxes, 5)
    scale, *size = _check.pooling(op, output_size, spatial_scale)
    shape = len(rois), input.shape[1], *size
    out = empty_map(shape, input.dtype, channels_last) if out is None else result(op, out, shape, input.dtype)
    _core.roi_align_rotated(view(input), view(rois), scale, _check.sampling(op, sampling_ratio), view(out),
                            launch(op, threads))
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
    (grad,), _ = as_maps([as_map(op, "grad", grad)])
    rois, (scale, *size) = as_rois(op, boxes, 5), _check.pooling(op, output_size, spatial_scale)
    shape = _check.map_shape(op, "input_shape", input_shape)
    if grad.shape != (len(rois), shape[1], *size):
        raise ValueError(f"{op}: grad must have shape ({len(rois)}, {shape[1]}, {size[0]}, {size[1]}), "
                         f"got {_check.shape_text(grad)}")
    gradient = empty_map(shape, grad.dtype, False)
    _core.roi_align_rotated_backward(view(grad), view(rois), scale, _check.sampling(op, sampling_ratio),
                                     view(gradient), launch(op, threads))
    return gradient
