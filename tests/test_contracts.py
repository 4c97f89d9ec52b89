"""What the floors tell their users: the names of each, from its ops' own files, and one contract on all of them.

The contract stands in full in `roikit.ops`. The others say as much again as `help()` must tell: all arguments, shapes,
results, and in `roikit.kernels` errors. What they say may not differ.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import roikit._check

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("reference", "kernels", "ops")
SECTION = re.compile(r"^(Args|Returns|Raises):(.*)$", re.M)
ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): +(.*)$")
SHAPE = re.compile(r"\([A-Z0-9][\w */+-]*,[\w */+,-]*\)")  # capitals and numbers, and a comma
LIKE = re.compile(r"\bas(?: in)? (?:given to )?`([\w.]+)`")


def functions(floor):
    package = importlib.import_module(f"roikit.{floor}")
    return {name: getattr(package, name) for name in package.__all__ if name[0].islower()}


def sections(text):
    """The text of each section of a docstring, by its name."""
    found = list(SECTION.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    return {match[1]: match[2] + text[match.end():end] for match, end in zip(found, ends, strict=False)}


def entries(text):
    """What a section Args says of each argument: {name: text}, in order."""
    told, names = {}, ()
    for line in text.splitlines():
        if match := ENTRY.match(line):
            names = match[1].split(", ")
            told.update(dict.fromkeys(names, match[2]))
        elif line.startswith(" " * 6):
            told.update({name: f"{told[name]} {line.strip()}" for name in names})
        elif line.strip():  # the section is over
            break
    return told


def shape_in(text):
    """The first shape in a text, without spaces, or None."""
    match = SHAPE.search(text)
    return match and match[0].replace(" ", "")


def faults(floor, name, function):
    """What the docstring of a function lacks, or tells of what is not there."""
    parts = sections(inspect.getdoc(function))
    told, takes = entries(parts.get("Args", "")), list(inspect.signature(function).parameters)
    found = [f"Args says nothing of {argument}" for argument in takes if argument not in told]
    found += [f"Args tells of {argument}, which it does not take" for argument in told if argument not in takes]
    found += [f"no {part}" for part in ("Returns", "Raises") if part not in parts and (part, floor) != (
        "Raises", "reference")]
    package = importlib.import_module(f"roikit.{floor}")
    for other in LIKE.findall(" ".join(inspect.getdoc(function).split())):
        home, _, wanted = other.removeprefix("roikit.").rpartition(".")
        if not hasattr(importlib.import_module(f"roikit.{home}") if home else package, wanted):
            found.append(f"it sends to {other}, which is not there")
    return [f"roikit.{floor}.{name}: {fault}" for fault in found]


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_has_the_names_of_its_ops_files_and_no_others(floor):
    tree = ast.parse((ROOT / f"roikit/{floor}/__init__.py").read_text())
    starred = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]
    names = [name for module in starred for name in importlib.import_module(module).__all__]
    assert importlib.import_module(f"roikit.{floor}").__all__ == sorted(names)  # so that no two share a name


def test_no_check_of_the_vocabulary_has_an_ops_name():
    """An import of `roikit._check.<op>` would put the module in its place."""
    tree = ast.parse(Path(roikit._check.__file__).read_text())
    checks = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert not checks & {module.name for module in pkgutil.iter_modules(roikit._check.__path__)}


@pytest.mark.parametrize("floor", FLOORS)
def test_help_tells_every_argument_the_result_and_the_errors(floor):
    found = [fault for name, function in functions(floor).items() for fault in faults(floor, name, function)]
    assert not found, "\n" + "\n".join(found)


def test_floors_name_one_shape_of_each_argument_and_of_the_result():
    told = {}
    for floor in FLOORS:
        for name, function in functions(floor).items():
            parts = sections(inspect.getdoc(function))
            for what, text in {**entries(parts.get("Args", "")), "the result": parts.get("Returns", "")}.items():
                if shape := shape_in(text):
                    told.setdefault((name, what), {})[floor] = shape
    assert sum(len(shapes) > 1 for shapes in told.values()) > 100  # the comparison sees something
    wrong = [f"{name}, {what}: {shapes}" for (name, what), shapes in told.items() if len(set(shapes.values())) > 1]
    assert not wrong, "\n" + "\n".join(wrong)


def broken(x, *, out=None):
    """A sum.

    Args:
        x: (N, 4), as in `no_such_op`,
            on two lines.
        y: nothing.

    Returns:
        (N,).
    """


def test_the_tests_see_what_is_missing():
    told = entries(sections(inspect.getdoc(broken))["Args"])
    assert told == {"x": "(N, 4), as in `no_such_op`, on two lines.", "y": "nothing."}
    assert shape_in(told["x"]) == "(N,4)"
    assert [fault.split(": ")[1] for fault in faults("kernels", "broken", broken)] == [
        "Args says nothing of out", "Args tells of y, which it does not take", "no Raises",
        "it sends to no_such_op, which is not there"]
