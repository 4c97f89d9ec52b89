"""Trains every system on nuclei-mini with the same steps and seeds, and tells what each costs and reaches.

    python -m benchmarks.family_table [--steps 240] [--seeds 0 1 2] [--presets NAME ...] [--threads 2]
                                      [--results family.jsonl] [--markdown FILE] [--set dotted.key=value]
    python -m benchmarks.family_table --ablation ...

Without --presets these are all presets whose data are in the package. --ablation trains the choices that the tables of
the Mask R-CNN paper compare, each with nuclei-mini's pyramid and body, and prints the paper's mask AP beside; those are
of COCO with other bodies, so that directions can be compared and numbers cannot. Each run has a process of its own, one
after the other; its line is added to --results as it ends, and a run that the file holds already is not done again, so
that the command goes on where it was stopped. Delete the file after a change of a preset. Figures are medians over the
seeds, with the least and the largest; `#` stands before lines about single runs. --markdown writes the tables to a
file, too.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from roikit.bench.table import processor
from roikit.models import DetectorConfig
from roikit.trainer import load_config, preset_names

BASE = "nuclei-mini"


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: as it is printed.
        preset, changes: what is trained; a preset and overrides of it.
        paper: mask AP that the paper states, in [0, 1], or None.
    """

    name: str
    preset: str
    changes: tuple[str, ...] = ()
    paper: float | None = None


def _pool(kind, reduce):
    return tuple(f"model.{part}.{key}={value}" for part in ("box", "mask")
                 for key, value in (("pool_kind", kind), ("pool_reduce", reduce)))


# He et al. 2017, tables 2b, 2c and 2e; what a row leaves out is nuclei-mini's. The paper's baselines differ by table.
ABLATION = {
    "Pooling (paper: ResNet-50-C4)": (
        Row("RoIPool, max", BASE, _pool("roi_pool", "max"), 0.269),
        Row("RoIWarp, max", BASE, _pool("roi_warp", "max"), 0.272),
        Row("RoIWarp, mean", BASE, _pool("roi_warp", "mean"), 0.271),
        Row("RoIAlign, max", BASE, _pool("roi_align", "max"), 0.302),
        Row("RoIAlign, mean", BASE, (), 0.303)),
    "Masks of a class (paper: ResNet-50-C4)": (
        Row("softmax", BASE, ("model.mask.loss=softmax",), 0.248),
        Row("sigmoid", BASE, (), 0.303)),
    "Mask head (paper: ResNet-50-FPN)": (
        Row("MLP", BASE, ("model.mask.head=mlp",), 0.315),
        Row("FCN", BASE, (), 0.336)),
    "Masks by class": (
        Row("class-agnostic", BASE, ("model.mask.class_agnostic=true",)),
        Row("class-specific", BASE, ())),
}
# What is expected of medians: the figure of the first row is at least that of the second plus the third number.
EXPECTED = (
    (Row("cascade-mask-rcnn", "cascade-mask-rcnn"), Row(BASE, BASE), "bbox/AP75", 0.0),
    (Row("cascade-rcnn", "cascade-rcnn"), Row("faster-rcnn-fpn", "faster-rcnn-fpn"), "bbox/AP75", 0.0),
    (Row("mask-scoring-rcnn", "mask-scoring-rcnn"), Row(BASE, BASE), "segm/AP", 0.0),
    (ABLATION["Pooling (paper: ResNet-50-C4)"][4], ABLATION["Pooling (paper: ResNet-50-C4)"][0], "segm/AP", 0.02),
)
# A system may stay behind Mask R-CNN with a pyramid by so much.
MARGIN = 0.03


class Results:
    """The runs that a file of JSON lines holds, by what was trained."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.runs = {self._key(run): run for run in map(json.loads, lines)}

    @staticmethod
    def _key(run):
        return run["preset"], tuple(run["changes"]), run["steps"], run["seed"]

    def __contains__(self, run):
        return self._key(run) in self.runs

    def add(self, run):
        self.runs[self._key(run)] = run
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")

    def of(self, row, changes, steps, seeds):
        """The runs of a ``Row`` that there are, in the order of the seeds."""
        keys = [(row.preset, (*row.changes, *changes), steps, seed) for seed in seeds]
        return [self.runs[key] for key in keys if key in self.runs]


def train_one(row, changes, steps, seed, threads):
    """The line of a run, made in a process of its own; None where it failed."""
    run = {"preset": row.preset, "changes": [*row.changes, *changes], "steps": steps, "seed": seed, "threads": threads}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        words = [*run["changes"], f"run.seed={seed}", *([] if steps is None else [f"schedule.steps={steps}"])]
        done = subprocess.run([sys.executable, "-m", "benchmarks.family_run", "--threads", str(threads), row.preset,
                               str(out), *words], stdout=subprocess.DEVNULL, check=False)
        return {**run, **json.loads(out.read_text(encoding="utf-8"))} if done.returncode == 0 else None


def figure(run, name):
    """A number of a run, "segm/AP" say; None where there is none."""
    kind, _, key = name.partition("/")
    value = run.get(kind)
    return value[key] if key and value is not None else value


def spread(runs, name):
    """(median, least, largest) of a figure over runs; None where there is none."""
    values = [value for value in (figure(run, name) for run in runs) if value is not None]
    return (statistics.median(values), min(values), max(values)) if values else None


def cell(found, digits=3):
    if found is None:
        return "-"
    middle, low, high = (f"{value:.{digits}f}" for value in found)
    return middle if low == high else f"{middle} ({low} to {high})"


def markdown(header, lines):
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def family_lines(rows, runs_of):
    """The table of systems: a list of cells for each row; ``runs_of`` gives a row's runs."""
    header = ["preset", "parameters, M", "training, images/s", "prediction, images/s", "box AP", "box AP75", "mask AP",
              "runs"]
    lines = []
    for row in rows:
        runs = runs_of(row)
        middle = spread(runs, "parameters")
        lines.append([row.name, "-" if middle is None else f"{middle[0] / 1e6:.1f}",
                      *(cell(spread(runs, name), 1) for name in ("train_images_per_second",
                                                                 "predict_images_per_second")),
                      *(cell(spread(runs, name)) for name in ("bbox/AP", "bbox/AP75", "segm/AP")), str(len(runs))])
    return markdown(header, lines)


