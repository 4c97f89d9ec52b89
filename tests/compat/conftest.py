"""Runs a peer beside roikit, in a process of its own that also finds what this one finds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name == "{}" else find(name, *more)
"""


@pytest.fixture
def run_beside():
    """Call with a script of this folder, the peers to install() roikit for, and a compiled module to hide."""
    import roikit

    home, path = str(Path(roikit.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")

    def run(script, *peers, hide=None):
        code = [HIDE.format(hide)] if hide else []
        code += [f"import roikit.compat.{peer}; roikit.compat.{peer}.install()" for peer in peers]
        code += [f"import runpy; runpy.run_path({str(Path(__file__).parent / script)!r}, run_name='__main__')"]
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", "\n".join(code)], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join([home, path])})
        assert done.returncode == 0, done.stdout + done.stderr

    return run
