"""Images shared out among processes, and whether all of them mean the same."""

import hashlib
import json
import socket

from torch.utils.data import Subset

from roikit.data.findings import counted

__all__ = ["Share", "digest_of_file", "host_name", "own_share", "require_same", "share_of", "speed_of_all",
           "told_names"]


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
    order = sorted(range(len(names)), key=lambda place: _digest_of(names[place]))
    return sorted(order[process.rank::process.world])


def share_of(dataset, process):
    """The images of a data set that this process has; alone, the data set itself."""
    return dataset if process.world == 1 else Share(dataset, own_share(dataset.image_ids, process))


def speed_of_all(process, speed, count):
    """The ``speed`` of `roikit.trainer.running.Looking` over all processes, of which this one had ``count`` images."""
    if process.world == 1:
        return speed
    told = process.gather((speed, count))
    total = sum(count for _, count in told)
    seconds = max(count / max(speed["images_per_second"], 1e-9) for speed, count in told)
    parts = {name: sum(speed[name] * count for speed, count in told) / max(1, total) for name in speed}
    return {**parts, "images_per_second": total / max(seconds, 1e-9)}


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


def told_names(names):
    """What one process tells another of the images that it sees."""
    return f"{counted(len(names), 'image')} ({_digest_of(json.dumps(list(names)))})"


def digest_of_file(path):
    """A short name for what a file holds."""
    digest = hashlib.blake2b(digest_size=8)
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def _digest_of(name):
    return hashlib.blake2b(str(name).encode(errors="surrogateescape"), digest_size=8).hexdigest()


def host_name():
    return socket.gethostname()
