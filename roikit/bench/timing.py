"""How runs are timed: rivals take turns, and the machine's rates are taken in the same run."""

import statistics
import time

import torch

from .work import tensors

__all__ = ["Device", "copies_of", "rates", "summary", "take_turns"]

MOST_COPIES = 16


class Device:
    """Where the works run, and how often.

    On a GPU, inputs rotate through copies that together exceed the L2 cache, and a buffer larger than it is overwritten
    before every timed run: nothing that a run reads is warm, and the device is busy while the host prepares the next
    calls. On a CPU a work is repeated on the same inputs, as a loop over images does.
    """

    def __init__(self, name, quick=False):
        self.name, self.cuda, self.quick = name, name == "cuda", quick
        self.seconds = (0.1 if quick else 0.5) if self.cuda else (0.3 if quick else 1.5)
        self.warm_up, self.least = (3, 7) if self.cuda else (1, 3 if quick else 7)
        if self.cuda:
            self.cache = torch.cuda.get_device_properties(0).L2_cache_size
            self.sweep = torch.empty(4 * self.cache, dtype=torch.uint8, device=name)
        else:
            # glibc raises its threshold for blocks of their own to 32 MiB when such a block is freed; every long-lived
            # process gets there, so start from there.
            torch.empty((32 << 20) - 65536, dtype=torch.uint8).fill_(1)

    def synchronize(self):
        if self.cuda:
            torch.cuda.synchronize()

    def started(self, call, host):
        """Runs the call; a function that gives its milliseconds, to be called after `synchronize`."""
        if self.cuda:
            self.sweep.fill_(1)
            if not host:
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                call()
                end.record()
                return lambda: start.elapsed_time(end)
        self.synchronize()
        begun = time.perf_counter()
        result = call()
        self.synchronize()
        seconds = time.perf_counter() - begun
        del result  # freeing is not timed, and the next rival finds the memory free
        return lambda: seconds * 1e3


def copies_of(inputs, device):
    """Copies that together exceed the cache, no more than MOST_COPIES nor than a tenth of the free memory."""
    size = sum(t.numel() * t.element_size() for t in tensors(inputs))
    if not device.cuda or not size:
        return [inputs]
    wanted = min(MOST_COPIES, 2 * device.cache // size + 2, max(1, torch.cuda.mem_get_info()[0] // 10 // size))
    return [inputs, *(tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in inputs)
                      for _ in range(wanted - 1))]


def take_turns(rivals, device, host=False):
    """Milliseconds of each rival's runs. ``rivals``: name -> calls, one for each copy of the inputs."""
    times = {name: [] for name in rivals}
    for calls in rivals.values():
        for turn in range(device.warm_up):
            calls[turn % len(calls)]()
    device.synchronize()
    began, turn = time.perf_counter(), 0
    while turn < device.least or time.perf_counter() - began < device.seconds:
        runs = {}
        for name, calls in rivals.items():
            runs[name] = device.started(calls[turn % len(calls)], host)
        device.synchronize()
        for name, milliseconds in runs.items():
            times[name].append(milliseconds())
        turn += 1
    return times


def summary(times):
    tenths = statistics.quantiles(times, n=10, method="inclusive")
    return {"median_ms": statistics.median(times), "p10_ms": tenths[0], "p90_ms": tenths[-1], "runs": len(times)}


def rates(device):
    """What the machine does at best, with torch's threads: bytes read and written, and operations, a second.

    The fastest run counts. On a CPU: the sum of a block, the filling of a block that is there already, and half the
    rate of a matrix product, whose unit is a multiplication with an addition on one lane. On a GPU the copy's rate
    stands for both directions and operations are not counted.
    """
    def rate(work, call):
        return work / min(take_turns({"": [call]}, device)[""]) * 1e3

    n = 256 << 20 if device.cuda else (64 if device.quick else 256) << 20
    a = torch.zeros(n // 4, device=device.name)
    if device.cuda:
        b = torch.zeros_like(a)
        both = rate(2 * n, lambda: a.copy_(b))
        return {"read_bytes": both, "write_bytes": both}
    m = 1024 if device.quick else 2048
    x, y, out = torch.randn(m, m), torch.randn(m, m), torch.empty(m, m)
    return {"read_bytes": rate(n, a.sum), "write_bytes": rate(n, a.zero_),
            "operations": rate(m**3, lambda: torch.mm(x, y, out=out))}
