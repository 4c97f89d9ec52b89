"""From tensors to what a kernel takes: views, the launch, and the module that has the kernels."""

import ctypes
import importlib
import os

import torch

from roikit import _config, _core
from roikit.errors import BackendError

_TAGS = {
    torch.float16: _core.DType.float16,
    torch.bfloat16: _core.DType.bfloat16,
    torch.float32: _core.DType.float32,
    torch.float64: _core.DType.float64,
    torch.uint8: _core.DType.uint8,
    torch.bool: _core.DType.bool,
    torch.int8: _core.DType.int8,
    torch.int32: _core.DType.int32,
    torch.int64: _core.DType.int64,
}




def _team():
    """The address of GOMP_parallel in the OpenMP runtime that torch's own operations run on, or 0.

    Found through torch's extension module, whose dependencies include that runtime. 0 where torch runs on other
    threads or on a runtime without this entry (Windows, macOS): the kernels then start threads of their own.
    """
    if not torch.backends.openmp.is_available():
        return 0
    try:
        entry = ctypes.CDLL(torch._C.__file__).GOMP_parallel
    except (AttributeError, OSError):
        return 0
    return ctypes.cast(entry, ctypes.c_void_p).value


_place = {"team": _team()}
if hasattr(os, "register_at_fork"):
    # A child has the runtime's records of its team and none of the threads: a call would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: _place.update(team=0))


def view(t):
    return _core.View(t.data_ptr(), _TAGS[t.dtype], t.shape, t.stride())


def launch(t, scratch=None, *, deterministic=False):
    """On torch's threads, or on torch's current stream of the tensor's device.

    Args:
        t: a tensor on the device.
        scratch: CUDA: what `workspace` gave; in stream order, it may be freed as soon as the kernels are launched.
        deterministic: CUDA: ask for the kernels that give the same bits in every run.
    """
    if t.is_cuda:
        stream = torch.cuda.current_stream(t.device).cuda_stream
        place = {"device": t.device.index, "stream": stream}
    else:
        place = {"threads": torch.get_num_threads(), "simd": getattr(_core.Simd, _config.simd_level()),
                 "huge_pages": _config.huge_pages(), **_place}
    if scratch is not None:
        place |= {"workspace": scratch.data_ptr(), "workspace_bytes": scratch.numel()}
    return _core.Launch(deterministic=deterministic, **place)


def workspace(t, size):
    """``size`` bytes of uninitialised scratch on the tensor's device."""
    return torch.empty(size, dtype=torch.uint8, device=t.device)


# The module with the kernels for tensors in the host's memory. Tests put the emulated CUDA module here.
host_kernels = _core


def no_kernels(op, device):
    """The error for tensors on another device than a CPU or a CUDA GPU."""
    return BackendError(f"{op}: the tensors are on {device}, for which roikit has no kernels; it has them for the CPU "
                        "and for CUDA")


def backend(t, op):
    """The compiled module for the tensor's device, after a check that it has the op.

    The result is `_core`, or else a module with the CUDA kernels, which take scratch and never read what is on the
    device.

    Raises:
        BackendError: roikit, or this build of it, has no kernel for the device.
    """
    if t.is_cpu:
        return host_kernels
    if not t.is_cuda:
        raise no_kernels(op, t.device.type)
    try:
        return importlib.import_module("roikit._cuda")
    except ImportError as reason:
        raise BackendError(f"{op}: the tensors are on {t.device}, but this roikit has no CUDA module "
                           f"({_core.cuda_build}; {reason}); `roikit info` prints the build report"
                           ) from reason
