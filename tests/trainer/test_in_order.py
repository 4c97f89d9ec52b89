"""Work of several threads is told in the order in which it was given, whatever happens to a piece of it."""

import threading
import time

import numpy as np
import pytest

from roikit.trainer.in_order import InOrder
from roikit.trainer.picture_work import PIXELS, Door, Room


def lasting(seconds, result):
    def work():
        time.sleep(seconds)
        return result

    return work


def test_law_what_is_told_is_in_order_and_in_the_thread_that_gave_it():
    delays, told = np.random.default_rng(0).uniform(0, 0.01, 40), []
    with InOrder(4, lambda: 6) as line:
        for k, delay in enumerate(delays.tolist()):
            line.add(lasting(delay, k), lambda k: told.append((k, threading.current_thread())))
    assert told == [(k, threading.current_thread()) for k in range(40)]


@pytest.mark.parametrize("room", [0, 1, 3])
def test_law_no_more_is_given_than_there_is_room_for(room):
    begun, told, most = [], [], []

    def work():
        begun.append(1)
        most.append(len(begun) - len(told))

    with InOrder(8, lambda: room) as line:
        for _ in range(30):
            line.add(work, told.append)
    assert len(told) == 30 and max(most) <= room + 1


def test_contract_a_fault_is_raised_when_its_turn_has_come():
    told = []

    def fail():
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"), InOrder(3, lambda: 9) as line:
        line.add(lasting(0.05, 0), told.append)
        line.add(fail, told.append)
        line.add(lasting(0, 2), told.append)
    assert told == [0]


def test_contract_nothing_is_told_after_the_telling_failed():
    told = []

    def tell(k):
        told.append(k)
        if k == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), InOrder(2, lambda: 2) as line:
        for k in range(9):
            line.add(lasting(0, k), tell)
    assert told == [0, 1]


def test_contract_what_was_begun_is_told_when_something_else_ends_the_block():
    told, begun = [], threading.Event()

    def work():
        begun.set()
        return "begun"

    with pytest.raises(KeyboardInterrupt), InOrder(1, lambda: 9) as line:
        line.add(work, told.append)
        begun.wait()
        for k in range(3):
            line.add(lasting(0.2, k), told.append)
        raise KeyboardInterrupt
    assert told[0] == "begun" and len(told) < 4 and told[1:] == list(range(len(told) - 1))


def test_law_there_is_room_for_fewer_the_larger_pictures_are():
    room = Room(4)
    assert room() == 0  # of the first nobody knows the size
    room.note((100, 100))
    assert room() == 4
    room.note((PIXELS // 2, 1))
    assert room() == 2
    room.note((PIXELS, 2))
    assert room() == 0
    for _ in range(8):
        room.note((0, 0))
    assert room() == 4


def test_law_the_door_lets_in_what_is_small_beside_the_largest():
    door, order = Door(100), []
    with door.inside(1000), door.inside(60), door.inside(40):
        late = threading.Thread(target=lambda: [order.append("waits"), enter(door, 1, order)])
        late.start()
        late.join(0.05)
        assert order == ["waits"]
    late.join()
    assert order == ["waits", "in"]
    with door.inside(0), door.inside(0), door.inside(10**9):
        pass


def enter(door, pixels, order):
    with door.inside(pixels):
        order.append("in")
