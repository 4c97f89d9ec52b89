"""RoIAlign's rule="integral": the weights of the pixels in a bin, and the gradient with respect to the boxes.

`roikit.reference.roi_align` states the rule.
"""

import numpy as np

from roikit.reference.arguments import as_floats, pair
from roikit.reference.rois import geometry


def bin_edges(low, high, bins, scale, aligned):
    """The edges T (bins + 1,) along one axis for rule="integral"; None: the RoI gives 0."""
    real = low.dtype.type
    with np.errstate(over="ignore", invalid="ignore"):
        start = low * scale - real(0.5 if aligned else 0)
        size = (high * scale - real(0.5 if aligned else 0)) - start
    if not (np.isfinite([low, high, start, size]).all() and size > 0):
        return None
    return start + np.arange(bins + 1, dtype=low.dtype) * (size / real(bins))


def hat(u):
    return np.maximum(1 - np.abs(u), 0)


def integral_weights(edges, extent):
    """The mean T (bins, extent) of each pixel's hat over each bin."""
    pixels = np.arange(extent, dtype=edges.dtype)
    u, v = edges[:-1, None] - pixels, edges[1:, None] - pixels
    length = edges[1:, None] - edges[:-1, None]
    u0, v0, u1, v1 = np.clip(u, -1, 0), np.clip(v, -1, 0), np.clip(u, 0, 1), np.clip(v, 0, 1)
    area = (v0 - u0) * (1 + (u0 + v0) / 2) + (v1 - u1) * (1 - (u1 + v1) / 2)
    return np.where(length > 0, area / np.where(length > 0, length, 1), hat(u))


def integral_slopes(edges, extent):
    """What the weights (bins, extent) change by when a bin's first edge moves, and when its last does."""
    pixels = np.arange(extent, dtype=edges.dtype)
    length = edges[1:, None] - edges[:-1, None]
    weights = integral_weights(edges, extent)
    per = np.where(length > 0, 1 / np.where(length > 0, length, 1), 0)
    return (weights - hat(edges[:-1, None] - pixels)) * per, (hat(edges[1:, None] - pixels) - weights) * per


def roi_edges(corners, output_size, spatial_scale, aligned):
    """The edges of the rows' and of the columns' bins; None: the RoI gives 0."""
    rows, columns = pair(output_size)
    x1, y1, x2, y2 = corners
    scale = corners.dtype.type(spatial_scale)
    vertical, horizontal = bin_edges(y1, y2, rows, scale, aligned), bin_edges(x1, x2, columns, scale, aligned)
    return None if vertical is None or horizontal is None else (vertical, horizontal)


def roi_align_boxes_backward(grad, input, boxes, spatial_scale=1.0, aligned=False):
    """Gradient of ``roi_align`` with rule="integral" with respect to its boxes.

    An edge of a bin moves the mean V by (V - L) / length on its near side and (L - V) / length on the
    far one, L being the mean along the edge (equations 6 and 7); edge p of P moves by 1 - p / P with
    the box's low corner and by p / P with its high one, times the scale.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        input: (N, C, H, W), as given to the forward pass.
        boxes, spatial_scale, aligned: as given to the forward pass.

    Returns:
        (K, 5), the dtype of the boxes, 0 for the batch index. Added in float64 from edges in T.
    """
    grad, input = np.asarray(grad), np.asarray(input)
    _, batch, corners = geometry("roi_align", input.dtype, boxes, len(input))
    result = np.zeros((len(corners), 5))
    for k, roi in enumerate(corners):
        edges = roi_edges(roi, grad.shape[2:], spatial_scale, aligned)
        if edges is None:
            continue
        edges = [e.astype(np.float64) for e in edges]
        image, wanted = input[batch[k]].astype(np.float64), grad[k].astype(np.float64)
        rows, columns = (integral_weights(e, n) for e, n in zip(edges, input.shape[2:], strict=True))
        # How the loss changes with each weight of the columns, and of the rows.
        of_columns = np.einsum("cpq,py,cyx->qx", wanted, rows, image)
        of_rows = np.einsum("cpq,qx,cyx->py", wanted, columns, image)
        for axis, (e, slope) in enumerate([(edges[1], of_columns), (edges[0], of_rows)]):
            near, far = integral_slopes(e, slope.shape[1])
            moved = np.zeros(len(e))
            moved[:-1] += (slope * near).sum(1)
            moved[1:] += (slope * far).sum(1)
            part = np.arange(len(e)) / (len(e) - 1)
            result[k, 1 + axis] = spatial_scale * (moved * (1 - part)).sum()
            result[k, 3 + axis] = spatial_scale * (moved * part).sum()
    kind = np.result_type(np.float32, *boxes) if isinstance(boxes, (list, tuple)) else as_floats("roi_align", "boxes",
                                                                                                  boxes).dtype
    return result.astype(kind)
