"""Times roikit's CUDA ops beside torchvision's in one run, and prints one table.

    python -m benchmarks.gpu_table [--only nms,roi] [--quick] [--json FILE]

The rivals of a work take turns, run by run. Inputs rotate through copies that together exceed the L2 cache, and before
every timed run a buffer larger than the cache is overwritten: nothing that a run reads is warm, and the device is busy
while the host prepares the next calls. Times are those of CUDA events; where the result is in the host's memory, the
wall clock's. A row has the medians and the 10th to 90th percentiles of both, peer over roikit, the floor - the bytes
that must move over the rate at which a copy on the device moves them in the same run - and the share of it: floor over
roikit. The goals are those that the project set itself for an H100. --quick leaves out the larger works.

`--device cpu` tries the table without a GPU; its figures mean nothing.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time

import torch

from .gpu_works import SECTIONS

WARM_UP, LEAST_ROUNDS, MOST_COPIES = 3, 7, 16
COLUMNS = (("work", 50), ("roikit ms", 11), ("p10-p90", 21), ("peer ms", 11), ("p10-p90", 21), ("ratio", 8),
           ("floor ms", 10), ("share", 8), ("goal", 18))


class Device:
    """How runs are timed on the device, and what it takes that they find nothing in its cache."""

    def __init__(self, name):
        self.name, self.cuda = name, name == "cuda"
        self.cache = torch.cuda.get_device_properties(0).L2_cache_size if self.cuda else 1 << 20
        self.sweep = torch.empty(max(4 * self.cache, 1 << 20), dtype=torch.uint8, device=name)

    def synchronize(self):
        if self.cuda:
            torch.cuda.synchronize()

    def free(self):
        return torch.cuda.mem_get_info()[0] if self.cuda else 1 << 30

    def started(self, call, host):
        """Runs the call; a function that gives its milliseconds, to be called after `synchronize`."""
        self.sweep.fill_(1)
        if self.cuda and not host:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            return lambda: start.elapsed_time(end)
        self.synchronize()
        begun = time.perf_counter()
        call()
        self.synchronize()
        seconds = time.perf_counter() - begun
        return lambda: seconds * 1e3


def tensors(x):
    """The tensors in nested results."""
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, (list, tuple)):
        for part in x:
            yield from tensors(part)


def size_of(x):
    return sum(t.numel() * t.element_size() for t in tensors(x))


def copy_of(inputs):
    return tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in inputs)


def copies_of(inputs, device):
    """Copies that together exceed the cache, no more than MOST_COPIES nor than a tenth of the free memory."""
    size = max(size_of(inputs), 1)
    wanted = min(MOST_COPIES, 2 * device.cache // size + 2, max(1, device.free() // 10 // size))
    return [inputs, *(copy_of(inputs) for _ in range(wanted - 1))]


def take_turns(rivals, device, seconds, host=False):
    """Milliseconds of each rival's runs. ``rivals``: name -> calls, one for each copy of the inputs."""
    times = {name: [] for name in rivals}
    for calls in rivals.values():
        for turn in range(WARM_UP):
            calls[turn % len(calls)]()
    device.synchronize()
    began, turn = time.perf_counter(), 0
    while turn < LEAST_ROUNDS or time.perf_counter() - began < seconds:
        runs = {name: device.started(calls[turn % len(calls)], host) for name, calls in rivals.items()}
        device.synchronize()
        for name, milliseconds in runs.items():
            times[name].append(milliseconds())
        turn += 1
    return times


def summary(times):
    tenths = statistics.quantiles(times, n=10, method="inclusive")
    return {"median_ms": statistics.median(times), "p10_ms": tenths[0], "p90_ms": tenths[-1], "runs": len(times)}


def bandwidth(device, seconds):
    """Bytes a second that a copy on the device reads and writes, together."""
    a, b = (torch.zeros(256 << 20 if device.cuda else 16 << 20, dtype=torch.uint8, device=device.name)
            for _ in range(2))
    times = take_turns({"copy": [lambda: a.copy_(b)]}, device, seconds)["copy"]
    return 2 * a.numel() / statistics.median(times) * 1e3


