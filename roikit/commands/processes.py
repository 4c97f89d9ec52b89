"""The processes of a command that torchrun started in several."""

import contextlib
import os

__all__ = ["among_processes", "goes_on", "is_first"]


@contextlib.contextmanager
def among_processes():
    """This process among those that torchrun started, as `roikit.trainer.distributed.joined`; None where it is alone.

    Torch is not needed then.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield None
        return
    from roikit.trainer.distributed import joined

    with joined() as process:
        yield process


def is_first(process):
    """Whether this process is the one that tells what all have done."""
    return process is None or process.first


def goes_on():
    """Whether torchrun has started the processes anew, since one of them had ended (its ``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
