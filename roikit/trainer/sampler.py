"""Which images make up which step: a function of seed and step alone."""

import math

import numpy as np
from torch.utils.data import Dataset, Sampler

__all__ = ["EpochBatches", "EpochDataset"]


class EpochBatches(Sampler):
    """Endless batches of (epoch, index) for one process of several.

    Every epoch is a random order of all images drawn from (seed, epoch); its step takes the next
    ``batch_size`` of them, of which process ``rank`` of ``world`` takes every ``world``-th. An
    order is filled up from its start to whole steps, so all processes and steps have equally many.

    Being a function of the step, the place in it needs no state: ``start`` is the first step.

    Raises:
        ValueError: no images, or a batch size that the processes cannot share equally.
    """

    def __init__(self, length, batch_size, *, seed, rank=0, world=1, start=0):
        if length < 1:
            raise ValueError("train: the training set has no images")
        if batch_size % world:
            raise ValueError(f"train: data.batch_size must be a multiple of the {world} "
                             f"processes, got {batch_size}")
        self.length, self.batch_size = length, batch_size
        self.seed, self.rank, self.world, self.start = seed, rank, world, start
        self.steps_per_epoch = math.ceil(length / batch_size)

    def order(self, epoch):
        """Image indices of one epoch over all processes, (steps_per_epoch, batch_size) int64."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
        return np.resize(order, (self.steps_per_epoch, self.batch_size))

    def __iter__(self):
        epoch, within = divmod(self.start, self.steps_per_epoch)
        while True:
            for batch in self.order(epoch)[within:]:
                yield [(epoch, int(i)) for i in batch[self.rank::self.world]]
            epoch, within = epoch + 1, 0


class EpochDataset(Dataset):
    """Items of ``dataset`` by (epoch, index), so that workers that live through many epochs and
    fetch ahead of the step always know the epoch of each item."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, place):
        epoch, index = place
        self.dataset.set_epoch(epoch)
        return self.dataset[index]
