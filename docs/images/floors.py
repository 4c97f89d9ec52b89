"""Draws the figures of docs/design/floors.md into docs/images: `python docs/images/floors.py`.

`floors.svg` shows the folders from Python to the processor, `floors-op.svg` one op's files and what each shares with
other ops. Every arrow is an import or an include that the sources have; a folder that they have and this script has not
placed is an error. A test draws them again and compares.
"""

import ast
import re
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OP = "soft_nms"

LINE, PAD, GAP_X, GAP_Y, MARGIN = 16, 9, 46, 18, 10
FILLS = {"python": "#cfe3f7", "judge": "#f6f1d8", "compiled": "#d3edd3", "core": "#f7dccb", "user": "#dde3ea"}
GREY, DARK = "#7b8794", "#1b2733"

# folder: (column, row, kind, what it is)
FLOORS = {
    "roikit/models": (1, 1, "user", "detectors"),
    "roikit/compat": (0, 2, "user", "torchvision's, detectron2's,|mmcv's names"),
    "roikit/testing": (1, 3, "user", "roikit verify"),
    "roikit/ops": (2, 1, "python", "torch: schema, fake,|gradient, allocation"),
    "roikit/kernels": (2, 2, "python", "NumPy: check, allocate, launch"),
    "roikit/reference": (2, 3, "judge", "NumPy: the specification,|which judges the others"),
    "roikit/_check": (3, 0, "python", "arguments, for both faces"),
    "src/bind": (3, 1, "compiled", "one source an op, in two modules:|_core and _cuda"),
    "src/cpu": (4, 0, "compiled", "walks with threads and lanes"),
    "src/cuda": (4, 2, "compiled", "walks with blocks and streams"),
    "src/core": (5, 1, "core", "the arithmetic, once"),
}
# Where an op's file of a floor stands in floors-op.svg.
OP_PLACES = {
    "roikit/ops": (0, 0, "python"), "roikit/kernels": (0, 1, "python"), "roikit/reference": (0, 2, "judge"),
    "roikit/_check": (1, 0, "python"), "src/bind": (1, 1, "compiled"),
    "src/cpu": (2, 0, "compiled"), "src/cuda": (2, 2, "compiled"), "src/core": (3, 1, "core"),
}
# Used everywhere, and on no op's way.
ASIDE = ("roikit/_config", "roikit/_home", "roikit/_version", "roikit/_rle", "roikit/_polygon")
COMPILED = {"roikit/_core": "src/bind", "roikit/_cuda": "src/bind"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def imports(path):
    """The roikit modules that a Python file imports, as paths: "roikit/ops/nms", or "roikit/ops/nms/nms" of a name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("roikit"):
            yield from (f"{node.module}.{alias.name}".replace(".", "/") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.replace(".", "/") for alias in node.names if alias.name.startswith("roikit"))


def uses(path):
    """What a source file uses of the tree, as paths relative to the root, without endings."""
    text = path.read_text(encoding="utf-8")
    found = imports(path) if path.suffix == ".py" else (f"src/{name}" for name in INCLUDE.findall(text))
    return {str(Path(name).with_suffix("")) for name in found}


def sources(folder):
    return sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".h", ".cpp", ".cu", ".cuh"))


def floor_of(name, floors):
    """The folder of ``floors`` in which a path lies; None outside of them."""
    name = next((floor for module, floor in COMPILED.items() if name.startswith(module)), name)
    return next((floor for floor in floors if name == floor or name.startswith(f"{floor}/")), None)


def floors_figure():
    """The boxes and arrows of floors.svg.

    Raises:
        ValueError: a folder uses one that has no place here.
    """
    arrows = set()
    for floor in FLOORS:
        for path in sources(floor):
            for name in uses(path):
                other = floor_of(name, FLOORS)
                if other is None and name.startswith(("src/", "roikit/_")) and not name.startswith(ASIDE):
                    raise ValueError(f"{path.relative_to(ROOT)} uses {name}, which has no place in floors.svg")
                if other not in (None, floor):
                    arrows.add((floor, other))
    wrong = [f"{one} uses {other}" for one, other in arrows if FLOORS[one][0] >= FLOORS[other][0]]
    if wrong:
        raise ValueError(f"arrows of floors.svg go to the right, but {', '.join(wrong)}")
    boxes = {floor: (column, row, kind, [f"{floor}/", *text.split("|")])
             for floor, (column, row, kind, text) in FLOORS.items()}
    return boxes, sorted(arrows)


def op_figure(op):
    """The boxes and arrows of an op's own files; below each file's name stand the shared pieces that it uses."""
    files = {f"{floor}/{op}": next((p for p in sources(floor) if p.stem == op), None) for floor in OP_PLACES}
    files = {name: path for name, path in files.items() if path is not None}
    boxes, arrows = {}, set()
    for name, path in files.items():
        floor, used = name.rsplit("/", 1)[0], uses(path)
        own = {other for other in files for one in used if one == other or one.startswith(f"{other}/")}
        if any(floor_of(one, ("src/bind",)) == "src/bind" for one in used) and floor != "src/bind":
            own.add(f"src/bind/{op}")
        if floor == "src/bind":  # it names the functions of the device that it is compiled for
            own |= {f"src/{device}/{op}" for device in ("cpu", "cuda")}
        arrows |= {(name, other) for other in own - {name}}
        shared = sorted({one.removeprefix(f"{floor}/") for one in used - own if floor_of(one, FLOORS) == floor})
        boxes[name] = (*OP_PLACES[floor][:3], [str(path.relative_to(ROOT)), *wrapped(shared)])
    return boxes, sorted(arrows)


def wrapped(words, width=34):
    """"with one, two, ..." in lines of at most ``width`` letters."""
    lines = []
    for i, word in enumerate(words):
        word = word.replace("/", ".") + ("," if i + 1 < len(words) else "")
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word if lines else f"with {word}")
    return lines


def draw(boxes, arrows):
    """The SVG of boxes name -> (column, row, kind, lines) and of arrows (from, to), which go to a later column."""
    columns, rows = (sorted({place[i] for place in boxes.values()}) for i in (0, 1))
    widths = {c: max(7 * max(map(len, b[3])) + 2 * PAD for b in boxes.values() if b[0] == c) for c in columns}
    heights = {r: max(LINE * len(b[3]) + 2 * PAD for b in boxes.values() if b[1] == r) for r in rows}
    left = {c: MARGIN + sum(widths[o] + GAP_X for o in columns if o < c) for c in columns}
    top = {r: MARGIN + sum(heights[o] + GAP_Y for o in rows if o < r) for r in rows}
    place = {name: (left[c], top[r], widths[c], LINE * len(lines) + 2 * PAD)
             for name, (c, r, _, lines) in boxes.items()}
    parts = [arrow(place[start], place[end]) for start, end in arrows]
    parts += [box(place[name], kind, lines) for name, (_, _, kind, lines) in boxes.items()]
    width, height = left[columns[-1]] + widths[columns[-1]] + MARGIN, top[rows[-1]] + heights[rows[-1]] + MARGIN
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="system-ui, sans-serif" font-size="12">\n<defs><marker id="tip" viewBox="0 0 8 8" refX="7" '
            'refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" '
            f'fill="{GREY}"/></marker></defs>\n' + "\n".join(parts) + "\n</svg>\n")


def box(place, kind, lines):
    x, y, width, height = place
    texts = "".join(f'<text x="{x + PAD}" y="{y + PAD + LINE * (i + 1) - 4}" fill="{DARK}" '
                    f'font-weight="{400 if i else 600}">{escape(line)}</text>' for i, line in enumerate(lines))
    return (f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{FILLS[kind]}" '
            f'stroke="{GREY}"/>{texts}')


def arrow(start, end):
    """From the right side of one box to the left side of the other, with a bend before the latter."""
    x1, y1, x2, y2 = start[0] + start[2], start[1] + start[3] / 2, end[0], end[1] + end[3] / 2
    bend = x2 - GAP_X / 2
    return (f'<polyline points="{x1:g},{y1:g} {bend:g},{y1:g} {bend:g},{y2:g} {x2:g},{y2:g}" fill="none" '
            f'stroke="{GREY}" stroke-width="1.3" marker-end="url(#tip)"/>')


def figures():
    """File name -> SVG."""
    return {"floors.svg": draw(*floors_figure()), "floors-op.svg": draw(*op_figure(OP))}


if __name__ == "__main__":
    for name, text in figures().items():
        (HERE / name).write_text(text, encoding="utf-8")
