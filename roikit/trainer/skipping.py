"""Training images that cannot be read: the next one stands in, and a few of them are taken."""

import math

from torch.utils.data import Dataset

from roikit.trainer.sentences import sentence_about

__all__ = ["Skipping", "Unread"]

LIMIT = 0.01  # part of the images


class Skipping(Dataset):
    """A data set in which the next image that can be read stands in for one that cannot.

    Targets of such a place have ``unread``, place -> sentence, of the images that were passed over. What an image is
    changed by is its own: the generator is that of its place.
    """

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, entry):
        index, before = entry if isinstance(entry, tuple) else (entry, 0)
        (image, target), unread = self._first(index, lambda place: self.dataset[(place, before)])
        return image, {**target, "unread": unread} if unread else target

    def sample(self, index):
        """The sample of the first image from the index-th on that can be read."""
        return self._first(index, self.dataset.sample)[0]

    def set_epoch(self, epoch):
        self.dataset.set_epoch(epoch)

    def _first(self, index, read):
        unread = {}
        for place in range(index, index + len(self.dataset)):
            place %= len(self.dataset)
            try:
                return read(place), unread
            except (OSError, ValueError) as error:
                unread[place] = sentence_about(self.dataset.image_path(place), error)
                if len(unread) > allowed(len(self.dataset)):
                    # What follows is told as too many by the one who counts them.
                    raise OSError(too_many(unread, len(self.dataset))) from error
        raise OSError(too_many(unread, len(self.dataset)))


class Unread:
    """The training images of a run that could not be read so far.

    Attributes:
        known: place in the data set -> sentence.
    """

    def __init__(self, length, known=()):
        self.length, self.known = length, dict(known)

    def add(self, unread):
        """Take in place -> sentence; those that were not known.

        Raises:
            OSError: they have become too many.
        """
        new = {place: text for place, text in sorted(unread.items()) if place not in self.known}
        self.known |= new
        if len(self.known) > allowed(self.length):
            raise OSError(too_many(self.known, self.length))
        return new


def allowed(length):
    """How many of so many images may be passed over."""
    return math.floor(LIMIT * length)


def too_many(unread, length):
    return (f"{len(unread)} of {length} training images cannot be read, and data.on_error=skip passes over "
            f"{allowed(length)}, 1 % of them; the first is {next(iter(unread.values()))}")
