"""How time and memory grow with the work: ``roikit bench --scaling``.

Each rival walks the curves of `curves` in a fresh process of its own, from small to large, so that nothing that another
left behind counts as its memory, and one that is killed takes nobody with it. Memory is that of `memory.extra_memory`.
"""

import json
import math
import multiprocessing
import statistics
import sys
import time

import torch

from .curves import curves
from .memory import extra_memory
from .peers import first_line, import_peers, those_complete
from .scaling_report import charts, growth, line, table
from .table import machine, need_matplotlib
from .timing import Device
from .work import size_of

__all__ = ["run_scaling"]

MOST_BYTES, QUICK_BYTES = 8_000_000_000, 1_000_000_000  # of a point, with its result
SECONDS, QUICK_SECONDS = 480, 60  # of a whole run
START = 30  # seconds that a process may take to import everything
RUNS, ENOUGH = 7, 1.0  # runs of a point at most, and the seconds after which no other is begun
BELIEVED_MS = 5  # points that take less do not tell how steeply a curve grows


def run_scaling(ops=(), *, threads=None, quick=False, torchvision_ops=None, json_path=None, chart_path=None, say=print):
    """Follows the curves of the ops and prints every point, then a table in Markdown.

    A curve ends before a point whose run would take more than 6 s (roikit's 30 s; with ``quick`` 0.4 s), or need more
    than 8 GB (1 GB) or half of the free memory with its result, as judged by the points before; and when the time is
    up: 8 minutes (1), of which roikit goes first and the peers share the rest.

    Args:
        ops: names of ops that have curves; all where empty.
        threads: numbers of torch's threads, one of them; default: torch's own.
        quick: powers of ten only, and a minute.
        torchvision_ops: as of `run`.
        json_path, chart_path: where to write the points, and one PNG for each op: ``chart_path`` with the op's name
            put before its ending.
        say: what a line is given to.

    Returns:
        ``{"machine": ..., "points": [...], "ends": [...]}``, as the JSON has it. A point has op, curve, of, n, rival,
        median_ms, runs, extra_bytes (None where the system does not tell) and result_bytes; an end has curve, rival,
        and in "why" what stopped it before its last size; "failed" where that was an error.

    Raises:
        ValueError: for an op without a curve, or several numbers of threads.
        ImportError: where a chart is asked for without matplotlib.
    """
    known = list(dict.fromkeys(curve.op for curve in curves({})))
    if unknown := [op for op in ops if op not in known]:
        raise ValueError(f"bench: there is no curve of {', '.join(unknown)}; there are those of {', '.join(known)}")
    if len(threads or [1]) > 1:
        raise ValueError(f"bench: --scaling takes one number of threads, got {', '.join(map(str, threads))}")
    if chart_path:
        need_matplotlib()
    threads = (threads or [torch.get_num_threads()])[0]
    complete, lacking = those_complete(curves, import_peers("cpu", torchvision_ops, say))
    for name, why in lacking.items():
        say(f"# no {name}: {why}")
    result = {"machine": machine(Device("cpu")) | {"threads": threads}, "points": [], "ends": []}
    for name, value in result["machine"].items():
        say(f"# {name}: {value}")
    rivals = list(dict.fromkeys(["roikit", *(name for curve in complete for name in curve.peers)]))
    end = time.monotonic() + (QUICK_SECONDS if quick else SECONDS)
    for i, rival in enumerate(rivals):
        seconds = (end - time.monotonic()) / (1 if rival == "roikit" else len(rivals) - i)
        settings = {"ops": ops or known, "threads": threads, "quick": quick, "torchvision_ops": torchvision_ops}
        for message in follow(rival, settings, seconds):
            result["ends" if "why" in message else "points"].append(message)
            say(line(message))
    for text in table(result):
        say(text)
    if json_path:
        with open(json_path, "w") as file:
            json.dump(result, file, indent=1)
    if chart_path:
        charts(result, chart_path)
    return result


