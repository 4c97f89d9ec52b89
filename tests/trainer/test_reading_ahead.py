"""An evaluation without processes for loading has the next images read by a thread."""

import threading

import pytest
import torch

from roikit.trainer.running import loader_of


class Slow:
    """Items that tell that they are being read; the one of place 2 is broken."""

    def __init__(self, count, error):
        self.begun, self.error = [threading.Event() for _ in range(count)], error

    def __len__(self):
        return len(self.begun)

    def __getitem__(self, place):
        self.begun[place].set()
        if place == 2:
            raise self.error
        return torch.full((3, 1, 1), float(place)), {"image_id": place}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_law_the_next_batch_is_read_meanwhile_and_no_further_one(batch_size):
    dataset, seen, faults = Slow(12, OSError("cut")), [], {}
    for places, images, targets, unread in loader_of(dataset, range(12), batch_size, 0):
        seen += places
        faults |= unread
        assert [int(image.max()) for image in images] == places == [target["image_id"] for target in targets]
        last = len(seen) + len(faults)
        for begun in dataset.begun[last:last + batch_size]:
            assert begun.wait(10)
        assert not any(begun.is_set() for begun in dataset.begun[last + batch_size:])
    assert seen == [0, 1, *range(3, 12)] and faults == {2: "cut"}


def test_contract_a_fault_that_is_no_image_s_ends_the_reading():
    with pytest.raises(KeyError, match="cut"):
        list(loader_of(Slow(4, KeyError("cut")), range(4), 1, 0))


def test_contract_a_reader_that_is_given_up_ends():
    dataset, before = Slow(2, None), threading.active_count()
    reading = loader_of(dataset, range(2), 1, 0)
    next(reading)
    reading.close()
    assert threading.active_count() == before
