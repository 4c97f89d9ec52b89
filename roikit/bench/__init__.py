"""Times roikit's ops beside every peer that can be imported, in one run: the command ``roikit bench``.

The works are those of `works`, an op a file, with the inputs of `inputs`; what a work is stands in `work`, how it is
timed in `timing`, who the peers are in `peers`, and `table` makes rows, lines, JSON and the chart. `scaling` follows
the works of `curves` from small to large.
"""

import json
import warnings

import torch

import roikit
from roikit.bench.peers import import_peers, those_complete
from roikit.bench.scaling import run_scaling
from roikit.bench.table import Printer, chart, machine, measure, need_matplotlib
from roikit.bench.timing import Device, rates
from roikit.bench.works import WORKS

__all__ = ["WORKS", "run", "run_scaling"]


def run(ops=(), *, threads=None, device="cpu", quick=False, torchvision_ops=None, json_path=None, chart_path=None,
        keep_memory=False, say=print):
    """Times the works of the ops and prints the table while it grows.

    Args:
        ops: names of ops; all where empty.
        threads: numbers of torch's threads to take the table at; default: torch's own.
        device: "cpu" or "cuda".
        quick: the standard works only, and fewer runs of each.
        torchvision_ops: a shared library that registers torchvision's operators, for a torchvision whose own binary
            does not load.
        json_path, chart_path: where to write the rows and a bar chart (PNG).
        keep_memory: whether the process is to keep freed memory from here on (`roikit.keep_freed_memory`).
        say: what a line is given to.

    Returns:
        ``{"machine": ..., "rates": ..., "rows": [...]}``, as the JSON has it. A row that could not be taken has
        "failed".

    Raises:
        ValueError: for an op that there is not, or "cuda" without a device.
        ImportError: where a chart is asked for without matplotlib.
    """
    if unknown := [op for op in ops if op not in WORKS]:
        raise ValueError(f"bench: there is no op {', '.join(unknown)}; there are {', '.join(WORKS)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"bench: there is no CUDA device (torch {torch.__version__}, built for CUDA "
                         f"{torch.version.cuda})")
    if chart_path:
        need_matplotlib()
    kept = keep_memory and roikit.keep_freed_memory()
    before = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")  # detectron2's
            result = _rows(ops or WORKS, list(threads or [before]), Device(device, quick), torchvision_ops, kept, say)
    finally:
        torch.set_num_threads(before)
    if json_path:
        with open(json_path, "w") as file:
            json.dump(result, file, indent=1)
    if chart_path:
        chart(result, chart_path)
    return result


def _works(op, peers, device):
    """The works of an op that are to be done, with a note of each peer that cannot do them."""
    listed, lacking = those_complete(lambda some: WORKS[op](some, device.name), peers)
    for work in listed:
        work.note = "; ".join(filter(None, [work.note, *(f"without {name}: {why}" for name, why in lacking.items())]))
    return [work for work in listed if device.name in work.devices and (work.quick or not device.quick)]


def _rows(ops, threads, device, torchvision_ops, kept, say):
    peers = import_peers(device.name, torchvision_ops, say)
    works = [work for op in WORKS if op in ops for work in _works(op, peers, device)]
    facts = machine(device) | {"freed_memory": "kept" if kept else "given back"}
    result = {"machine": facts, "rates": {}, "rows": []}
    for name, value in result["machine"].items():
        say(f"# {name}: {value}")
    for n in threads:
        torch.set_num_threads(n)
        result["rates"][str(n)] = rates(device)
        say(f"# {n} threads: " + ", ".join(f"{name} {value / 1e9:.1f} G/s" for name, value
                                           in result["rates"][str(n)].items()))
    printer = Printer(works, threads, say)
    printer.header()
    for work in works:
        for n in threads:
            torch.set_num_threads(n)
            try:
                row = measure(work, device, result["rates"][str(n)])
            except Exception as reason:  # one work that fails must not hide the others
                row = {"op": work.op, "work": work.name, "threads": n, "failed": f"{type(reason).__name__}: {reason}"}
            result["rows"].append(row)
            printer.row(row)
    missed = sum(not row.get("goal", {"met": True})["met"] for row in result["rows"])
    failed = sum("failed" in row for row in result["rows"])
    say(f"# {len(result['rows'])} rows, {missed} short of their goal, {failed} failed")
    return result
