"""What a configuration leaves to the trainer by the word "auto", as numbers."""

import os
from dataclasses import replace

__all__ = ["rate_from_batch", "usable_cores", "workers_of"]

# More processes than these seldom bring more images.
_MOST = 8


def rate_from_batch(config):
    """The ``TrainConfig`` with a learning rate in the place of "auto", and a line about it; None where it has one.

    The rate grows with the number of images a step, over all processes: Goyal et al. 2017, arXiv:1706.02677, section
    2.1.
    """
    optimizer, batch = config.optimizer, config.data.batch_size
    if optimizer.lr != "auto":
        return config, None
    rate = optimizer.reference_lr * batch / optimizer.reference_batch
    line = (f"optimizer.lr=auto: {rate:.6g} for {batch} images a step, as {optimizer.reference_lr:.6g} is for "
            f"{optimizer.reference_batch}")
    return replace(config, optimizer=replace(optimizer, lr=rate)), line


def workers_of(config, device, environment=os.environ):
    """The number of data-loading processes beside this one, and a line about it; None where the configuration has one.

    With a GPU a process takes its share of the cores but one, which it needs itself. On the CPU the network needs the
    cores, and a fourth of them loads.

    Args:
        config: ``TrainConfig``.
        device: torch.device.
        environment: torchrun's, of which LOCAL_WORLD_SIZE tells how many processes share the machine.
    """
    if config.data.workers != "auto":
        return config.data.workers, None
    cores, processes = usable_cores(), max(1, int(environment.get("LOCAL_WORLD_SIZE", "1")))
    share = cores // processes
    workers = min(_MOST, max(0, share - 1) if device.type == "cuda" else share // 4)
    beside = "" if processes == 1 else f" beside each of {processes} processes"
    return workers, f"data.workers=auto: {workers}{beside}, of {cores} core{'s' if cores != 1 else ''}"


def usable_cores():
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
