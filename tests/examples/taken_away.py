"""Takes what a new op consists of away, piece by piece, and prints as JSON what the tests of the house then say of it:
`python tests/examples/taken_away.py NAME KIND` in a copy of the repository in which `docs.recipes.new_op` wrote NAME.

A process for all pieces: what has been imported is imported again where a piece is a line of it.
"""

import ast
import contextlib
import importlib
import json
import sys
from pathlib import Path

ROOT = Path.cwd()
sys.path.insert(0, str(ROOT))

from docs import tables  # noqa: E402
from docs.recipes import new_op  # noqa: E402
from roikit.testing import catalogue  # noqa: E402
from tests import test_matrix  # noqa: E402
from tests.testing import test_verify  # noqa: E402


@contextlib.contextmanager
def without(place, piece=None):
    """The file is gone, or without a piece of its text."""
    path, text = ROOT / place, (ROOT / place).read_text()
    assert piece is None or text.count(piece) == 1, f"{piece!r} is not in {place} once"
    path.unlink() if piece is None else path.write_text(text.replace(piece, ""))
    try:
        yield
    finally:
        path.write_text(text)


def imported_again(floor):
    sys.modules.pop(f"roikit.{floor}")
    return importlib.import_module(f"roikit.{floor}")


def said_without_a_file(place, op):
    with without(place):
        if "mutants" in place:
            paths = sorted((ROOT / "tests/testing").glob("mutants*.py"))
            test_verify.MUTANTS = [mutant for path in paths for mutant in test_verify.load(path.stem).MUTANTS]
            return list(test_verify.unjudged({op.name: op}, test_verify.JUDGED))
        return test_matrix.missing_files(ROOT, {op.name: op})


def said_without_the_entry(name, kind):
    with without(new_op.TABLE, new_op.named(new_op.ENTRIES[kind], name)):
        assignments = {node.targets[0].id: node.value for node in ast.parse((ROOT / new_op.TABLE).read_text()).body
                       if isinstance(node, ast.Assign)}
        ops = catalogue.ops(ast.literal_eval(assignments["OPS"]))
    return [*test_matrix.unlisted_files(ROOT, ops), *(said for floor in new_op.FLOORS for said in
            test_matrix.unlisted_functions(floor, importlib.import_module(f"roikit.{floor}").__all__, ops))]


def said_without_the_import(floor, op):
    with without(f"roikit/{floor}/__init__.py", f"from roikit.{floor}.{op.name} import *\n"):
        imported_again(floor)
        _, found = test_matrix.holes({op.name: op})
    imported_again(floor)
    return found


def said_without_a_row(page, name):
    lines = (ROOT / "docs" / page).read_text().splitlines(keepends=True)
    row = next(line for line in lines if name in line)
    with without(f"docs/{page}", row):
        return [f"{path.name}: run {tables.COMMAND}" for path in tables.out_of_date()]


def main(name, kind):
    op = catalogue.ops()[name]
    said = {place: said_without_a_file(place, op) for place in new_op.files(name, kind)}
    said[new_op.TABLE] = said_without_the_entry(name, kind)
    said |= {f"roikit/{floor}/__init__.py": said_without_the_import(floor, op) for floor in new_op.FLOORS}
    # docs/verify.md names the room that an op's results are given, which the recipes' have none of.
    said |= {f"docs/{page}": said_without_a_row(page, name) for page in ("index.md", "conventions.md")}
    return said


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
