"""The processes of one run, as torchrun starts them; alone, every call is trivial."""

import importlib
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

__all__ = ["Process", "pick_device"]


@dataclass(frozen=True)
class Process:
    """This process among ``world``; rank 0 writes files. ``own`` says that ``start`` made the group that it is in."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    own: bool = False

    @classmethod
    def start(cls, device):
        """Join the processes that torchrun's environment names, in the group that there is or a new one.

        A new one is of NCCL for CUDA, else of gloo.
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
            dist.init_process_group("nccl" if cuda else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")), own)

    @property
    def first(self):
        return self.rank == 0

    def sum(self, tensor):
        """The tensor summed over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value):
        """[value of rank 0, of rank 1, ...] on every process."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def share_first(self, value):
        """Rank 0's value on every process."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def share_buffers(self, model):
        """Rank 0's buffers (batch statistics, say) for the model of every process."""
        if self.world > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def wait(self):
        """Go on when every process has come here."""
        if self.world > 1:
            dist.barrier()

    def end(self):
        """Leave the group if ``start`` made it."""
        if self.own and dist.is_initialized():
            dist.destroy_process_group()


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
