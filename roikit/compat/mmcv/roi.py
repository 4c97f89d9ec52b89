"""mmcv.ops: RoIAlign, RoIPool, RoIAlignRotated and PrRoIPool."""

import torch

import roikit.ops
from roikit.compat._arguments import pair, positive, renamed, shaped, sizes
from roikit.compat.mmcv._conventions import degrees, wide

__all__ = ["PrRoIPool", "RoIAlign", "RoIAlignRotated", "RoIPool", "prroi_pool", "roi_align", "roi_align_rotated",
           "roi_pool"]

REDUCE = {"avg": "mean", "max": "max"}


def roi_align(input, rois, output_size, spatial_scale=1.0, sampling_ratio=0, pool_mode="avg", aligned=True):
    """mmcv.ops.roi_align.

    Args:
        input, output_size, spatial_scale, sampling_ratio: as in roikit.ops.roi_align; 0 or less samples adaptively.
        rois: (K, 5), batch index first.
        pool_mode: "avg", or "max": the largest sample of each bin, the first of equals.
        aligned: True here by default.

    Returns:
        (K, C, PH, PW), the dtype of ``input``. Differentiable in ``input``.

    Raises:
        TypeError, ValueError, IndexError, BackendError: as roikit.ops.roi_align; another pool_mode.
    """
    if pool_mode not in REDUCE:
        raise ValueError(f"roi_align: pool_mode must be \"avg\" or \"max\", got {pool_mode!r}")
    return roikit.ops.roi_align(input, rois, output_size, spatial_scale, sampling_ratio, aligned,
                                reduce=REDUCE[pool_mode])


class RoIAlign(torch.nn.Module):
    """mmcv.ops.RoIAlign. Input: features (N, C, H, W); rois (K, 5), batch index first.

    Args:
        output_size, spatial_scale, sampling_ratio, pool_mode, aligned: as in `roi_align`.
        use_torchvision: take pool_mode for "avg".
    """

    @renamed(out_size="output_size", sample_num="sampling_ratio")
    def __init__(self, output_size, spatial_scale=1.0, sampling_ratio=0, pool_mode="avg", aligned=True,
                 use_torchvision=False):
        super().__init__()
        self.output_size, self.spatial_scale = pair(output_size), float(spatial_scale)
        self.sampling_ratio, self.pool_mode = int(sampling_ratio), pool_mode
        self.aligned, self.use_torchvision = aligned, use_torchvision

    def forward(self, input, rois):
        mode = "avg" if self.use_torchvision else self.pool_mode
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, mode, self.aligned)

    def extra_repr(self):
        return (f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
                f"sampling_ratio={self.sampling_ratio}, pool_mode={self.pool_mode}, aligned={self.aligned}, "
                f"use_torchvision={self.use_torchvision}")


def bins_as_rois(rois, rows, columns, spatial_scale):
    """mmcv's bins of rois (K, 5) as RoIs (K * PH * PW, 5) of whole map pixels, NaN for a bin without any.

    A RoI reaches from x1 to x2 + 1, times the scale; a bin from the floor of its start to the ceiling of its end.
    """
    def edges(first, last, count):
        size = ((last - first) / count)[:, None]
        k = torch.arange(count + 1, dtype=first.dtype, device=first.device)
        at = k * size + first[:, None]
        return at[:, :-1].floor(), at[:, 1:].ceil() - 1

    rois = wide(rois)
    index = rois[:, 0]
    x1, y1 = (rois[:, 1:3] * spatial_scale).unbind(1)
    x2, y2 = ((rois[:, 3:] + 1) * spatial_scale).unbind(1)
    (left, right), (top, bottom) = edges(x1, x2, columns), edges(y1, y2, rows)
    columns_of_rois = index[:, None, None], left[:, None], top[..., None], right[:, None], bottom[..., None]
    bins = torch.stack(torch.broadcast_tensors(*columns_of_rois), dim=-1)
    sized = ((x2 > x1) & (y2 > y1))[:, None, None] & (bins[..., 3:] >= bins[..., 1:3]).all(-1)
    bins[..., 1:] = torch.where(sized[..., None], bins[..., 1:], torch.nan)
    return bins.reshape(-1, 5)


def folded(x, rows, columns):
    """(K, C, PH, PW) from what was pooled of bins as RoIs, (K * PH * PW, C, 1, 1)."""
    return x.reshape(-1, rows, columns, x.shape[1]).permute(0, 3, 1, 2).contiguous()


