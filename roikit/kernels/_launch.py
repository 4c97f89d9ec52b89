"""From arrays to what a kernel takes: room for the result, views, the launch."""

import numpy as np

from roikit import _check, _config, _core


def result(op, out, shape, dtype):
    """``out`` after a check, or a fresh array."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != tuple(shape) or out.dtype != dtype:
        came = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"{op}: out must be a {np.dtype(dtype).name} array of shape {tuple(shape)}, got {came}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"{op}: out must be contiguous and writeable")
    return out


def empty_map(shape, dtype, channels_last):
    """A fresh (N, C, H, W) array, stored as N, H, W, C where ``channels_last``."""
    n, c, h, w = shape
    return np.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2) if channels_last else np.empty(shape, dtype)


def view(a):
    return _core.View(a)


def launch(op, threads):
    """Run on ``threads`` threads (None: ROIKIT_NUM_THREADS, else the affinity) at the present SIMD level."""
    n = _config.default_threads() if threads is None else _check.whole(op, "threads", threads, 1)
    n = min(n, 2**31 - 1)  # what a Launch holds
    return _core.Launch(threads=n, simd=getattr(_core.Simd, _config.simd_level()), huge_pages=_config.huge_pages())


def kept(op, threads, boxes, *arguments):
    """What the kernel ``op`` keeps of the boxes: their indices, int64 (K,)."""
    keep, count = np.empty(len(boxes), np.int64), np.empty((), np.int64)
    getattr(_core, op)(view(boxes), *arguments, view(keep), view(count), launch(op, threads))
    return keep[: int(count)]


def kept_with_scores(op, threads, boxes, *arguments):
    """What the kernel ``op`` keeps of the boxes, and the scores, of the boxes' dtype, that it gives these."""
    keep, scores, count = np.empty(len(boxes), np.int64), np.empty(len(boxes), boxes.dtype), np.empty((), np.int64)
    getattr(_core, op)(view(boxes), *arguments, view(keep), view(scores), view(count), launch(op, threads))
    return keep[: int(count)], scores[: int(count)]
