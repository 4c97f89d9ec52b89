"""Which images make up which step: a function of seed and step alone."""

import math

import numpy as np
from torch.utils.data import Sampler

__all__ = ["EpochBatches", "repeat_factors"]


def repeat_factors(pairs, length, threshold):
    """How often an epoch is to show each image, so that rare classes are seen.

    Args:
        pairs: (P, 2) whole numbers: the place of an image and a class on it, each pair once.
        length: number of images.
        threshold: part of the images, above 0; classes on fewer are repeated.

    Returns:
        (length,) float64, at least 1: max(1, sqrt(threshold / f)) of the rarest class on the image, where the class is
        on the part f of all images; 1 without objects.

    Source: Gupta et al. 2019, "LVIS", arXiv:1908.03195, section 5.2 and its appendix.
    """
    factors = np.ones(length)
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    if len(pairs):
        _, place, counts = np.unique(pairs[:, 1], return_inverse=True, return_counts=True)
        np.maximum.at(factors, pairs[:, 0], np.sqrt(threshold * length / counts)[place.reshape(-1)])
    return factors


class EpochBatches(Sampler):
    """The batches of one epoch, from any step of it on, for one process of several.

    Every epoch is a random order of all images drawn from (seed, epoch); its step takes the next
    ``batch_size`` of them, of which process ``rank`` of ``world`` takes every ``world``-th. An
    order is filled up from its start to whole steps, so all processes and steps have equally many.

    With ``factors`` an epoch is longer, their sum rounded up, and shows image i ``factors[i]`` times on average over
    the epochs. An image that is there again is given as (index, how often it was before), for the data set to change it
    otherwise each time.

    Being a function of the step, the place in it needs no state: ``seek`` goes to any step.

    Args:
        factors: (length,) numbers of at least 1; None for an order of each image once.

    Raises:
        ValueError: no images, or a batch size that the processes cannot share equally.
    """

    def __init__(self, length, batch_size, *, seed, rank=0, world=1, factors=None):
        if length < 1:
            raise ValueError("train: the training set has no images")
        if batch_size % world:
            raise ValueError(f"train: data.batch_size must be a multiple of the {world} "
                             f"processes, got {batch_size}")
        self.length, self.batch_size = length, batch_size
        self.seed, self.rank, self.world = seed, rank, world
        self.factors = None if factors is None else np.asarray(factors, np.float64)
        self.shown = length if factors is None else math.ceil(self.factors.sum())
        self.steps_per_epoch = math.ceil(self.shown / batch_size)
        self.epoch = self.within = 0

    def seek(self, step):
        """Let the next iteration begin with this step of the run; returns its epoch."""
        self.epoch, self.within = divmod(step, self.steps_per_epoch)
        return self.epoch

    def order(self, epoch):
        """Image indices of one epoch over all processes, (steps_per_epoch, batch_size) int64."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(self.length)
        if self.factors is not None:
            # Equal distances along the sum of the factors: the length of an epoch does not vary, as drawing the
            # fraction of each image by itself would have it.
            sums = np.cumsum(self.factors[order])
            ends = np.floor(sums * (self.shown / sums[-1]) + random.random()).astype(np.int64)
            ends[-1] = self.shown  # whatever the rounding of the sum
            order = random.permutation(np.repeat(order, np.diff(ends, prepend=0)))
        return np.resize(order, (self.steps_per_epoch, self.batch_size))

    def __len__(self):
        return self.steps_per_epoch - self.within

    def __iter__(self):
        order = self.order(self.epoch)
        turns = np.zeros_like(order) if self.factors is None else _turns(order, self.length)
        for batch, turn in zip(order[self.within:], turns[self.within:], strict=True):
            yield [(index, before) if before else index for index, before in zip(
                batch[self.rank::self.world].tolist(), turn[self.rank::self.world].tolist(), strict=True)]


def _turns(order, length):
    """Of each entry of an order, of any shape, how often its image stands before it."""
    shape, order = order.shape, order.ravel()
    places = np.argsort(order, kind="stable")
    starts = np.zeros(length + 1, np.int64)
    np.cumsum(np.bincount(order, minlength=length), out=starts[1:])
    turns = np.empty_like(order)
    turns[places] = np.arange(len(order)) - starts[order[places]]
    return turns.reshape(shape)