def roi_pool(input, rois, output_size, spatial_scale=1.0):
    """mmcv.ops.roi_pool, by mmcv's rule: corners are not rounded, and x2, y2 are the last pixel, not the end.

    Each bin is pooled by roikit.ops.roi_pool as a RoI of its own.

    Args:
        input: as in roikit.ops.roi_pool.
        rois: (K, 5), batch index first.
        output_size, spatial_scale: as in roikit.ops.roi_pool.

    Returns:
        (K, C, PH, PW), the dtype of ``input``; 0 in bins outside the map and for RoIs whose size is not positive or
        not finite. Differentiable in ``input``.

    Raises:
        TypeError, ValueError, IndexError, BackendError: as roikit.ops.roi_pool.
    """
    rows, columns = sizes("roi_pool", "output_size", output_size)
    shaped("roi_pool", "rois", rois, "K", 5)
    positive("roi_pool", "spatial_scale", spatial_scale)
    pooled = roikit.ops.roi_pool(input, bins_as_rois(rois, rows, columns, spatial_scale), 1)
    return folded(pooled, rows, columns)


class RoIPool(torch.nn.Module):
    """mmcv.ops.RoIPool. Input: features (N, C, H, W); rois (K, 5), batch index first.

    Args:
        output_size, spatial_scale: as in `roi_pool`.
    """

    def __init__(self, output_size, spatial_scale=1.0):
        super().__init__()
        self.output_size, self.spatial_scale = pair(output_size), float(spatial_scale)

    def forward(self, input, rois):
        return roi_pool(input, rois, self.output_size, self.spatial_scale)

    def extra_repr(self):
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"


def roi_align_rotated(input, rois, output_size, spatial_scale, sampling_ratio=0, aligned=True, clockwise=False):
    """mmcv.ops.roi_align_rotated.

    Args:
        input, output_size, spatial_scale, sampling_ratio: as in roikit.ops.roi_align_rotated; 0 or less samples
            adaptively.
        rois: (K, 6), batch index first, then cx, cy, w, h, radians.
        aligned: if False, nothing is shifted by half a map pixel, and a RoI has at least one map pixel.
        clockwise: the direction of the angles; False here by default.

    Returns:
        (K, C, PH, PW), the dtype of ``input``. Differentiable in ``input``.

    Raises:
        TypeError, ValueError, IndexError, BackendError: as roikit.ops.roi_align_rotated.
    """
    shaped("roi_align_rotated", "rois", rois, "K", 6)
    positive("roi_align_rotated", "spatial_scale", spatial_scale)
    rois = degrees(rois, clockwise)
    if not aligned:
        index, centre, size, turn = rois.split([1, 2, 2, 1], dim=1)
        rois = torch.cat([index, centre + 0.5 / spatial_scale, size.clamp(min=1 / spatial_scale), turn], dim=1)
    return roikit.ops.roi_align_rotated(input, rois, output_size, spatial_scale, sampling_ratio)


class RoIAlignRotated(torch.nn.Module):
    """mmcv.ops.RoIAlignRotated. Input: features (N, C, H, W); rois (K, 6), batch index first, radians.

    Args:
        output_size, spatial_scale, sampling_ratio, aligned, clockwise: as in `roi_align_rotated`.
    """

    @renamed(out_size="output_size", sample_num="sampling_ratio")
    def __init__(self, output_size, spatial_scale, sampling_ratio=0, aligned=True, clockwise=False):
        super().__init__()
        self.output_size, self.spatial_scale = pair(output_size), float(spatial_scale)
        self.sampling_ratio, self.aligned, self.clockwise = int(sampling_ratio), aligned, clockwise

    def forward(self, input, rois):
        return roi_align_rotated(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned,
                                 self.clockwise)

    def extra_repr(self):
        return (f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
                f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}, clockwise={self.clockwise}")


def prroi_pool(features, rois, output_size, spatial_scale=1.0):
    """mmcv.ops.prroi_pool: the exact mean of the bilinear surface over each bin, which is 0 beyond the map.

    Args:
        features, output_size, spatial_scale: as in roikit.ops.roi_align.
        rois: (K, 5), batch index first.

    Returns:
        (K, C, PH, PW), the dtype of features. Differentiable in features and in rois.

    Raises:
        TypeError, ValueError, IndexError, BackendError: as roikit.ops.roi_align.
    """
    return roikit.ops.roi_align(features, rois, output_size, spatial_scale, rule="integral")


class PrRoIPool(torch.nn.Module):
    """mmcv.ops.PrRoIPool. Input: features (N, C, H, W); rois (K, 5), batch index first.

    Args:
        output_size, spatial_scale: as in `prroi_pool`.
    """

    def __init__(self, output_size, spatial_scale=1.0):
        super().__init__()
        self.output_size, self.spatial_scale = pair(output_size), float(spatial_scale)

    def forward(self, features, rois):
        return prroi_pool(features, rois, self.output_size, self.spatial_scale)

    def extra_repr(self):
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"
