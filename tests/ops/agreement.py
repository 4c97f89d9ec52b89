"""What the tests of several torch ops share: the bound of RoIAlign, RoIs of all sorts, maps and indices of nothing."""

import numpy as np
import pytest
import torch

from roikit.reference.roi_align import TOLERANCE

WIDE = {torch.bfloat16: torch.float32}  # what NumPy does not hold is held exactly by


def within(result, expected, scale, dtype, tolerance=TOLERANCE):
    assert result.dtype == dtype and tuple(result.shape) == expected.shape
    error = np.abs(result.detach().double().numpy() - expected.astype(np.float64))
    assert (error <= tolerance[str(dtype).removeprefix("torch.")] * scale).all(), error.max(initial=0)


def tensors(boxes):
    """(K, 5) or a list, as the reference takes them, for an op."""
    return [torch.from_numpy(b) for b in boxes] if isinstance(boxes, list) else torch.from_numpy(boxes)


def busy(dtype, channels=7, count=40):
    """Maps in several blocks of threads, RoIs of all sizes in several warps, four of them awkward; image 1 has none."""
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.standard_normal((3, channels, 19, 23))).to(dtype)
    centre, half = rng.uniform(-9, 30, (count, 2)), np.exp(rng.uniform(-3, 3, (count, 2)))
    boxes = np.concatenate([rng.integers(0, 2, (count, 1)) * 2, centre - half, centre + half], 1)
    boxes[:4, 1:] = [[9, 9, 2, 3], [np.nan, 1, 5, 5], [0, -np.inf, 5, 5], [-1e30, -1e30, 1e30, 1e30]]
    return maps, torch.from_numpy(boxes)


def as_numpy(x):
    return x.to(WIDE.get(x.dtype, x.dtype)).numpy()


def check_gradient(gradient, expected, exact):
    """``exact``, or within the bound of sums in any order."""
    if exact:
        assert torch.equal(gradient.cpu(), expected)
    else:
        tolerance = TOLERANCE[str(expected.dtype).removeprefix("torch.")]
        torch.testing.assert_close(gradient.cpu(), expected, rtol=4 * tolerance, atol=64 * tolerance)


def check_nothing(pool, shape, columns=4, planes=1):
    """A pooling to 2 x 2 of maps and RoIs of which there are none, or hardly any; ``planes`` for each channel."""
    x = torch.ones(shape, requires_grad=True)
    images = shape[0]
    for boxes in (torch.empty(0, columns + 1), [torch.empty(0, columns)] * images, [torch.ones(1, columns)] * images):
        output = pool(x, boxes)
        assert output.shape == (sum(map(len, boxes)) if isinstance(boxes, list) else 0, shape[1] // planes, 2, 2)
        assert torch.autograd.grad(output.sum(), x)[0].shape == shape


def with_strays(boxes, device):
    """How many RoIs that name no image, and these before the others: they give 0, and have no gradient."""
    if device == "cpu":
        pytest.skip("the CPU kernels raise IndexError")
    strays = [-1, 2, 0.5, float("nan"), float("inf"), -1e30, 1e30, 2**31]
    bad = boxes[:1].float().repeat(len(strays), 1)
    bad[:, 0] = torch.tensor(strays)
    return len(strays), torch.cat([bad, boxes.float()])


def check_strays(pool, x, boxes, device, deterministic):
    """RoIs that name no image give 0 and have no gradient, and the others do not notice them."""
    strays, together = with_strays(boxes, device)
    for order in (False, True):
        with deterministic(order):
            output, alone = (pool(x, b) for b in (together, boxes.float()))
            assert torch.equal(output[strays:], alone) and not output[:strays].any()
            torch.testing.assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (output, alone)))
