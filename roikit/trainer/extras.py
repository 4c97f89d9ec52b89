"""Imports of the optional libraries, with a sentence for whoever lacks one."""

import importlib

__all__ = ["extra"]

_DISTRIBUTION = {"yaml": "PyYAML", "PIL": "Pillow"}


def extra(module, purpose):
    """Import an optional module.

    Args:
        module: its dotted name, say ``"PIL.Image"``.
        purpose: what needs it, the first words of the sentence ("drawing predictions").

    Raises:
        ImportError: it is not installed; the text says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        name = _DISTRIBUTION.get(top, top)
        raise ImportError(f'{purpose} needs {name} ({error}): pip install "roikit[train]"',
                          name=error.name) from error
