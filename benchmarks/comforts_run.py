"""Trains nuclei-mini once and looks at its val part plainly and in several views; benchmarks.comforts_table starts it.

    python -m benchmarks.comforts_run [--threads 2] [--steps N | --minutes M] OUT.json [dotted.key=value ...]

OUT.json gets `steps`, `seconds` (of training and its evaluation), `views`: name -> kind -> COCO's AP, AP50 and AP75.
With --minutes, eight steps of another run are timed first, and as many are taken as the minutes leave after one
evaluation; the schedule is that of so many steps.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

import roikit
from roikit.trainer.records import read_records

PRESET = "nuclei-mini"
FIGURES = ("AP", "AP50", "AP75")
VIEWS = {"plain": {}, "flips": {"tta_flips": ("horizontal", "vertical", "both")},
         "flips and scales": {"tta_flips": ("horizontal", "vertical", "both"), "tta_scales": (0.8, 1.0, 1.25)}}
PROBED = 8
BARE = ("run.predictions=0", "run.doctor=false", "run.report=0", "run.batch_picture=0")


def steps_in(minutes, overrides, folder):
    """How many steps so many minutes have room for."""
    begun = time.perf_counter()
    roikit.train(PRESET, [*BARE, *overrides, f"schedule.steps={PROBED}", "schedule.warmup_steps=0"], out=folder)
    seconds = [r["seconds"] for r in read_records(folder / "log.jsonl") if r["kind"] == "train"]
    rest = time.perf_counter() - begun - sum(seconds)  # starting, evaluating and writing
    return max(1, int((60 * minutes - rest) / statistics.median(seconds[2:])))


def measured(overrides, steps, minutes, views=VIEWS):
    """Train and evaluate; the dict that the module describes."""
    with tempfile.TemporaryDirectory() as folder:
        if minutes is not None:
            steps = steps_in(minutes, overrides, Path(folder) / "probe")
        out, words = Path(folder) / "run", [*BARE, *overrides, *([] if steps is None else [f"schedule.steps={steps}"])]
        begun = time.perf_counter()
        metrics = roikit.train(PRESET, words, out=out)
        seconds, found = time.perf_counter() - begun, {}
        for name, options in views.items():
            scores = roikit.evaluate(out, batch_size=4, **options) if options else metrics
            found[name] = {kind: {key: scores[kind][key] for key in FIGURES} for kind in ("bbox", "segm")}
    return {"steps": metrics["step"], "seconds": seconds, "views": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="dotted.key=value")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measured(options.overrides, options.steps, options.minutes)
    options.out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
