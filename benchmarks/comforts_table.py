"""What training comforts and test-time augmentation bring on nuclei-mini: mask AP with its spread over seeds.

    python -m benchmarks.comforts_table [--minutes 8 | --steps N] [--seeds 0 1 2] [--rows NAME ...] [--threads 2]
                                        [--results comforts.jsonl] [--markdown FILE] [--set dotted.key=value]

Each row is the preset with one of the comforts, the baseline with none; each run is looked at plainly, in flips, and in
flips and scales. Runs have a process of their own, one after the other, seed by seed; a line is added to --results as
each ends, and a run that the file holds already is not done again, so that the command goes on where it was stopped.
Figures are means over the seeds with the standard deviation between them; in parentheses is the gain against the
baseline seen plainly, the mean over the seeds of both and its standard deviation. `#` stands before lines about single
runs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.comforts_run import VIEWS
from roikit.bench.table import processor

BASE = "baseline"
# nuclei-mini has one class, on nearly every image: the factors are near 1, and its row is to show no harm.
ROWS = {
    BASE: ("augment.copy_paste=0",),
    "repeat-factor": ("augment.copy_paste=0", "data.repeat_below=1.0"),
    "copy-paste": ("augment.copy_paste=0.5",),
    "rotation": ("augment.copy_paste=0", "augment.degrees=45"),
    "mosaic": ("augment.copy_paste=0", "augment.mosaic=0.5"),
    "copy-paste and rotation": ("augment.copy_paste=0.5", "augment.degrees=45"),
}
ASKED = (BASE, "repeat-factor", "copy-paste", "rotation")


def key_of(run):
    return run["row"], tuple(run["changes"]), run["asked"], run["seed"]


def read(path):
    """The runs of a file of JSON lines, by what was asked for."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {key_of(run): run for run in map(json.loads, lines)}


def train_one(row, changes, options, seed):
    """The line of a run, made in a process of its own; None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        length = ["--steps", str(options.steps)] if options.steps else ["--minutes", str(options.minutes)]
        words = ["--threads", str(options.threads), *length, str(out), *ROWS[row], *changes, f"run.seed={seed}"]
        done = subprocess.run([sys.executable, "-m", "benchmarks.comforts_run", *words], stdout=subprocess.DEVNULL,
                              check=False)
        if done.returncode:
            return None
        return {"row": row, "changes": list(changes), "asked": asked(options), "seed": seed, "threads": options.threads,
                **json.loads(out.read_text(encoding="utf-8"))}


def asked(options):
    return f"{options.steps} steps" if options.steps else f"{options.minutes:g} minutes"


def values(runs, view):
    """Seed -> mask AP."""
    return {run["seed"]: run["views"][view]["segm"]["AP"] for run in runs}


def spread(numbers, sign=""):
    """Mean and standard deviation as text; of one number itself."""
    deviation = f" ± {statistics.stdev(numbers):.4f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):{sign}.4f}{deviation}"


def cell(own, base):
    """Mean, spread and gain of seed -> AP as text."""
    if not own:
        return "-"
    gains = [value - base[seed] for seed, value in own.items() if seed in base]
    return spread(list(own.values())) + (f" ({spread(gains, '+')})" if gains and own is not base else "")


def table(runs, rows):
    """The Markdown table; ``runs`` is row -> runs."""
    header = ["mask AP", "steps", *VIEWS, "runs"]
    base, lines = values(runs.get(BASE, ()), "plain"), []
    for row in rows:
        own = runs.get(row, [])
        steps = sorted({run["steps"] for run in own})
        told = "-" if not steps else str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
        lines.append([row, told, *(cell(base if (row, view) == (BASE, "plain") else values(own, view), base)
                                   for view in VIEWS), str(len(own))])
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *lines])


def parsed(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=list(ASKED), choices=list(ROWS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("comforts.jsonl"))
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="dotted.key=value",
                        help="an override for all runs; may be given several times")
    options = parser.parse_args(words)
    options.command = " ".join(["python -m benchmarks.comforts_table", *(sys.argv[1:] if words is None else words)])
    return options


def main(words=None):
    """Do the runs that are missing and print the table; the number of runs that failed."""
    options = parsed(words)
    done, failed = read(options.results), 0
    for seed in options.seeds:
        for row in options.rows:
            key = row, tuple(options.set), asked(options), seed
            if key in done:
                continue
            run = train_one(row, options.set, options, seed)
            if run is None:
                failed += 1
                print(f"# {row}, seed {seed}: failed", flush=True)
                continue
            done[key] = run
            with open(options.results, "a", encoding="utf-8") as file:
                file.write(json.dumps(run) + "\n")
            told = ", ".join(f"{view} {values([run], view)[seed]:.4f}" for view in run["views"])
            print(f"# {row}, seed {seed}: {run['steps']} steps in {run['seconds']:.0f} s, mask AP {told}", flush=True)
    keys = {row: [(row, tuple(options.set), asked(options), seed) for seed in options.seeds] for row in options.rows}
    runs = {row: [done[key] for key in keys[row] if key in done] for row in options.rows}
    machine = f"{processor()}, {options.threads} threads, torch {torch.__version__}"
    text = "\n\n".join([f"`{options.command}`", f"{machine}; means and standard deviations over the seeds, "
                        f"{asked(options)} a run, and in parentheses the gain against the baseline seen plainly",
                        table(runs, options.rows)]) + "\n"
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text, encoding="utf-8")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
