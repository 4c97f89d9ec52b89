"""Trains one preset once and tells what came of it; benchmarks.family_table starts a process of this for each run.

    python -m benchmarks.family_run [--threads 2] PRESET OUT.json [dotted.key=value ...]

OUT.json gets `parameters` (of the model as it was trained, for the data's classes), `train_images_per_second` (images
of a step over the median seconds of all steps but the first), `predict_images_per_second` (from file to COCO results,
over the val part), `bbox` and, with masks, `segm`: COCO's AP, AP50 and AP75 of the final weights; `seconds` of the
whole.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from roikit.trainer import load_config, train
from roikit.trainer.preset_list import count_parameters
from roikit.trainer.records import read_records

FIGURES = ("AP", "AP50", "AP75")


def measured(preset, overrides):
    """Train and evaluate; the dict that the module describes."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        metrics = train(preset, ["run.predictions=0", "run.doctor=false", *overrides], out=out)
        parameters = count_parameters(load_config(out / "config.yaml").model)
        steps = [record for record in read_records(out / "log.jsonl") if record["kind"] == "train"]
    # The first step has its memory to find.
    seconds = statistics.median(record["seconds"] for record in steps[1:] or steps)
    return {"parameters": parameters, "train_images_per_second": steps[0]["images"] / seconds,
            "predict_images_per_second": metrics["speed"]["images_per_second"],
            **{kind: {name: metrics[kind][name] for name in FIGURES} for kind in ("bbox", "segm") if kind in metrics},
            "seconds": time.perf_counter() - begun}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="dotted.key=value")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.write_text(json.dumps(measured(options.preset, options.overrides)), encoding="utf-8")


if __name__ == "__main__":
    main()