def follow(rival, settings, seconds):
    """What the rival's processes tell. One that dies ends its curve; the next takes the curves after it."""
    end, done = time.monotonic() + seconds, []
    while True:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=walk, args=(there, rival, settings, end - time.monotonic(), done), daemon=True)
        child.start()
        there.close()
        curve = None
        try:
            # A point may be slower than judged: it gets as long again as the longest point may take.
            while here.poll(max(0, end - time.monotonic()) + START):
                message = here.recv()
                if message is None:
                    return
                if "begin" in message:
                    curve = message["begin"]
                    done.append(curve)
                else:
                    yield message
            why = "took too long"
        except EOFError:
            child.join()
            why = f"its process ended with {child.exitcode}"
        finally:
            child.kill()
            child.join()
            here.close()
        yield {"curve": curve, "rival": rival, "why": why, "failed": True}
        if curve is None or time.monotonic() > end:
            return


def walk(there, rival, settings, seconds, done):
    """A process of a rival: sends the points and ends of its curves, but for those that are done, and None at last."""
    end = time.monotonic() + seconds
    torch.set_num_threads(settings["threads"])
    Device("cpu")  # sets the C library's thresholds, as for the table
    longest = 0.4 if settings["quick"] else 30 if rival == "roikit" else 6
    peers = {} if rival == "roikit" else import_peers("cpu", settings["torchvision_ops"], lambda line: None)
    for curve in those_complete(curves, peers)[0]:
        if curve.op in settings["ops"] and curve.name not in done and curve.rival(rival):
            there.send({"begin": curve.name})
            for message in points(curve, rival, longest, end, settings["quick"]):
                there.send(message)
    there.send(None)


def points(curve, rival, longest, end, quick=False):
    """The points of a curve, and its end where that comes before the last size."""
    rows = []
    for n in [n for n in curve.sizes if not quick or math.log10(n).is_integer()]:
        common = {"op": curve.op, "curve": curve.name, "of": curve.of, "n": n, "rival": rival}
        seconds, size = foretold(rows, n)
        most = min(QUICK_BYTES if quick else MOST_BYTES, available() / 2)
        if seconds > longest:
            why = f"would take about {seconds:.1f} s"
        elif size > most:
            why = f"would need about {size / 1e9:.1f} GB"
        elif time.monotonic() + 3 * seconds > end:
            why = "the time is up"
        else:
            try:
                rows.append(common | measured(curve, curve.rival(rival), n, warm=bool(rows)))
            except Exception as reason:  # told, as in the table; the other curves go on
                yield common | {"why": f"{type(reason).__name__}: {first_line(reason)}", "failed": True}
                return
            yield rows[-1]
            continue
        yield common | {"why": why}
        return


def measured(curve, prepare, n, warm=True):
    """The figures of one size. Memory is that of the first run, whose time does not count.

    A first run may touch memory that the machine, or the host of a virtual one, must find first: seconds for a GB.
    """
    call, times = prepare(*curve.make(n)), []

    def timed():
        begun = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - begun)
        return result

    if not warm:
        call()  # loads code, starts threads
    extra, result = extra_memory(timed, held)
    size = held(result)
    del result  # freeing is not timed
    times.clear()
    while len(times) < RUNS and sum(times) < ENOUGH:
        timed()
    return {"median_ms": 1e3 * statistics.median(times), "runs": len(times), "extra_bytes": extra, "result_bytes": size}


def held(result):
    """Bytes of a result: its tensors, or the dictionaries of its runs."""
    if isinstance(result, dict):
        return sys.getsizeof(result) + sum(map(sys.getsizeof, result.values()))
    if isinstance(result, list):
        return sum(map(held, result))
    return size_of(result)


def foretold(rows, n):
    """(seconds, bytes) of the next point: at least linear growth, and time as steep as between the last two points."""
    if not rows:
        return 0, 0
    last, steep = rows[-1], 1
    if len(rows) > 1 and rows[-2]["median_ms"] >= BELIEVED_MS:
        steep = max(1, growth(rows[-2], last))
    times = n / last["n"]
    return last["median_ms"] / 1e3 * times**steep, times * (last["result_bytes"] + (last["extra_bytes"] or 0))


def available():
    """Bytes of memory that can be had now."""
    try:
        with open("/proc/meminfo") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf
