"""The compiled CUDA kernels. They take roikit._core's View and Launch."""

from collections.abc import Callable
from typing import Any

runtime: int

# As in roikit._core; scratch and sorting are the caller's (docs/design/cuda.md).
def __getattr__(name: str) -> Callable[..., Any]: ...
