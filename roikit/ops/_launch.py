"""From tensors to what a kernel takes: views, the launch, and the module that has the kernels."""

import importlib

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


def view(t):
    return _core.View(t.data_ptr(), _TAGS[t.dtype], t.shape, t.stride())


def launch(t):
    """On torch's threads, or on torch's current stream of the tensor's device."""
    if t.is_cuda:
        stream = torch.cuda.current_stream(t.device).cuda_stream
        return _core.Launch(device=t.device.index, stream=stream)
    return _core.Launch(torch.get_num_threads(), getattr(_core.Simd, _config.simd_level()))


def backend(t, op):
    """The compiled module for the tensor's device, after a check that it has the op.

    Raises:
        BackendError: this build has no kernel for the device.
    """
    if not t.is_cuda:
        return _core
    try:
        cuda = importlib.import_module("roikit._cuda")
    except ImportError as reason:
        raise BackendError(f"{op}: the tensors are on {t.device}, but this roikit has no CUDA module "
                           f"({_core.cuda_build}; {reason}); `roikit info` prints the build report"
                           ) from reason
    if not hasattr(cuda, op):
        raise BackendError(f"{op}: the tensors are on {t.device}, and this op has no CUDA kernel")
    return cuda