def measure(work, device, rate, seconds):
    """The row of a work, as a dict."""
    row = {"work": work.name, "note": work.note}
    copies = copies_of(work.make(device.name), device)
    rivals = {"roikit": [work.ours(*inputs) for inputs in copies]}
    moved = size_of(copies[0]) + size_of(rivals["roikit"][0]()) + work.extra
    if work.theirs:
        try:
            rivals["peer"] = [work.theirs(*inputs) for inputs in copies]
            rivals["peer"][0]()
            device.synchronize()
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as reason:
            del rivals["peer"]
            row["note"] = f"{row['note']}; peer failed: {str(reason).splitlines()[0]}".lstrip("; ")
    for name, times in take_turns(rivals, device, seconds, work.host).items():
        row[name] = summary(times)
    row["floor_ms"] = moved / rate * 1e3
    row["share"] = row["floor_ms"] / row["roikit"]["median_ms"]
    if "peer" in row:
        row["ratio"] = row["peer"]["median_ms"] / row["roikit"]["median_ms"]
    reached = row["share"] if work.of_bandwidth else row.get("ratio")
    if work.goal and reached is not None:
        row["goal"], row["met"] = work.goal, reached >= work.goal
        row["goal_is"] = "share" if work.of_bandwidth else "ratio"
    return row


def printed(row):
    def rival(name):
        if name not in row:
            return ["", ""]
        r = row[name]
        return [f"{r['median_ms']:.4f}", f"{r['p10_ms']:.4f}-{r['p90_ms']:.4f}"]

    goal = ""
    if "goal" in row:
        goal = f"{row['goal_is']} {row['goal']:.2f} {'met' if row['met'] else 'missed'}"
    cells = [row["work"], *rival("roikit"), *rival("peer"), f"{row['ratio']:.2f}" if "ratio" in row else "",
             f"{row['floor_ms']:.4f}", f"{row['share']:.0%}", goal]
    return _line(cells) + (f"  {row['note']}" if row["note"] else "")


def _line(cells):
    (first, width), *rest = zip(cells, [w for _, w in COLUMNS], strict=True)
    return first.ljust(width) + "".join(cell.rjust(w) for cell, w in rest)


def import_torchvision(device):
    """torchvision, or None where it does not import or its operators do not run on the device."""
    try:
        import torchvision

        box = torch.tensor([[0.0, 0, 1, 1]], device=device)
        torchvision.ops.nms(box, box[:, 0], 0.5)
        return torchvision
    except Exception as reason:  # a binary that does not fit torch may raise anything
        print(f"# no peer: torchvision: {str(reason).splitlines()[0] if str(reason) else type(reason).__name__}")
        return None


def machine(device):
    import roikit

    facts = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
             "device": "cpu", "driver": "none", "cuda": torch.version.cuda, "torch": torch.__version__,
             "torchvision": getattr(sys.modules.get("torchvision"), "__version__", "none"),
             "roikit": roikit.__version__}
    if device.cuda:
        properties = torch.cuda.get_device_properties(0)
        facts["device"] = f"{properties.name}, {properties.multi_processor_count} SMs"
        facts["memory_bytes"], facts["l2_bytes"] = properties.total_memory, properties.L2_cache_size
        try:
            facts["driver"] = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                                             capture_output=True, text=True, timeout=30).stdout.split("\n")[0].strip()
        except (OSError, subprocess.TimeoutExpired) as reason:
            facts["driver"] = f"unknown ({reason})"
    return facts


def table(device, sections, quick, seconds):
    """Prints the table line by line; returns what --json writes."""
    tv = import_torchvision(device.name)
    facts = machine(device)
    rate = bandwidth(device, seconds)
    facts["copy_bytes_per_second"] = rate
    for name, value in facts.items():
        print(f"# {name}: {value}")
    print(f"# a copy on the device reads and writes {rate / 1e9:.0f} GB/s together")
    print(_line([name for name, _ in COLUMNS]), flush=True)
    rows = []
    for section in sections:
        for work in SECTIONS[section](tv, device.name):
            if quick and work.full:
                continue
            try:
                rows.append(measure(work, device, rate, seconds))
                print(printed(rows[-1]), flush=True)
            except Exception as reason:  # one work that fails must not hide the others
                rows.append({"work": work.name, "failed": f"{type(reason).__name__}: {reason}"})
                print(f"{work.name}: FAILED: {rows[-1]['failed']}", flush=True)
    return {"machine": facts, "rows": rows}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="the standard works only, and fewer runs")
    parser.add_argument("--json", help="also write the rows to this file")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: try the table out")
    chosen = parser.parse_args(arguments)
    sections = chosen.only.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"--only: no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if chosen.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"gpu_table: there is no CUDA device (torch {torch.__version__}, built for CUDA {torch.version.cuda})")
    with torch.cuda.device(0) if chosen.device == "cuda" else torch.no_grad():
        with torch.enable_grad():
            result = table(Device(chosen.device), sections, chosen.quick, 0.1 if chosen.quick else 0.5)
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)
    missed = sum(row.get("met") is False for row in result["rows"])
    failed = sum("failed" in row for row in result["rows"])
    print(f"# {len(result['rows'])} works, {missed} short of their goal, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
