"""Pictures of which a window can be read: what is done in tiles asks for no more pixels than it looks at."""

from dataclasses import dataclass

import numpy as np

from roikit.data.images import read_image
from roikit.data.remote import local_path
from roikit.data.tiff import TiffWindows, is_tiff, open_tiff

__all__ = ["FilePicture", "Picture", "open_picture"]


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


@dataclass(frozen=True)
class FilePicture:
    """An image in a TIFF file, read where it is looked at; `read` and `whole` as `Picture` has them."""

    path: str
    windows: TiffWindows
    max_pixels: int | None

    @property
    def size(self):
        return self.windows.size

    def read(self, y, x, height, width):
        return self.windows.read(y, x, height, width)

    def whole(self):
        return read_image(self.path, max_pixels=self.max_pixels)


def open_picture(path, *, upright=False, max_pixels=None, windows=False):
    """The picture in a file.

    Args:
        path, upright, max_pixels: as `read_image` has them.
        windows: whether parts of it are to be read rather than the whole. Of a TIFF file, where tifffile is installed,
            no more is then decoded at once, and ``max_pixels`` is for reading it whole.

    Raises: as `read_image` does.
    """
    path = local_path(path)
    if windows and is_tiff(path):
        try:
            found = open_tiff(path)
        except ImportError:
            found = None  # Pillow reads most of them, as a whole
        if found is not None:
            return FilePicture(path, found, max_pixels)
    return Picture(read_image(path, upright=upright, max_pixels=max_pixels))
