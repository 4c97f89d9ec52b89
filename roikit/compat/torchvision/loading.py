"""When torchvision's operators become roikit's: while torchvision is imported, or at once where it has been."""

import importlib.util
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path

import torch

from roikit.compat.torchvision.operators import KERNELS, SCHEMAS, cuda_version, missing, register_gradients
from roikit.ops._opaque import opaque

__all__ = ["install", "uninstall"]

_EXTENSION = "torchvision.extension"


def install(prefer=None):
    """Let torchvision run on roikit's kernels, where its own binary does not load or everywhere.

    Works whether or not torchvision is installed; where it has not been imported, nothing happens until it is. Calling
    it twice is harmless, and ``install()`` after ``install(prefer="roikit")`` changes nothing. An
    import of torchvision that failed before is not in the way.

    Args:
        prefer: None: a binary that loads is left alone. "roikit": its operators, too, run on roikit's kernels, on the
            CPU and, where this roikit has a CUDA module, on CUDA; gradients, autocast and fake kernels stay
            torchvision's. Operators that roikit lacks (those for quantized tensors) stay as they are.

    Raises:
        ValueError: prefer is something else.
        RuntimeError: torchvision was imported whole before, without its operators.
    """
    if prefer not in (None, "roikit"):
        raise ValueError(f"roikit.compat.torchvision.install: prefer must be None or 'roikit', got {prefer!r}")
    _forget_a_failed_import()
    loaded = sys.modules.get(_EXTENSION)
    if loaded is not None and not loaded._has_ops():
        raise RuntimeError("roikit.compat.torchvision.install: torchvision was imported before, without its "
                           "operators; call install() first")
    _finder.prefer = _finder.prefer or prefer == "roikit"
    if loaded is None:
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
    elif prefer == "roikit":
        _override()


def _forget_a_failed_import():
    """Drop the modules that an import of torchvision left behind as it failed, so that the next one begins anew."""
    if "torchvision" not in sys.modules:
        for name in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[name]


def uninstall():
    """Undo `install`: torchvision's own kernels run again, in this process and from now on.

    Where torchvision has been imported without a binary, roikit's kernels stay: it has no others. Harmless without
    `install`.
    """
    _finder.prefer = False
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    while _overrides:
        _overrides.pop()._destroy()  # the dispatcher goes back to the kernels that were there before


_overrides = []  # of one library; its kernels go when it does


def _keys():
    """The dispatch keys that roikit has kernels for: a GPU's tensors need its CUDA module."""
    return ("CPU", "CUDA") if importlib.util.find_spec("roikit._cuda") else ("CPU",)


def _override():
    """Put roikit's kernels before those of torchvision's binary."""
    if _overrides:
        return
    library = torch.library.Library("torchvision", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*verriding a previously registered kernel")  # it is meant
        for name, kernel in KERNELS.items():
            for key in _keys() if hasattr(torch.ops.torchvision, name) else ():
                library.impl(name, opaque(kernel), key)
    _overrides.append(library)


def _has_ops():
    return True  # a function with a source, which torch.jit.script compiles with the callers of torchvision's own


def _define(extension):
    """Give torchvision the operators that its binary would have brought; ``extension`` is its module of that name."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    found = {name for name in (schema.split("(", 1)[0] for schema in SCHEMAS) if hasattr(torch.ops.torchvision, name)}
    for schema in SCHEMAS:
        name = schema.split("(", 1)[0]
        if name in found:
            continue  # from a library of its own, loaded before torchvision
        library.define(schema)
        if name == "_cuda_version":
            library.impl(name, cuda_version, "CompositeExplicitAutograd")  # it takes no tensor, so has no device
            continue
        for key in ("CPU", "CUDA"):
            library.impl(name, opaque(KERNELS.get(name) or missing(name)), key)
    if not found and not (Path(extension.__file__).parent / "_autograd_registrations.py").exists():
        register_gradients(library)
    extension._has_ops = _has_ops
    extension._roikit_library = library  # a Library takes its operators with it when it goes


class _AfterExtension(Loader):
    """Runs torchvision.extension as ever, then fills in or replaces what its binary brought."""

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        if not module._has_ops():
            _define(module)
        if _finder.prefer:
            _override()


class _Finder(MetaPathFinder):
    prefer = False

    def find_spec(self, name, path=None, target=None):
        if name != _EXTENSION:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _AfterExtension(spec.loader)
                return spec
        return None


_finder = _Finder()
