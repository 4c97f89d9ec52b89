"""Times a detector's inference on a CPU beside its rivals: torchvision, ONNX Runtime and OpenVINO.

    python -m benchmarks.model_table [--models NAME ...] [--rows NAME ...] [--threads 2] [--rounds 7]
                                     [--size 800,1216] [--torchvision-ops LIBRARY] [--json FILE]

All rows have the same random weights and one image; the two runtimes run roikit's own export. The box head's weights
are drawn so, and the score threshold set so, that some 400 pairs of a box and a class pass, about as many as with
trained weights. Each row is a process of its own, because what a row asks of the C library's memory holds for a
process; they run one at a time, in turns, so that noise hits them alike. A row that cannot run says why, and the others
go on: a runtime that is not installed, a processor without bfloat16 or 8-bit integers, a model that a library does not
have. On 8-bit integers roikit is calibrated on the image itself.

Printed are each row's median, 10th to 90th percentile, the median of the ratios of the first row's time to its time in
the same round, its median over the floor, the page faults of its last call and the most memory that its process ever
held, and how its detections differ from the first row's. The floor: the multiplications of convolutions and linear
layers, computed directly, at the fastest rate that was seen in the same run, of the row's number format. Lines with #
are single rounds. LIBRARY as in `roikit bench`.

ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY, which hold torch down to AVX2 on a newer processor, do not hold down ONNX
Runtime nor OpenVINO's linear layers, and their rows say so: what they take with AVX2 alone, only a processor without
more tells.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch

from roikit.bench.table import processor
from roikit.models.parts.bf16 import has_bf16
from roikit.models.parts.int8 import has_int8

from .model_inputs import MODELS, build, image_of, new_case
from .model_rivals import RIVALS, Row, serve
from .multiplications import multiplications, peak


def difference(found, expected):
    """How far detections are from others, in words."""
    count = f"{len(found['labels'])} detections"
    if not torch.equal(found["labels"], expected["labels"]):
        return f"{count}, other labels or another order"
    off = {key: (found[key].float() - expected[key].float()).abs().max().item() if found[key].numel() else 0.0
           for key in ("boxes", "scores", "masks", "keypoints") if key in found and key in expected}
    return f"{count}, same labels, " + ", ".join(f"{key} {value:.1g}{' px' * (key in ('boxes', 'keypoints'))}"
                                                 for key, value in off.items())


def taken(rows, rounds, dtypes=()):
    """Runs the rows in turns; the fastest rate of multiplications that was seen between rounds, for each dtype."""
    rates = {dtype: peak(dtype) for dtype in dtypes}
    for _ in range(rounds):
        for row in rows.values():
            row.run()
        rates = {dtype: max(rate, peak(dtype, 0.5)) for dtype, rate in rates.items()}
        print("# " + ", ".join(f"{name} {row.seconds[-1]:.3f} s" for name, row in rows.items() if not row.failed),
              flush=True)
    return rates


def figures(rows, results, floors):
    """name -> what the table says of a row, as numbers and words.

    Args:
        rows: name -> `Row`, after its runs.
        results: name -> its first result, of those that have one.
        floors: name -> seconds.
    """
    first = next((name for name, row in rows.items() if not row.failed), None)
    found = {}
    for name, row in rows.items():
        if row.failed:
            found[name] = {"failed": row.failed}
            continue
        low, *_, high = statistics.quantiles(row.seconds * 2, n=10, method="inclusive")
        median = statistics.median(row.seconds)
        ratio = statistics.median(a / b for a, b in zip(rows[first].seconds, row.seconds, strict=True))
        last = row.runs[-1]
        found[name] = {"median_s": median, "p10_s": low, "p90_s": high, "beside": first, "ratio": ratio,
                       "floor_s": floors[name], "times_floor": median / floors[name], "faults": last["faults"],
                       "most_bytes": last["most"],
                       "says": "; ".join(filter(None, (difference(results[name], results[first]), row.words)))}
    return found


def lines(found):
    """The table's lines, of what `figures` gives."""
    width = max(map(len, found))
    for name, row in found.items():
        if "failed" in row:
            yield f"{name:{width}}  none: {row['failed']}"
        else:
            memory = "" if None in (row["faults"], row["most_bytes"]) else (
                f"{row['faults']:7d} faults, {row['most_bytes'] / 1e6:5.0f} MB  ")
            yield (f"{name:{width}}  {row['median_s']:6.3f} s ({row['p10_s']:.3f} to {row['p90_s']:.3f})  "
                   f"{row['ratio']:5.2f}x  {row['times_floor']:5.2f} x floor  {memory}{row['says']}")


@torch.no_grad()
def measure(model, options, folder):
    """The table of a model, printed; and what it says, as a dict."""
    size = tuple(map(int, options.size.split(",")))
    case = new_case(model, size, folder, options.threads, options.torchvision_ops)
    count = multiplications(build(case), image_of(case))
    rows = {name: Row(serve, name, case, folder / f"{i}.pt") for i, name in enumerate(options.rows)}
    here = {torch.float32: True, torch.bfloat16: has_bf16("cpu"), torch.int8: has_int8()}
    formats = {dtype: [name for name in rows if RIVALS[name].dtype == dtype] for dtype, had in here.items() if had}
    rates = taken(rows, options.rounds, [dtype for dtype, names in formats.items() if names])
    floors = {name: count / rates[dtype] for dtype, names in formats.items() for name in names}
    floors |= {name: float("nan") for name in rows if name not in floors}
    for row in rows.values():
        row.end()
    results = {name: torch.load(folder / f"{i}.pt", weights_only=True) for i, name in enumerate(rows)
               if not rows[name].failed}
    seen = ", ".join(f"{2 * rate / 1e9:.0f} GFLOP/s in {str(dtype).removeprefix('torch.')}"
                     for dtype, rate in rates.items())
    print(f"{model}: one image of {size[0]} x {size[1]}, {torch.get_num_threads()} threads, torch {torch.__version__} "
          f"at {torch.backends.cpu.get_cpu_capability()}, {processor()}, {options.rounds} rounds\n"
          f"{count / 1e9:.1f} billion multiplications; at most {seen}")
    found = figures(rows, results, floors)
    for line in lines(found):
        print(line, flush=True)
    return {"model": model, "size": size, "threads": options.threads, "rounds": options.rounds,
            "processor": processor(), "torch": torch.__version__, "multiplications": count,
            "rates": {str(dtype): rate for dtype, rate in rates.items()}, "rows": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["maskrcnn_resnet50_fpn"], metavar="NAME",
                        help=", ".join(MODELS))
    parser.add_argument("--rows", nargs="+", choices=RIVALS, default=list(RIVALS), metavar="NAME",
                        help=", ".join(RIVALS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", default="800,1216", help="height,width")
    parser.add_argument("--torchvision-ops", metavar="LIBRARY")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write what was measured to this file too.")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tables = []
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            tables.append(measure(model, options, Path(folder)))
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
