"""The processes of one run, as torchrun starts them; alone, every call is trivial."""

import contextlib
import importlib
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

__all__ = ["Process", "joined", "pick_device"]

_PIECE = 1 << 24  # bytes of a file that are sent at once


@contextlib.contextmanager
def joined():
    """The `Process` among those that torchrun started; alone where it did not start this one. For use with ``with``.

    It is for work that each does on its own: who is done waits for the others in the end, as long as it takes, so that
    none of them is ended by torchrun, which ends all when one has failed.

    Raises:
        ConnectionError: another process has ended.
    """
    process = Process.start("cpu", patience=timedelta(days=365))
    try:
        yield process
        process.wait()
    finally:
        process.end()


@dataclass(frozen=True)
class Process:
    """This process among ``world``; rank 0 writes files. ``own`` says that ``start`` made the group that it is in.

    What waits for the others raises a ConnectionError where one of them has ended.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    own: bool = False

    @classmethod
    def start(cls, device, patience=None):
        """Join the processes that torchrun's environment names, in the group that there is or a new one.

        A new one is of NCCL for CUDA, else of gloo; in it the others are waited for as long as ``patience`` says.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
            return cls()
        own = not dist.is_initialized()
        if own:
            # Before there is a group: its functions take the group of that moment as a default and would keep it for
            # good, with gloo's threads. One that lets go of a tensor while the interpreter ends takes the process with
            # it. Not on top of this file: there are builds of torch without it, on which one process can train.
            importlib.import_module("torch.distributed.nn.functional")
            cuda = device != "cpu" and torch.cuda.is_available()
            with _others():
                store, rank, world = next(rendezvous("env://"))
                # Torchrun keeps its store where it starts processes anew; those before have left their places in it.
                store = dist.PrefixStore(f"roikit-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
                dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=world,
                                        timeout=patience)
        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")), own)

    @property
    def first(self):
        return self.rank == 0

    def sum(self, tensor):
        """The tensor summed over all processes, in place."""
        if self.world > 1:
            with _others():
                dist.all_reduce(tensor)
        return tensor

    def gather(self, value):
        """[value of rank 0, of rank 1, ...] on every process."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        with _others():
            dist.all_gather_object(values, value)
        return values

    def share_first(self, value):
        """Rank 0's value on every process."""
        if self.world == 1:
            return value
        box = [value]
        with _others():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def share_buffers(self, model):
        """Rank 0's buffers (batch statistics, say) for the model of every process."""
        if self.world > 1:
            with _others():
                for buffer in model.buffers():
                    dist.broadcast(buffer, src=0)

    def wait(self):
        """Go on when every process has come here."""
        if self.world > 1:
            with _others():
                dist.barrier()

    def bring(self, path, places):
        """Bring a file of each other process to the first one, over the network, in a group of gloo.

        Args:
            path: of this process's file.
            places: on the first process, rank -> path to write it to, of all others.

        Raises:
            OSError: a file cannot be read or written.
        """
        lengths = self.gather(os.path.getsize(path))
        for rank, length in enumerate(lengths):
            if rank == 0 or self.rank not in (0, rank):
                continue
            with open(path, "rb") if self.rank else open(places[rank], "wb") as file:
                for begin in range(0, length, _PIECE):
                    piece = torch.empty(min(_PIECE, length - begin), dtype=torch.uint8)
                    if self.rank:
                        file.readinto(piece.numpy())
                    with _others():
                        dist.send(piece, 0) if self.rank else dist.recv(piece, rank)
                    if not self.rank:
                        file.write(piece.numpy())

    def device(self, name):
        """The device for what the user asked for: of the processes of a machine each has a GPU of its own, in turn."""
        if self.world > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            return f"cuda:{self.local_rank % torch.cuda.device_count()}"
        return name

    def end(self):
        """Leave the group if ``start`` made it."""
        if self.own and dist.is_initialized():
            dist.destroy_process_group()


@contextlib.contextmanager
def _others():
    """Says in words what torch tells of a process that cannot be reached."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError("another process of this run has ended, or cannot be reached; its own message says why"
                              ) from error


def pick_device(name, local_rank=0):
    """The torch device for "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", ...

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: must be auto, cpu, cuda or cuda:N, for which there are kernels, got {name!r}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device: {name!r} was asked for, but torch sees no CUDA device")
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        torch.cuda.set_device(device)
    return device
