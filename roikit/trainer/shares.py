"""Images shared out among processes, and whether all of them mean the same."""

import hashlib
import json
import socket

from torch.utils.data import Subset

__all__ = ["Share", "digest_of", "host_name", "own_share", "require_same"]


class Share(Subset):
    """The images of one process, of a data set that knows their files."""

    def image_path(self, index):
        return self.dataset.image_path(self.indices[index])

    @property
    def image_ids(self):
        ids = self.dataset.image_ids
        return [ids[place] for place in self.indices]


def own_share(names, process):
    """Places of the names that this process has, in their order.

    They are dealt out in the order of digests, so that what is whose follows from the names alone, neighbours, which
    may all be large, go to several, and each process has as many as the others, but for one.
    """
    if process.world == 1:
        return list(range(len(names)))
    order = sorted(range(len(names)), key=lambda place: digest_of(names[place]))
    return sorted(order[process.rank::process.world])


def require_same(process, who, **values):
    """Look whether each process has the same values; every process must call this.

    Args:
        process: ``Process``.
        who: what the sentence begins with.
        values: plain data, each under the name that a user knows it by.

    Raises:
        ValueError: they differ, on all processes.
    """
    told = process.gather((host_name(), {name: json.dumps(value) for name, value in values.items()}))
    host, first = told[0]
    for rank, (other_host, other) in enumerate(told):
        for name in (name for name in first if other[name] != first[name]):
            raise ValueError(f"{who}: all processes must have the same, but process {rank} on {other_host} has {name} "
                             f"{other[name]}, process 0 on {host} {first[name]}")


def digest_of(text):
    """A short name for a text, or for bytes."""
    return hashlib.blake2b(text if isinstance(text, bytes) else str(text).encode(errors="surrogateescape"),
                           digest_size=8).hexdigest()


def host_name():
    return socket.gethostname()
