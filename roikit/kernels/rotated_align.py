"""RoIAlign of rotated boxes on NumPy arrays: the compiled face of roikit.reference.rotated_align."""

from roikit import _check, _core
from roikit.kernels._arrays import as_map, as_maps, as_rois, empty_map, launch, result, view

__all__ = ["roi_align_rotated", "roi_align_rotated_backward"]


def roi_align_rotated(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, *, out=None, threads=None):
    """Pool each rotated RoI into PH x PW means of bilinear samples.

    Args:
        input: (N, C, H, W) float16, float32 or float64 features, contiguous or channels_last (others are copied).
        boxes: (K, 6) floating with the batch index first, then cx, cy, w, h in input pixels and degrees
            counter-clockwise, or a list with one (L, 5) array an image; half is cast to float32.
        output_size: P, or (PH, PW); rows lie along the box's height.
        spatial_scale: map pixels an input pixel, positive.
        sampling_ratio: samples a bin along each axis; 0 or less: as many as a bin has map pixels, rounded up.
        out: contiguous (K, C, PH, PW) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (K, C, PH, PW), the dtype of ``input``, channels_last where that is; 0 for a RoI that is empty, reversed or not
        finite.

    Raises:
        TypeError, ValueError: a wrong kind or shape, in a sentence.
        IndexError: a batch index is not whole, negative, or at least N.

    Source: Ma et al. 2017, arXiv:1703.01086, section IV; He et al. 2017, arXiv:1703.06870, section 3.
    """
    op = "roi_align_rotated"
    (input,), channels_last = as_maps([as_map(op, "input", input)])
    rois, (rows, columns) = as_rois(op, boxes, 5), _check.pair(op, "output_size", output_size)
    shape = len(rois), input.shape[1], rows, columns
    out = empty_map(shape, input.dtype, channels_last) if out is None else result(op, out, shape, input.dtype)
    _core.roi_align_rotated(view(input), view(rois), _check.positive(op, "spatial_scale", spatial_scale),
                            _check.sampling(op, sampling_ratio), view(out), launch(op, threads))
    return out


def roi_align_rotated_backward(grad, boxes, input_shape, output_size, spatial_scale=1.0, sampling_ratio=-1, *,
                               threads=None):
    """Gradient (N, C, H, W) of `roi_align_rotated` with respect to its input, the dtype of ``grad``.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        input_shape: (N, C, H, W).
        boxes and the rest: as given to the forward pass.

    Raises:
        TypeError, ValueError, IndexError: as in `roi_align_rotated`.
    """
    op = "roi_align_rotated"
    (grad,), _ = as_maps([as_map(op, "grad", grad)])
    rois, size = as_rois(op, boxes, 5), _check.pair(op, "output_size", output_size)
    shape = _check.map_shape(op, "input_shape", input_shape)
    if grad.shape != (len(rois), shape[1], *size):
        raise ValueError(f"{op}: grad must have shape ({len(rois)}, {shape[1]}, {size[0]}, {size[1]}), "
                         f"got {_check.shape_text(grad)}")
    gradient = empty_map(shape, grad.dtype, False)
    _core.roi_align_rotated_backward(view(grad), view(rois), _check.positive(op, "spatial_scale", spatial_scale),
                                     _check.sampling(op, sampling_ratio), view(gradient),
                                     launch(op, threads))
    return gradient
