"""Several processes at once, as torchrun would start them, without the seconds that an interpreter takes to start."""

import os
import signal
import socket
import sys
import time
import traceback

import torch

from roikit.trainer.distributed import joined

DONE, FAILED, LEFT = 0, 1, 3  # statuses of a process; LEFT is that of one which another has left alone


def started(count, work, joins=joined):
    """Fork ``count`` processes, each of which calls ``work(process)``; their ids by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [_forked(work, joins, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count),
                    LOCAL_WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=port) for rank in range(count)]


def together(count, work, kill=None):
    """The statuses of ``count`` processes that did ``work``.

    Args:
        kill: called again and again with the process ids; True when it has killed one.
    """
    children = started(count, work)
    end = time.monotonic() + 120
    while kill is not None and time.monotonic() < end and not kill(children):
        time.sleep(0.002)
    return [ended(child, end) for child in children]


def ended(child, end):
    """The status of a process that ends within the time; negative is the signal that ended it."""
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError("a process did not end")


def _forked(work, joins, **environment):
    child = os.fork()
    if child:
        return child
    status = FAILED
    try:
        torch.set_num_threads(1)
        os.environ.update(environment)
        with joins() as process:
            work(process)
        status = DONE
    except ConnectionError:
        status = LEFT
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)
