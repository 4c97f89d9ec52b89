"""What pages say of every op, written from the table of ops and from what `roikit verify` knows.

    python -m docs.tables            names the pages that say something else; status 1 if there is one
    python -m docs.tables --write    writes them

A part stands between two marks, `<!-- NAME: python -m docs.tables --write -->` and `<!-- NAME ends -->`.
"""

import argparse
import re
import sys
from pathlib import Path

from roikit.testing import catalogue, table
from roikit.testing.judged import JUDGED

COMMAND = "python -m docs.tables --write"
DOCS = Path(__file__).resolve().parent


def wrapped(text, width=120):
    lines = [""]
    for word in text.split(" "):
        lines = [*lines[:-1], f"{lines[-1]} {word}".lstrip()] if len(lines[-1]) + len(word) < width else [*lines, word]
    return "\n".join(lines)


def listed(words):
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def rows_of_ops():
    names = {op.name: ", ".join(f"`{f.name}`" for f in op.functions) for op in catalogue.ops().values()}
    formats = ", ".join(f"[{name}](ops/{name}.md)" for name in table.FORMATS)
    return "\n".join(["| page | functions |", "|---|---|",
                      *(f"| [{name}](ops/{name}.md) | {functions} |" for name, functions in names.items()),
                      f"| {formats} | `roikit.masks`: COCO's mask formats |"])


def rows_of_conventions():
    rows = (f"| `{op.name}` | {', '.join(v.name for v in op.variants if v.parts == 1)} |" for op in JUDGED.values())
    return "\n".join(["| op | besides the reference's |", "|---|---|", *rows])


def room():
    words = ", ".join(dict.fromkeys(op.room for op in JUDGED.values() if op.room))
    return wrapped("Some of roikit's exact results nobody else can meet to the bit, and there a function is given "
                   f"room: {words}. What is decided (indices, order, counts) must be equal all the same.")


def exact():
    names = [op.name for op in catalogue.ops().values() if op.tolerance == "exact"]
    return wrapped(f"{listed(names)} use only operations that IEEE 754 rounds correctly, in an order that the "
                   "specification (`roikit.reference`) fixes, and the build forbids fused multiply-add. So the NumPy "
                   "reference, every SIMD level, every number of threads and (where there is a kernel) the GPU give "
                   "the same bits.")


PAGES = {"index.md": {"ops": rows_of_ops}, "verify.md": {"room": room, "conventions": rows_of_conventions},
         "conventions.md": {"exact": exact}}


def renewed(text, parts):
    """The page with its parts as they are to be.

    Raises:
        ValueError: a part has no marks.
    """
    for name, part in parts.items():
        begin, end = f"<!-- {name}: {COMMAND} -->\n", f"\n<!-- {name} ends -->"
        text, found = re.subn(f"(?s)(?<={re.escape(begin)}).*?(?={re.escape(end)})", lambda _, part=part: part(), text)
        if found != 1:
            raise ValueError(f"docs.tables: a page must have {begin.strip()} and {end.strip()} once, found {found}")
    return text


def out_of_date():
    """page -> its text as it is to be, of the pages that say something else."""
    texts = {DOCS / name: renewed((DOCS / name).read_text(), parts) for name, parts in PAGES.items()}
    return {path: text for path, text in texts.items() if text != path.read_text()}


def main(words=None):
    parser = argparse.ArgumentParser(prog="python -m docs.tables", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    write, pages = parser.parse_args(words).write, out_of_date()
    for path, text in pages.items():
        print(f"docs/{path.name}: {'written' if write else f'out of date, {COMMAND} writes it'}")
        if write:
            path.write_text(text)
    return 1 if pages and not write else 0


if __name__ == "__main__":
    sys.exit(main())
