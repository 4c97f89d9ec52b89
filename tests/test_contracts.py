"""What the floors tell their users: the names of each, from its ops' own files, and one contract on all of them."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("reference", "kernels", "ops")


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_has_the_names_of_its_ops_files_and_no_others(floor):
    tree = ast.parse((ROOT / f"roikit/{floor}/__init__.py").read_text())
    starred = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]
    names = [name for module in starred for name in importlib.import_module(module).__all__]
    assert importlib.import_module(f"roikit.{floor}").__all__ == sorted(names)  # so that no two share a name