def ablation_lines(rows, runs_of):
    """One table of the ablation."""
    return markdown(["", "paper, mask AP", "mask AP here", "box AP here", "runs"], [
        [row.name, "-" if row.paper is None else f"{row.paper:.3f}", cell(spread(runs_of(row), "segm/AP")),
         cell(spread(runs_of(row), "bbox/AP")), str(len(runs_of(row)))] for row in rows])


def verdicts(rows, runs_of):
    """A line on each expectation for whose rows there are runs."""
    base = Row(BASE, BASE)
    wanted = [(row, base, "segm/AP" if spread(runs_of(row), "segm/AP") else "bbox/AP", -MARGIN)
              for row in rows if row.preset != BASE]
    lines = []
    for row, other, name, least in (*wanted, *EXPECTED):
        one, two = spread(runs_of(row), name), spread(runs_of(other), name)
        if one is None or two is None:
            continue
        gain = one[0] - two[0]
        lines.append(f"- {row.name}: {name} {cell(one)}, {gain:+.3f} against {cell(two)} of {other.name}; expected "
                     f"{least:+.2f} or more: {'yes' if gain >= least else 'no'}")
    return "\n".join(lines)


def text_of(options, rows, runs_of):
    """Everything that is printed in the end."""
    parts = [f"`{options.command}`", f"{processor()}, {options.threads} threads, torch {torch.__version__}; medians "
             "over the seeds, the least and the largest behind them"]
    if options.ablation:
        for title, own in ABLATION.items():
            parts += [f"**{title}**", ablation_lines(own, runs_of)]
    else:
        parts.append(family_lines(rows, runs_of))
    told = verdicts(() if options.ablation else rows, runs_of)
    return "\n\n".join(filter(None, [*parts, told])) + "\n"


def rows_of(options):
    """What is trained, each once."""
    if options.ablation:
        return list({(row.preset, row.changes): row for rows in ABLATION.values() for row in rows}.values())
    bundled = [name for name in preset_names() if _finds_objects(load_config(name))]
    names = options.presets or sorted(bundled, key=lambda name: (name != BASE, name))
    return [Row(name, name) for name in names]


def _finds_objects(config):
    """Whether it is a detector on the bundled set: the table is one of average precisions."""
    return config.data.bundled == "nuclei-mini" and isinstance(config.model, DetectorConfig)


def parsed(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", metavar="NAME", choices=preset_names())
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--steps", type=int, help="default: as the preset says")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("family.jsonl"))
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="dotted.key=value",
                        help="an override for all runs; may be given several times")
    options = parser.parse_args(words)
    options.command = " ".join(["python -m benchmarks.family_table", *(sys.argv[1:] if words is None else words)])
    return options


def main(words=None):
    """Do the runs that are missing and print the tables; the number of runs that failed."""
    options = parsed(words)
    rows, results, failed = rows_of(options), Results(options.results), 0
    for seed in options.seeds:
        for row in rows:
            key = {"preset": row.preset, "changes": [*row.changes, *options.set], "steps": options.steps, "seed": seed}
            if key in results:
                continue
            run = train_one(row, options.set, options.steps, seed, options.threads)
            if run is None:
                failed += 1
                print(f"# {row.name}, seed {seed}: failed", flush=True)
                continue
            results.add(run)
            told = ", ".join(f"{kind} AP {run[kind]['AP']:.3f}" for kind in ("bbox", "segm") if kind in run)
            print(f"# {row.name}, seed {seed}: {told}, {run['seconds']:.0f} s", flush=True)
    text = text_of(options, rows, lambda row: results.of(row, options.set, options.steps, options.seeds))
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text, encoding="utf-8")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
