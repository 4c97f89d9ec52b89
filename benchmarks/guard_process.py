"""The processes of `benchmarks.guard`, which run its works: NumPy only, one thread.

    python -m benchmarks.guard_process marked [NAME ...]   each work once between two marks, for callgrind
    python -m benchmarks.guard_process levels [NAME ...]   how long v4 takes over v3, as JSON
    python -m benchmarks.guard_process copies [NAME ...]   how long a work takes over a copy, as JSON

`benchmarks.guard` starts them with an environment of its own; the marks are calls of getppid, at which callgrind writes
down what it has counted since the last one.
"""

import gc
import json
import os
import resource
import statistics
import sys
import time

import numpy as np

import roikit

from .kernel_works import guarded

ROUNDS, SECONDS = 60, 0.4  # at most so many rounds, and at most so long a work
LEAST_ROUNDS = 9
LEAST_COPY = 4 << 20
WORKS = {name: work for of_op in guarded().values() for name, work in of_op.items()}


def marked(names):
    """Runs each counted work between two marks. What runs once only, as the import of a module, has run before."""
    for name in names:
        if WORKS[name].counted:
            call = WORKS[name].make(*WORKS[name].small)
            call()
            os.getppid()
            call()
            os.getppid()
    if "torch" in sys.modules:
        raise RuntimeError("guard_process: the NumPy floor has imported torch")


def seconds(call):
    """Processor time, the kernel's for page faults included: waiting for a processor that others use is not counted."""
    begun = time.thread_time()
    result = call()
    taken = time.thread_time() - begun
    del result  # freeing is not timed
    return taken


def rounds(first, second, most=ROUNDS):
    """The seconds of the two calls, which take turns: pairs, a round each."""
    first(), second()
    begun, pairs = time.perf_counter(), []
    while len(pairs) < most and (len(pairs) < LEAST_ROUNDS or time.perf_counter() - begun < SECONDS):
        if len(pairs) % 2:
            b = seconds(second)
            pairs.append((seconds(first), b))
        else:
            pairs.append((seconds(first), seconds(second)))
    return pairs


def over_v3(work):
    """Time at v4 over time at v3, the median of the rounds' ratios."""
    call = work.make(*work.small)

    def at(level):
        def run():
            with roikit.simd(level):
                return call()
        return run

    ratios = [v4 / v3 for v4, v3 in rounds(at("v4"), at("v3"), 5 * ROUNDS)]
    return {"time of v4 over v3": statistics.median(ratios)}


def faults_of(call):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    result = call()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del result
    return faults


def size_of(result):
    if isinstance(result, np.ndarray):
        return result.nbytes
    return sum(map(size_of, result)) if isinstance(result, (list, tuple)) else 0


def over_copy(work):
    """The least time of the work over the least time of copying as many bytes as its result has, 4 MiB at least; and
    the least number of page faults of a call.

    The copy's blocks are there before; the work's result is fresh memory.
    """
    call = work.make(*work.large)
    source = np.ones(max(LEAST_COPY, size_of(call())), np.uint8)
    target = source.copy()
    pairs = rounds(call, lambda: np.copyto(target, source))
    faults = min(faults_of(call) for _ in range(3))
    return {"time over a copy": min(own for own, _ in pairs) / min(copy for _, copy in pairs), "page faults": faults}


def main(words):
    gc.disable()
    mode, names = words[0], words[1:] or list(WORKS)
    if mode == "marked":
        return marked(names)
    measure = {"levels": over_v3, "copies": over_copy}[mode]
    print(json.dumps({name: measure(WORKS[name]) for name in names if mode == "copies" or WORKS[name].levels}))


if __name__ == "__main__":
    main(sys.argv[1:])
