"""The public surface: `__all__` says what is public, imports stay light. (The floors' functions: test_layout.)"""

import ast
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("module", ["roikit.kernels", "roikit.ops", "roikit.masks", "roikit.models", "roikit.data",
                                    "roikit.trainer", "roikit.reference", "roikit.export"])
def test_all_names_exist_and_are_documented(module):
    module = importlib.import_module(module)
    for name in module.__all__:
        thing = getattr(module, name)
        assert not callable(thing) or inspect.getdoc(thing), f"{module.__name__}.{name} has no docstring"


def test_every_public_name_of_roikit_resolves():
    import roikit

    for name in roikit.__all__:
        assert getattr(roikit, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    import roikit

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        roikit.nothing  # noqa: B018


@pytest.mark.parametrize("module", ["roikit", "roikit.kernels", "roikit.masks", "roikit.reference", "roikit.cli"])
def test_importing_needs_no_torch_and_no_extra(module, run_python):
    run_python(f"import sys; sys.modules['torch'] = None; import {module}; "
               "assert not {m.split('.')[0] for m in sys.modules} & {'PIL', 'matplotlib', 'pycocotools', 'yaml'}")


def test_kernels_import_within_50_ms_of_numpy(run_python):
    code = "import time, numpy; t = time.process_time(); import roikit.kernels; print(time.process_time() - t)"
    times = [float(run_python(code)) for _ in range(5)]
    assert min(times) <= 0.05, times


@pytest.mark.parametrize("name", ["_core", "_cuda"])
def test_the_stub_of_a_compiled_module_names_its_vocabulary(name):
    """What is no entry point of an op, and what it lists as such takes the arguments that it lists."""
    if importlib.util.find_spec(f"roikit.{name}") is None:
        pytest.skip(f"roikit was built without {name}")
    module = importlib.import_module(f"roikit.{name}")
    listed = {}
    for node in ast.parse((Path(module.__file__).parent / f"{name}.pyi").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name != "__getattr__":
            listed[node.name] = [a.arg for a in node.args.args]
        elif isinstance(node, (ast.ClassDef, ast.AnnAssign)):
            listed[node.name if isinstance(node, ast.ClassDef) else node.target.id] = None
    has = {n: thing for n, thing in vars(module).items() if not n.startswith("__")}
    assert not listed.keys() - has.keys()
    assert not [n for n, thing in has.items() if n not in listed and not inspect.isroutine(thing)]
    for function, expected in listed.items():
        if expected is not None:  # pybind11 writes the signature into the first line
            signature = getattr(module, function).__doc__.splitlines()[0]
            assert re.findall(r"(\w+): ", signature) == expected, function
