"""Works of the kernels: what `benchmarks.guard` holds, and asv times at each vector level. NumPy only.

`bench_<op>.py` has those of an op: WORKS, which the guard holds too, and perhaps MORE.
"""

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import roikit
import roikit.kernels as kernels
from roikit.testing.table import FORMATS, OPS

from .kernel_inputs import map_and_rois

__all__ = ["Timed", "Work", "guarded", "max_backward", "pooling"]


@dataclass(frozen=True)
class Work:
    """One op on inputs of two sizes.

    make: takes a size and gives the call.
    small: the size whose instructions are counted, and at which v4 is held against v3; some hundred thousand to some
        million instructions.
    large: the size that asv times, and whose time is held against a copy; results of megabytes where the op has any.
    limit: the time over the copy's, on one thread at v3, that is too much: two to four times what is
        usual, so that a busy machine does not reach it. None for a work that the guard does not hold.
    faults: the page faults of a call that are too many: two huge pages' worth, 1,024, above what is usual.
    counted: False where the kernel is NumPy's, so that roikit's own instructions say nothing.
    levels: whether the kernel has a variant for each SIMD level.
    """

    make: Callable
    small: tuple
    large: tuple
    limit: float | None = None
    faults: int | None = None
    counted: bool = True
    levels: bool = True


class Timed(ABC):
    """asv's benchmarks of an op: its works at their large sizes. A subclass says which."""

    param_names = ["work", "threads", "simd"]

    @property
    @abstractmethod
    def works(self):
        """name -> Work."""

    def __init_subclass__(cls):
        cls.params = [list(cls.works), [1, 2], ["base", "v3", "v4"]]

    def setup(self, name, threads, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        os.environ["ROIKIT_NUM_THREADS"] = str(threads)
        work = self.works[name]
        self.call = work.make(*work.large)

    def time_kernel(self, name, threads, simd):
        with roikit.simd(simd):
            self.call()


def guarded():
    """op or format -> name -> Work, of all that the kernels have, in the order of the table."""
    files = [op for op, entry in OPS.items() if entry["kind"] != "torch"]
    return {file: importlib.import_module(f"{__package__}.bench_{file}").WORKS for file in (*files, *FORMATS)}


def pooling(name, planes=1):
    """Makes a pooling of 7 x 7 bins of a map with ``planes`` for each channel."""
    def make(channels, height, width, n):
        x, r = map_and_rois(planes * channels, height, width, n)
        return lambda: getattr(kernels, name)(x, r, 7, 1 / 4)
    return make


def max_backward(name, *scale):
    """Makes the gradient of a pooling that keeps the place of each maximum."""
    def make(channels, height, width, n):
        x, r = map_and_rois(channels, height, width, n)
        output, argmax = getattr(kernels, f"{name}_with_argmax")(x, r, 7, 1 / 4)
        return lambda: getattr(kernels, f"{name}_backward")(output, argmax, r, x.shape, *scale)
    return make
