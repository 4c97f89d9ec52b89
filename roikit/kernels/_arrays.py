"""From the caller's arrays to what a kernel takes: NumPy arrays of the right dtype, views and a launch."""

import numpy as np

from roikit import _check, _config, _core


def as_array(op, name, x):
    """``x`` as a NumPy array without a copy: an array, a CPU tensor, a list of lists."""
    try:
        a = np.asarray(x)
    except Exception as reason:
        raise TypeError(f"{op}: {name} must be an array on the CPU, got {type(x).__name__} "
                        f"({reason})") from reason
    if a.dtype == object:
        raise TypeError(f"{op}: {name} must be an array of numbers, got {type(x).__name__}")
    return a


def as_boxes(op, name, x, columns=4):
    """A contiguous float32 or float64 (N, columns) array; half is cast up. ``columns`` as in `_check.boxes`."""
    a = as_array(op, name, x)
    _check.boxes(op, name, a, columns)
    return np.ascontiguousarray(a, dtype=np.float32 if a.dtype == np.float16 else None)


def as_candidates(op, boxes, scores, columns=4):
    """Boxes as in `as_boxes`, and one score of any float dtype for each, contiguous."""
    boxes, scores = as_boxes(op, "boxes", boxes, columns), as_array(op, "scores", scores)
    _check.dtype(op, "scores", scores)
    _check.vector(op, "scores", scores, len(boxes), "boxes")
    return boxes, np.ascontiguousarray(scores)


def as_classes(op, idxs, n):
    """The class of each of n boxes as a contiguous int64 array; uint64 keeps its bits."""
    idxs = as_array(op, "idxs", idxs)
    if idxs.dtype.kind not in "iu":
        raise TypeError(f"{op}: idxs must be integers, got {idxs.dtype}")
    _check.vector(op, "idxs", idxs, n, "boxes")
    return np.ascontiguousarray(idxs, dtype=None if idxs.dtype == np.uint64 else np.int64).view(np.int64)


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


def view(a):
    return _core.View(a)


def launch(op, threads):
    """Run on ``threads`` threads (None: ROIKIT_NUM_THREADS, else the affinity) at the present SIMD level."""
    n = _config.default_threads() if threads is None else _check.whole(op, "threads", threads, 1)
    n = min(n, 2**31 - 1)  # what a Launch holds
    return _core.Launch(threads=n, simd=getattr(_core.Simd, _config.simd_level()), huge_pages=_config.huge_pages())


def as_rois(op, x, columns=4):
    """RoIs as one contiguous (K, 1 + columns), batch index first, from that or from one (L, columns) array an image."""
    if not isinstance(x, (list, tuple)):
        return as_boxes(op, "boxes", x, 1 + columns)
    parts = [as_boxes(op, f"boxes[{i}]", part, columns) for i, part in enumerate(x)]
    dtype = np.result_type(np.float32, *parts)
    rois = np.empty((sum(map(len, parts)), 1 + columns), dtype)
    rois[:, 0] = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rois[:, 1:] = np.concatenate([np.empty((0, columns), dtype), *parts])
    return rois


def as_map(op, name, x):
    """A (N, C, H, W) array of a dtype that NumPy and the kernels share."""
    a = as_array(op, name, x)
    _check.dtype(op, name, a, ("float16", "float32", "float64"))
    _check.rank(op, name, a, ("N", "C", "H", "W"))
    return a


def as_maps(maps):
    """Feature maps (N, C, H, W) of one memory format: all contiguous, or all channels_last, copied where they differ.

    Returns:
        the list of arrays, and whether they are channels_last (a map that is both counts as contiguous).
    """
    if all(a.flags.c_contiguous for a in maps):
        return maps, False
    last = [a.transpose(0, 2, 3, 1) for a in maps]
    if all(a.flags.c_contiguous for a in last):
        return maps, True
    return [np.ascontiguousarray(a) for a in maps], False


def empty_map(shape, dtype, channels_last):
    """A fresh (N, C, H, W) array, stored as N, H, W, C where ``channels_last``."""
    n, c, h, w = shape
    return np.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2) if channels_last else np.empty(shape, dtype)
