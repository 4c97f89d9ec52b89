"""A stand-in for a peer's compiled module, used where that is missing or does not load."""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

__all__ = ["missing", "stand_in"]


def missing(name):
    """A function that says that roikit has no kernel for ``name``."""

    def function(*args, **arguments):
        raise NotImplementedError(f"{name}: its compiled module did not load, and roikit has no kernel for it")

    return function


class _Loader(Loader):
    """Loads the peer's own module as ever; where there is none or it does not load, fills an empty one."""

    def __init__(self, own, fill):
        self.own, self.fill = own, fill

    def create_module(self, spec):
        if self.own is None:
            return None
        try:
            return self.own.create_module(spec)
        except ImportError:
            self.own = None
            return None

    def exec_module(self, module):
        if self.own is None:
            self.fill(module)
        else:
            self.own.exec_module(module)


class _Finder(MetaPathFinder):
    def __init__(self, name, fill):
        self.name, self.fill = name, fill

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader, self.fill)
                return spec
        return ModuleSpec(name, _Loader(None, self.fill), origin="roikit")


def stand_in(name, importer, fill):
    """Have ``fill`` make the module ``name`` when it is imported and the peer's own is missing or does not load.

    Args:
        name: of the compiled module.
        importer: the peer's module that tries to import it, and goes without it for good when that fails.
        fill: takes the empty module. Calling this twice for a name is harmless.

    Raises:
        RuntimeError: importer was imported before, and did without.
    """
    if name in sys.modules:
        return
    if importer in sys.modules:
        raise RuntimeError(f"{name}: {importer} was imported before, without it; call install() first")
    if not any(isinstance(finder, _Finder) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(name, fill))
