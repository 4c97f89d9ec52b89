"""Rivals that take turns, so that a machine that is busy for a while is busy for all of them."""

import statistics
import time

__all__ = ["print_beside", "taken_in_turns"]


def taken_in_turns(works, rounds):
    """name -> seconds of each round; works: name -> what is called."""
    times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - begun)
        print("# " + ", ".join(f"{name} {taken[-1]:.3f} s" for name, taken in times.items()), flush=True)
    return times


def print_beside(rival, times, words):
    """A line for each: median, 10th to 90th percentile, how many times as fast as the rival, and its words."""
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[rival], taken, strict=True))
        low, *_, high = statistics.quantiles(taken, n=10, method="inclusive")
        print(f"{name:14} {statistics.median(taken):6.3f} s ({low:.3f} to {high:.3f})  {ratio:5.2f}x  {words[name]}")
