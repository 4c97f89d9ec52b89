"""The compiled CPU kernels. They check little and say it tersely; roikit.kernels and roikit.ops are the doors."""

import enum
from collections.abc import Callable
from typing import Any

compiler: str
cuda_build: str

class DType(enum.Enum):
    float16 = 0
    bfloat16 = 1
    float32 = 2
    float64 = 3
    uint8 = 4
    bool = 5
    int8 = 6
    int32 = 7
    uint32 = 8
    int64 = 9

class Simd(enum.Enum):
    base = 0
    v3 = 1
    v4 = 2

class View:
    def __init__(self, *args: object) -> None: ...

class Launch:
    def __init__(
        self, *, threads: int = 1, team: int = 0, simd: Simd = Simd.base, huge_pages: bool = False, device: int = 0,
        stream: int = 0, workspace: int = 0, workspace_bytes: int = 0, deterministic: bool = False
    ) -> None: ...

def best_simd() -> Simd: ...

# The kernels: one function an entry point of src/bind/<op>.cpp, called by roikit.kernels and roikit.ops alone.
def __getattr__(name: str) -> Callable[..., Any]: ...
