"""What a device has of bfloat16."""

import os

import torch

__all__ = ["has_bf16", "native_bf16"]

# Settings of ONEDNN_MAX_CPU_ISA with which oneDNN computes bfloat16, but without the instructions for it.
_EMULATED = ("AVX512_CORE", "AVX512_CORE_VNNI")


def has_bf16(device: torch.device | str) -> bool:
    """Whether bfloat16 is more than a way to lose time there: of a CPU, whether oneDNN computes it.

    Without that, torch's own loops do, some twenty times as slowly as float32. What ONEDNN_MAX_CPU_ISA leaves of the
    processor counts. A torch without oneDNN takes as long for either.
    """
    if torch.device(device).type != "cpu" or not torch.backends.mkldnn.is_available():
        return True
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def native_bf16(device: torch.device | str) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware; elsewhere bf16 costs time.

    Of a CPU, what ONEDNN_MAX_CPU_ISA leaves of it counts.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported()
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    most = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return most.upper() not in _EMULATED and any(ask() for ask in asked if ask is not None)
