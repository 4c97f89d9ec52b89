"""Which images make up which step: a function of seed and step alone."""

import math

import numpy as np
from torch.utils.data import Sampler

__all__ = ["EpochBatches"]


class EpochBatches(Sampler):
    """The batches of one epoch, from any step of it on, for one process of several.

    Every epoch is a random order of all images drawn from (seed, epoch); its step takes the next
    ``batch_size`` of them, of which process ``rank`` of ``world`` takes every ``world``-th. An
    order is filled up from its start to whole steps, so all processes and steps have equally many.

    Being a function of the step, the place in it needs no state: ``seek`` goes to any step.

    Raises:
        ValueError: no images, or a batch size that the processes cannot share equally.
    """

    def __init__(self, length, batch_size, *, seed, rank=0, world=1):
        if length < 1:
            raise ValueError("train: the training set has no images")
        if batch_size % world:
            raise ValueError(f"train: data.batch_size must be a multiple of the {world} "
                             f"processes, got {batch_size}")
        self.length, self.batch_size = length, batch_size
        self.seed, self.rank, self.world = seed, rank, world
        self.steps_per_epoch = math.ceil(length / batch_size)
        self.epoch = self.within = 0

    def seek(self, step):
        """Let the next iteration begin with this step of the run; returns its epoch."""
        self.epoch, self.within = divmod(step, self.steps_per_epoch)
        return self.epoch

    def order(self, epoch):
        """Image indices of one epoch over all processes, (steps_per_epoch, batch_size) int64."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
        return np.resize(order, (self.steps_per_epoch, self.batch_size))

    def __len__(self):
        return self.steps_per_epoch - self.within

    def __iter__(self):
        for batch in self.order(self.epoch)[self.within:]:
            yield batch[self.rank::self.world].tolist()
