"""Masks moved as runs, against the same moves of their bitmaps."""

import numpy as np
import pytest

from roikit import masks
from roikit.masks import frames


def drawn(random, count, height, width):
    dense = random.random((height, width, count)) < random.random(count)
    for k in range(count):  # some empty, some full, some with runs over several columns
        kind = random.integers(4)
        dense[:, :, k] = (False, True, dense[:, :, k], dense[:, :, k])[kind]
        if kind == 3:
            dense[:, 1:3, k] = True
    return dense


@pytest.mark.parametrize("seed", range(40))
def test_law_moves_of_runs_are_those_of_bitmaps(seed):
    random = np.random.default_rng(seed)
    height, width, count = random.integers(1, 9, 3)
    dense = drawn(random, count, height, width)
    rles = masks.encode(np.asfortranarray(dense, np.uint8))
    dy, dx = random.integers(-9, 10, 2)
    h, w = random.integers(1, 20, 2)
    canvas = np.zeros((60, 60, count), np.uint8)
    canvas[20 + dy:20 + dy + height, 20 + dx:20 + dx + width] = dense
    expected = masks.encode(np.asfortranarray(canvas[20:20 + h, 20:20 + w]))
    assert frames.shift(rles, dy, dx, h, w) == expected
    for horizontal, vertical in ((True, False), (False, True), (True, True)):
        turned = dense[::-1 if vertical else 1, ::-1 if horizontal else 1]
        assert frames.flip(rles, horizontal=horizontal, vertical=vertical) == masks.encode(
            np.asfortranarray(turned, np.uint8))


@pytest.mark.parametrize("seed", range(10))
def test_law_a_window_holds_the_mask(seed):
    random = np.random.default_rng(seed)
    dense = drawn(random, 3, 7, 9)
    for k, rle in enumerate(masks.encode(np.asfortranarray(dense, np.uint8))):
        y, x, pixels = frames.window(rle)
        whole = np.zeros((7, 9), bool)
        whole[y:y + pixels.shape[0], x:x + pixels.shape[1]] = pixels
        assert (whole == dense[:, :, k]).all()


def test_contract_frames_larger_than_memory_and_empty_lists():
    small = masks.encode(np.ones((3, 4), np.uint8, order="F"))
    far = frames.shift([small], 59_000, 60_000, 60_000, 65_000)[0]
    assert masks.toBbox(far).tolist() == [60_000, 59_000, 4, 3] and masks.area(far) == 12
    assert frames.window(far)[2].shape == (3, 4) and frames.window(far)[2].all()
    assert frames.shift([], 1, 1, 5, 5) == []
    with pytest.raises(ValueError, match="2\\^32"):
        frames.shift([small], 0, 0, 70_000, 70_000)
