"""TIFF files read window by window, and those that Pillow does not know. tifffile is asked for here alone."""

from collections import OrderedDict
from pathlib import Path

import numpy as np

__all__ = ["TiffWindows", "is_tiff", "open_tiff", "tiff_values"]

_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two of files beyond 4 GB
_WHITE_IS_0, _BLACK_IS_0, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG = (6, 7, 33003, 34892)  # compressions that decode colours, too
_DEPTHS = (np.uint8, np.uint16, np.float16, np.float32, np.float64)
_KEPT = 256 << 20  # bytes of decoded tiles and strips


def is_tiff(path):
    """Whether a file begins as TIFF does."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in _BEGINNINGS
    except OSError:
        return False


def open_tiff(path):
    """The first page of a TIFF file as `TiffWindows`.

    Returns:
        None where its pixels are of a kind that is left to Pillow: turned, CMYK, whole numbers of other depths than 8
        and 16.

    Raises:
        ImportError: tifffile is not installed.
        OSError: the file cannot be read.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ImportError("large TIFF files need tifffile: pip install 'roikit[tiff]'") from error
    try:
        file = tifffile.TiffFile(path)
    except Exception as error:  # what a broken file makes it stumble over
        raise _unreadable(path, error) from error
    try:
        page = file.pages.first
        if _is_plain(page):
            return TiffWindows(path, file, page)
    except Exception as error:
        file.close()
        raise _unreadable(path, error) from error
    file.close()
    return None


def tiff_values(path):
    """The numbers of the first page of a TIFF file as they are, (H, W).

    Raises:
        OSError: tifffile is not installed, the file cannot be read, or a pixel has several numbers.
    """
    try:
        import tifffile
    except ImportError:
        raise OSError(f"read_image: {path} is a TIFF file that Pillow does not know, and tifffile is not installed: "
                      "pip install 'roikit[tiff]'") from None
    try:
        with tifffile.TiffFile(path) as file:
            values = file.pages.first.asarray()
    except Exception as error:  # what a broken file makes it stumble over
        raise _unreadable(path, error) from error
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise OSError(f"read_image: {path} must have one number for each pixel, got {values.dtype} {values.shape}")
    return values


def _is_plain(page):
    turned = page.tags.get("Orientation")
    kinds = {_WHITE_IS_0, _BLACK_IS_0, _RGB, _PALETTE} | ({_YCBCR} if page.compression in _JPEG else set())
    samples = page.samplesperpixel
    return (page.dtype in _DEPTHS and page.imagedepth == 1 and page.photometric in kinds
            and (turned is None or turned.value == 1) and (samples >= 3 or page.photometric not in (_RGB, _YCBCR))
            and (page.photometric != _PALETTE or page.dtype == np.uint8 and page.colormap is not None))


class TiffWindows:
    """A page of a TIFF file, of which no more is decoded than the tiles or strips that a window touches.

    Attributes:
        size: (height, width).
    """

    def __init__(self, path, file, page):
        self._path, self._file, self._page = Path(path), file, page
        self.size = (page.imagelength, page.imagewidth)
        self._tile = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        self._tile = (min(self._tile[0], self.size[0]) if not page.is_tiled else self._tile[0], self._tile[1])
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self._kept, self._bytes = OrderedDict(), 0

    def __del__(self):
        self._file.close()

    def read(self, y, x, height, width):
        """(height, width, 3) pixels of a window inside the picture: uint8, uint16 or float32 in [0, 1].

        Raises:
            OSError: they cannot be decoded. ValueError: floating-point values outside [0, 1].
        """
        page = self._page
        samples = 1 if self._planes > 1 else page.samplesperpixel
        window = np.zeros((height, width, self._planes * samples), page.dtype)
        for plane in range(self._planes):
            for row in range(y // self._tile[0], -(-(y + height) // self._tile[0])):
                for column in range(x // self._tile[1], -(-(x + width) // self._tile[1])):
                    part = self._segment(plane, row, column)
                    if part is None:
                        continue  # a sparse file's tile without pixels
                    top, left = row * self._tile[0] - y, column * self._tile[1] - x
                    bottom, right = min(top + part.shape[0], height), min(left + part.shape[1], width)
                    window[max(top, 0):bottom, max(left, 0):right, plane * samples:(plane + 1) * samples] = part[
                        max(-top, 0):bottom - top, max(-left, 0):right - left]
        return self._colours(window)

    def _segment(self, plane, row, column):
        """A decoded tile or strip (h, w, samples), from those that are kept or from the file."""
        across, down = -(-self.size[1] // self._tile[1]), -(-self.size[0] // self._tile[0])
        index = (plane * down + row) * across + column
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        page, handle = self._page, self._file.filehandle
        try:
            handle.seek(page.dataoffsets[index])
            data = handle.read(page.databytecounts[index])
            if len(data) < page.databytecounts[index]:
                raise ValueError("the file is cut short")
            part, _, shape = page.decode(data, index, jpegtables=page.jpegtables) if data else (None, None, None)
        except Exception as error:
            raise _unreadable(self._path, error) from error
        if part is not None:
            part = part.reshape(part.shape[-3:])[:shape[1], :shape[2]]
            self._keep(index, part)
        return part

    def _keep(self, index, part):
        self._kept[index] = part
        self._bytes += part.nbytes
        while self._bytes > _KEPT and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def _colours(self, window):
        kind, page = self._page.photometric, self._page
        if kind == _PALETTE:
            return (page.colormap >> 8).astype(np.uint8).T[window[:, :, 0]]
        if kind in (_RGB, _YCBCR):
            window = np.ascontiguousarray(window[:, :, :3])
        else:
            window = np.repeat(window[:, :, :1], 3, axis=2)
        if window.dtype.kind == "f" and window.size:
            low, high = window.min(), window.max()
            if not (low >= 0 and high <= 1):
                raise ValueError(f"read_image: a float image must lie in [0, 1], {self._path} spans [{low}, {high}]")
            window = window.astype(np.float32, copy=False)
        if kind == _WHITE_IS_0:
            window = (np.iinfo(window.dtype).max if window.dtype.kind == "u" else np.float32(1)) - window
        return window


def _unreadable(path, error):
    return OSError(f"read_image: {path} cannot be decoded: {str(error) or type(error).__name__}")
