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
    """A contiguous float32 or float64 (N, columns) array; half is cast up."""
    a = as_array(op, name, x)
    _check.boxes(op, name, a, columns)
    return np.ascontiguousarray(a, dtype=np.float32 if a.dtype == np.float16 else None)


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
    return _core.Launch(n, getattr(_core.Simd, _config.simd_level()))
