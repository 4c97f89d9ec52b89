"""Ops run on the current stream of their tensors' device, in order with it, and leave no other stream waiting."""

from contextlib import nullcontext

import torch

ROUNDS = 8
CYCLES = 3_000_000  # a few milliseconds, in which a kernel on a wrong stream would find its inputs not yet written


def streams(device):
    return [torch.cuda.Stream() for _ in range(2)] if device == "cuda" else [None, None]


def on_stream(stream):
    return torch.cuda.stream(stream) if stream is not None else nullcontext()


def late_copy(x, busy):
    """A copy of a tensor that is written only after the stream has been busy for a while."""
    y = torch.empty_like(x)
    if busy and x.is_cuda:
        torch.cuda._sleep(CYCLES)
    with torch.no_grad():
        y.copy_(x)
    return y.requires_grad_(x.requires_grad)


def test_two_streams_do_not_disturb_each_other(case, cases, device):
    inputs = [case.inputs(device, seed) for seed in (0, 100)]
    expected = [cases.on_host(case.call(*one)) for one in inputs]
    if device == "cuda":
        torch.cuda.synchronize()
    two, results = streams(device), [[], []]
    for turn in range(ROUNDS):
        for stream, one, found in zip(two, inputs, results, strict=True):
            with on_stream(stream):
                found.append(case.call(*(late_copy(x, turn < 2 and i == 0) for i, x in enumerate(one))))
    if device == "cuda":
        torch.cuda.synchronize()
    for found, wanted in zip(results, expected, strict=True):
        for result in found:
            cases.assert_same(case, cases.on_host(result), wanted)


def test_ops_do_not_wait_for_the_device(gpu, fixed_case):
    """With the stream busy for long, a call returns at once: nothing in it waits for the device or copies to the host.

    torch.cuda.set_sync_debug_mode raises where torch itself would wait; the event shows what our launchers do.
    """
    inputs = fixed_case.inputs(gpu)
    fixed_case.call(*inputs)  # modules are loaded on the first call
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.cuda._sleep(300_000_000)  # more than a tenth of a second
        fixed_case.call(*inputs)
        done.record()
        assert not done.query(), "the call waited for the device"
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
