"""How this roikit was built and how it runs: compiler, SIMD level, threads, CUDA module, torch.

    ROIKIT_SIMD=base|v3|v4    the vector variant to run, at most what the processor has
    ROIKIT_HUGE_PAGES=on|off  whether large results ask for huge pages; by default, wherever free memory is kept
    ROIKIT_NUM_THREADS=N      threads of roikit.kernels where the call names none
    ROIKIT_DEBUG=1            the ops read indices that lie on a GPU and raise where one is wrong
"""

import contextlib
import functools
import importlib.util
import os
import platform
import sys
from pathlib import Path

from roikit import _core
from roikit._version import __version__

__all__ = ["config", "debug", "default_threads", "huge_pages", "show_config", "simd", "simd_level", "simd_levels"]

LEVELS = ("base", "v3", "v4")


def simd_levels():
    """The levels that this processor runs, lowest first, as a tuple of names."""
    return LEVELS[: LEVELS.index(_core.best_simd().name) + 1]


def _level_from_environment():
    wish = os.environ.get("ROIKIT_SIMD")
    usable = simd_levels()
    if wish is None:
        return usable[-1]
    if wish not in LEVELS:
        raise ValueError(f"ROIKIT_SIMD must be one of {', '.join(LEVELS)}, got {wish!r}")
    return wish if wish in usable else usable[-1]


_level = _level_from_environment()


def simd_level():
    """The level that kernels run at: "base", "v3" or "v4"."""
    return _level


@contextlib.contextmanager
def simd(level):
    """Run the kernels called inside the block at ``level`` ("base", "v3" or "v4").

    Raises:
        ValueError: the level is unknown or the processor does not have it.
    """
    global _level
    if level not in simd_levels():
        raise ValueError(f"simd: level must be one of {', '.join(simd_levels())} "
                         f"on this processor, got {level!r}")
    before, _level = _level, level
    try:
        yield
    finally:
        _level = before


def default_threads():
    """ROIKIT_NUM_THREADS where it is set, else the processors this process may use."""
    wish = os.environ.get("ROIKIT_NUM_THREADS")
    if wish is not None:
        if not wish.isdigit() or int(wish) < 1:
            raise ValueError(f"ROIKIT_NUM_THREADS must be a whole number from 1, got {wish!r}")
        return int(wish)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gives_free_memory_back(devices="/sys/bus/virtio/devices"):
    """Whether this is a virtual machine whose free memory goes back to its host.

    That is what a virtio balloon (device 5) with the feature of free page reporting (bit 5) does: Virtual I/O Device
    Version 1.3, section 5.5.3.
    """
    for device in Path(devices).glob("*"):
        try:
            if int((device / "device").read_text(), 16) == 5 and (device / "features").read_text()[5:6] == "1":
                return True
        except (OSError, ValueError):  # not readable here, or gone meanwhile
            continue
    return False


@functools.cache
def huge_pages():
    """Whether the kernels ask for huge pages under large results."""
    wish = os.environ.get("ROIKIT_HUGE_PAGES")
    if wish not in (None, "on", "off"):
        raise ValueError(f"ROIKIT_HUGE_PAGES must be on or off, got {wish!r}")
    return wish == "on" if wish else not _gives_free_memory_back()


def debug():
    """Whether ROIKIT_DEBUG=1 asks for checks that wait for the GPU."""
    return os.environ.get("ROIKIT_DEBUG") == "1"


def _cuda_report():
    if importlib.util.find_spec("roikit._cuda") is None:
        return f"not built ({_core.cuda_build})"
    return f"built with {_core.cuda_build}"


def _torch_report():
    if "torch" not in sys.modules and importlib.util.find_spec("torch") is None:
        return "not installed"
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torch")
    except PackageNotFoundError:
        return "installed, version unknown"


def config():
    """The facts of `show_config` as a dict of strings."""
    import numpy as np

    return {
        "roikit": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "compiler": _core.compiler,
        "processor": f"{platform.machine()}, SIMD levels {' '.join(simd_levels())}",
        "simd": simd_level(),
        "huge pages": "on" if huge_pages() else "off",
        "threads": str(default_threads()),
        "cuda module": _cuda_report(),
        "torch": _torch_report(),
    }


def show_config(file=None):
    """Print how roikit was built and how it runs; ``file`` as in `print`."""
    for name, value in config().items():
        print(f"{name:12} {value}", file=file)
