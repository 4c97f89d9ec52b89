"""Sliding windows: logits of an image that is larger than a network is to see at once."""

from collections.abc import Callable

from torch import Tensor

from roikit.models.parts.graphs import between_graphs

__all__ = ["windowed", "window_starts"]


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along a side.

    Args:
        length: of the side, at least `window`.
        overlap: the least part of a window that the next one covers again, below 1.

    Returns:
        list from 0 to length - window, at equal distances but for rounding.
    """
    room = length - window
    step = max(int(window * (1 - overlap)), 1)
    count = -(-room // step)
    return [0] + [room * k // count for k in range(1, count + 1)]


@between_graphs
def windowed(logits_of: Callable[[Tensor], Tensor], x: Tensor, window: tuple[int, int], overlap: float) -> Tensor:
    """The mean of the logits of all windows that a pixel lies in.

    Args:
        logits_of: (N, 3, h, w) -> (N, C, h, w).
        x: (N, 3, H, W); of a side that is shorter than the window's, the whole is taken.
        window: (height, width).
        overlap: as in `window_starts`.

    Returns:
        (N, C, H, W) of the logits' dtype.
    """
    height, width = (min(side, cut) for side, cut in zip(x.shape[-2:], window, strict=True))
    total, times = None, x.new_zeros(x.shape[-2:])
    for top in window_starts(x.shape[-2], height, overlap):
        for left in window_starts(x.shape[-1], width, overlap):
            found = logits_of(x[..., top:top + height, left:left + width])
            if total is None:
                total = found.new_zeros((*found.shape[:2], *x.shape[-2:]))
            total[..., top:top + height, left:left + width] += found
            times[top:top + height, left:left + width] += 1
    return total / times.to(total.dtype)
