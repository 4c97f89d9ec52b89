"""From works to rows, and from rows to lines, JSON and a chart."""

import datetime
import os
import platform
import subprocess
import sys

import torch

import roikit

from .peers import first_line
from .timing import copies_of, summary, take_turns

__all__ = ["Printer", "chart", "machine", "measure", "need_matplotlib"]


def measure(work, device, rates):
    """The row of a work, as a dict."""
    copies = copies_of(work.make(device.name), device)
    rivals = {"roikit": [work.ours(*inputs) for inputs in copies]}
    row = {"op": work.op, "work": work.name, "threads": torch.get_num_threads(), "times": {}, "note": work.note}
    result = rivals["roikit"][0]()
    cost = work.cost and work.cost(copies[0], result)
    del result
    for name, prepare in work.peers.items():
        try:
            calls = [prepare(*inputs) for inputs in copies]
            calls[0]()
            device.synchronize()
            rivals[name] = calls
        except Exception as reason:  # a peer that fails is told in the row; roikit's own failure is the row's
            row["note"] = f"{row['note']}; {name} failed: {first_line(reason)}".lstrip("; ")
    row["times"] = {name: summary(times) for name, times in take_turns(rivals, device, work.host).items()}
    ours = row["times"]["roikit"]["median_ms"]
    others = {name: t["median_ms"] for name, t in row["times"].items() if name != "roikit"}
    row["floor_counts"] = work.counts
    row["best"] = min(others, key=others.get) if others else None
    row["ratio"] = others[row["best"]] / ours if others else None
    row["floor_ms"] = floor_ms(cost, rates) if cost else None
    row["times_floor"] = ours / row["floor_ms"] if row["floor_ms"] else None
    what, bound = work.goals.get(device.name, (None, None))
    reached = {"ratio": row["ratio"], "floor": row["times_floor"]}.get(what)
    if reached is not None:
        met = reached >= bound if what == "ratio" else reached <= bound
        row["goal"] = {"is": what, "bound": bound, "met": met}
    return row


def floor_ms(cost, rates):
    """Bytes at the machine's rates or operations at its rate, whichever takes longer."""
    moving = cost.reads / rates["read_bytes"] + cost.writes / rates["write_bytes"]
    return 1e3 * max(moving, cost.operations / rates["operations"] if "operations" in rates else 0)


def figure(ms):
    """Milliseconds with three or more digits."""
    return f"{ms:.4f}" if ms < 1 else f"{ms:.3f}" if ms < 10 else f"{ms:.1f}"


class Printer:
    """Prints the table line by line, with columns for every rival of the works."""

    def __init__(self, works, threads, say=print):
        rivals = ["roikit", *dict.fromkeys(name for work in works for name in work.peers)]
        self.rivals, self.threads, self.say = rivals, len(threads) > 1, say
        self.columns = [("op", 15), ("work", 2 + max([len(work.name) for work in works] + [4]))]
        self.columns += [("threads", 8)] * self.threads
        for name in rivals:
            self.columns += [(f"{name} ms", 16), ("p10-p90", 18)]
        self.columns += [("ratio", 8), ("floor ms", 10), ("x floor", 9), ("goal", 18)]

    def header(self):
        self.line([name for name, _ in self.columns])

    def line(self, cells, note=""):
        parts = [cell.ljust(width) if i < 2 else cell.rjust(width)
                 for i, (cell, (_, width)) in enumerate(zip(cells, self.columns, strict=True))]
        self.say(f"{''.join(parts)}  {note}".rstrip())

    def row(self, row):
        if "failed" in row:
            self.say(f"{row['op']:15}{row['work']}: FAILED: {row['failed']}")
            return
        cells = [row["op"], row["work"]] + [str(row["threads"])] * self.threads
        for name in self.rivals:
            t = row["times"].get(name)
            cells += [figure(t["median_ms"]), f"{figure(t['p10_ms'])}-{figure(t['p90_ms'])}"] if t else ["", ""]
        goal = ""
        if "goal" in row:
            g = row["goal"]
            goal = f"{g['is']} {g['bound']:.3g} {'met' if g['met'] else 'missed'}"
        cells += ["" if row[key] is None else form(row[key]) for key, form in
                  (("ratio", "{:.2f}".format), ("floor_ms", figure), ("times_floor", "{:.1f}".format))]
        self.line([*cells, goal], row["note"])


def machine(device):
    """What the figures depend on."""
    facts = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
             "processor": processor(), "cores": os.cpu_count(), "simd": roikit.simd_level(),
             "python": platform.python_version(), "torch": torch.__version__, "roikit": roikit.__version__,
             "torchvision": getattr(sys.modules.get("torchvision"), "__version__", "none")}
    if device.cuda:
        properties = torch.cuda.get_device_properties(0)
        facts |= {"device": f"{properties.name}, {properties.multi_processor_count} SMs", "cuda": torch.version.cuda,
                  "memory_bytes": properties.total_memory, "l2_bytes": properties.L2_cache_size, "driver": driver()}
    return facts


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def driver():
    try:
        return subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                              capture_output=True, text=True, timeout=30).stdout.split("\n")[0].strip()
    except (OSError, subprocess.TimeoutExpired) as reason:
        return f"unknown ({reason})"


def need_matplotlib():
    """An ImportError that says what to install, before anything is timed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError('--chart needs matplotlib: pip install matplotlib, or "roikit[bench]"') from None


def chart(result, path):
    """Bars of each peer's time over roikit's, with the floor as a mark; one panel a number of threads."""
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if "failed" not in row]
    threads = list(dict.fromkeys(row["threads"] for row in rows))
    names = [name for name in dict.fromkeys(name for row in rows for name in row["times"]) if name != "roikit"]
    most = max([sum(row["threads"] == n for row in rows) for n in threads] + [1])
    fig = Figure(figsize=(8 * max(len(threads), 1), 2 + 0.3 * most), layout="constrained")
    for panel, n in enumerate(threads):
        ax = fig.add_subplot(1, len(threads), panel + 1)
        mine = [row for row in rows if row["threads"] == n]
        height = 0.8 / max(len(names), 1)
        for i, name in enumerate(names):
            bars = [(y, row["times"][name]["median_ms"] / row["times"]["roikit"]["median_ms"])
                    for y, row in enumerate(mine) if name in row["times"]]
            ax.barh([y + (i - (len(names) - 1) / 2) * height for y, _ in bars], [value - 1 for _, value in bars],
                    height, left=1, label=name, color=f"C{i}")
        floors = [(y, 1 / row["times_floor"]) for y, row in enumerate(mine) if row["times_floor"]]
        ax.plot([value for _, value in floors], [y for y, _ in floors], "k|", markersize=9, label="floor")
        ax.axvline(1, color="k", linewidth=0.8)
        ax.set(xscale="log", xlabel="time over roikit's (right of 1: slower than roikit)",
               title=f"{n} thread{'s' * (n > 1)}", ylim=(len(mine) - 0.5, -0.5))
        ax.set_yticks(range(len(mine)), [row["work"] for row in mine], fontsize=8)
        ax.legend(fontsize=8)
    facts = result["machine"]
    fig.suptitle(f"roikit {facts['roikit']}, {facts.get('device', facts['processor'])}", fontsize=10)
    fig.savefig(path, format="png", dpi=120)
