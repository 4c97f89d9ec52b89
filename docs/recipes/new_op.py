"""Writes a new op: a small one of its kind that works on every floor, for its author to put the mathematics into.

    python -m docs.recipes.new_op NAME KIND    from the repository's root; KIND: elementwise, sorted or sampled

NAME's files are those of docs/recipes/KIND, under its name; the shared lines are the op's entry in
roikit/testing/table.py, a star import on each floor, and the rows of the pages, which `docs.tables` writes. Nothing is
written where the name is taken or is none.
"""

import argparse
import ast
import keyword
import re
import subprocess
import sys
import tokenize
from pathlib import Path

RECIPES = Path(__file__).resolve().parent
ROOT = RECIPES.parents[1]
TABLE = "roikit/testing/table.py"
FLOORS = ("reference", "kernels", "ops")
ENTRIES = {
    "elementwise": '''\
    "opname": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "opname(boxes: boxes, stride=1.0)"]},
''',
    "sorted": '''\
    "opname": {"kind": "sorted", "tolerance": "exact", "functions": [
        "opname(boxes: boxes, scores: scores, distance: 2.0) -> varying"],
        "entries": {"opname": ("opname", "opname_in_order")}},
''',
    "sampled": '''\
    "opname": {"kind": "sampled", "tolerance": "exact", "functions": [
        "opname(input: maps, boxes: rois, output_size: 2, spatial_scale=1.0)"]},
''',
}
NEXT = """\
It works as it is: build it and run its tests (docs/contributing.md says how). Then put your mathematics in, in order:
  1. roikit/reference/{name}.py and tests/reference/test_{name}.py: the rule, values by hand, laws
  2. the signature, kind and tolerance in roikit/testing/table.py
  3. src/core/{name}.h, src/cpu/{name}.cpp, src/cuda/{name}.cu, src/bind/{name}.cpp
  4. roikit/kernels/{name}.py and roikit/ops/{name}.py, and the tests of both
  5. roikit/testing/judged/{name}.py and tests/testing/mutants_{name}.py: what others do
  6. benchmarks/bench_{name}.py, roikit/bench/works/{name}.py, docs/ops/{name}.md
  7. python -m docs.tables --write; python -m benchmarks.guard --update {name}
"""


def named(text, name):
    """A recipe's text with the op's name for opname, Opname and OPNAME."""
    camel = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("opname", name).replace("Opname", camel).replace("OPNAME", name.upper())


def files(name, kind):
    """Place, from the root -> text, of the files that are the op's own."""
    folder = RECIPES / kind
    found = sorted(p for p in folder.rglob("*opname.*") if "__pycache__" not in p.parts)
    return {named(p.relative_to(folder).as_posix(), name): named(p.read_text(), name) for p in found}


def with_entry(text, name, kind):
    """The table with an entry of the op, its last."""
    end = "}\nFORMATS = "
    if text.count(end) != 1:
        raise ValueError(f"new_op: {TABLE} must have the end of OPS, then FORMATS, once")
    return text.replace(end, named(ENTRIES[kind], name) + end)


def with_import(text, floor, name):
    """A floor's __init__ with the op's star import, in order."""
    start, line = f"from roikit.{floor}.", f"from roikit.{floor}.{name} import *\n"
    lines = text.splitlines(keepends=True)
    stars = [i for i, other in enumerate(lines) if other.startswith(start) and other.endswith("import *\n")]
    after = [i for i in stars if lines[i].split()[1] > line.split()[1]]
    place = after[0] if after else stars[-1] + 1
    return "".join([*lines[:place], line, *lines[place:]])


def shared(root, name, kind):
    """Place -> new text of the files that the op shares with others."""
    found = {TABLE: with_entry((root / TABLE).read_text(), name, kind)}
    for floor in FLOORS:
        place = f"roikit/{floor}/__init__.py"
        found[place] = with_import((root / place).read_text(), floor, name)
    return found


def words(path):
    """The names that a source is written with, comments and texts aside."""
    if path.suffix == ".py":
        with open(path, "rb") as lines:
            return {token.string for token in tokenize.tokenize(lines.readline) if token.type == tokenize.NAME}
    return set(re.findall(r"[A-Za-z_]\w*", re.sub(r"//.*|\"[^\"\n]*\"", "", path.read_text())))


def refusal(root, name, kind):
    """Why an op cannot have this name, or None."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        return f"NAME must be an identifier in small letters, got {name!r}"
    values = {node.targets[0].id: node.value for node in ast.parse((root / TABLE).read_text()).body
              if isinstance(node, ast.Assign)}
    ops, formats = ast.literal_eval(values["OPS"]), ast.literal_eval(values["FORMATS"])
    functions = {line.split("(")[0]: op for op, entry in ops.items() for line in entry["functions"]}
    if name in ops or name in formats:
        return f"{name} is an op already, in {TABLE}"
    if name in functions:
        return f"{name} is a function of {functions[name]} already, in {TABLE}"
    vocabulary = ast.parse((root / "roikit/_check/__init__.py").read_text()).body
    if name in {node.name for node in vocabulary if isinstance(node, ast.FunctionDef)}:
        return f"{name} is a check of roikit._check, which an op's file there would hide"
    if taken := [place for place in files(name, kind) if (root / place).exists()]:
        return f"{', '.join(taken)} is there already"
    sources = [*sorted((root / "src").rglob("*.*")), *sorted((RECIPES / kind).rglob("*.*"))]
    used = [p for p in sources if p.suffix in (".py", ".h", ".cuh", ".cpp", ".cu") and name in words(p)]
    return f"{name} has a meaning in {used[0].relative_to(root)}" if used else None


def write(root, name, kind):
    """Writes an op; returns the places of its own files and of the shared ones.

    Raises:
        ValueError: the name is taken or is none; nothing is written.
    """
    if reason := refusal(root, name, kind):
        raise ValueError(f"new_op: {reason}")
    own, changed = files(name, kind), shared(root, name, kind)
    for place, text in {**own, **changed}.items():
        (root / place).write_text(text)
    return list(own), list(changed)


def main(words=None, root=ROOT):
    parser = argparse.ArgumentParser(prog="python -m docs.recipes.new_op", description=__doc__.splitlines()[0])
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("kind", metavar="KIND", choices=ENTRIES, help=", ".join(ENTRIES))
    given = parser.parse_args(words)
    try:
        own, changed = write(root, given.name, given.kind)
    except ValueError as reason:
        print(reason, file=sys.stderr)
        return 1
    for place in own:
        print(f"{place}: written")
    for place in changed:
        print(f"{place}: has the op now")
    # In a process of its own, which imports what was written.
    pages = subprocess.run([sys.executable, "-m", "docs.tables", "--write"], cwd=root).returncode
    print(f"\n{NEXT.format(name=given.name)}", end="")
    return pages


if __name__ == "__main__":
    sys.exit(main())
