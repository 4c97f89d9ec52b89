"""Opens image files as RGB arrays, whatever they are stored as. Pillow is asked for here alone."""

import struct
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from roikit.data.remote import local_path
from roikit.data.tiff import is_tiff, open_tiff, tiff_values

__all__ = ["Header", "open_image", "read_image", "read_labels", "read_values"]

_EXIF_ORIENTATION = 0x0112
_TIFF_SIZE = (0x0100, 0x0101)  # width and height
_TIFF_KIND, _WHITE_IS_0 = 0x0106, 0
_LIMIT = threading.Lock()  # Pillow's limit of pixels is one for all threads
_LAST_BYTES = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}  # what stands at the end of a file that is whole


class Header(NamedTuple):
    """What an image file says before any pixel of it is decoded.

    Attributes:
        width, height: pixels as `read_image` gives them.
        orientation: EXIF's, 1 to 8, which `read_image` does not apply; 1 where the file has none.
        large: whether Pillow warns of so many pixels.
        doubtful: whether `read_image` may refuse it, as only its pixels tell: values out of range, or a file that does
            not end as those of its kind do.
    """

    width: int
    height: int
    orientation: int
    large: bool
    doubtful: bool


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("roikit.data needs Pillow to open images: pip install 'roikit[train]'"
                          ) from error
    return Image


def open_image(path):
    """Size and orientation of an image file, from its header alone.

    Args:
        path: path of a file that Pillow knows.

    Returns:
        Header.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened, or is not an image; the text names it.
        ValueError: it has more pixels than Pillow takes for safe.
    """
    limit, path = _pillow().MAX_IMAGE_PIXELS, local_path(path)
    try:
        opened = _opened(path)
    except OSError as error:
        height, width = _windows(path, error).size
        return Header(width, height, 1, limit is not None and width * height > limit, True)
    with opened as image:
        (width, height), orientation = image.size, _orientation(image, path)
        if image.format == "TIFF":  # turned by Pillow, as every reader of TIFF does; before 11, only as it is decoded
            width, height = (image.tag_v2[tag] for tag in _TIFF_SIZE)
            if orientation >= 5:
                width, height = height, width
            orientation = 1
        ranged = image.mode == "F" or image.mode == "I" and image.format != "PNG"
        return Header(width, height, orientation, limit is not None and width * height > limit,
                      ranged or _may_be_cut(path, image.format))


def read_image(path, *, upright=False, max_pixels=None):
    """Decode an image file into RGB.

    Grey images are repeated over three channels, palettes are looked up, an alpha channel is dropped
    (not blended), CMYK is converted, and of several frames the first is taken. EXIF's orientation
    is not applied unless asked for: COCO's tools do not apply it either, so annotations are made on the pixels as
    stored. (TIFF's own tag of orientation is: Pillow turns such an image upright.)

    Args:
        path: path of a file that Pillow knows, or a TIFF file that tifffile does, where it is installed.
        upright: whether to turn the image as EXIF says, as cameras and telephones mean it to be seen.
        max_pixels: refuse larger images before any pixel is decoded; None for Pillow's limit, twice
            ``PIL.Image.MAX_IMAGE_PIXELS``.

    Returns:
        (H, W, 3) array: uint16 for 16-bit grey images, float32 for floating-point grey images, whose
        values must be in [0, 1], uint8 for all others. (Pillow reads 16-bit colour as 8-bit.)

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be opened, is broken or not an image; the text names it.
        ValueError: a 32-bit image holds values outside 0..65535, or a float image outside [0, 1]; or the
            image has too many pixels.
    """
    path = local_path(path)
    try:
        opened = _opened(path, max_pixels)
    except OSError as error:
        return _by_tifffile(path, max_pixels, error)
    with opened as image:
        orientation = _orientation(image, path) if upright and image.format != "TIFF" else 1
        try:
            image.load()
            if image.mode == "F" or image.mode.startswith("I"):
                pixels = np.asarray(image)
            elif image.mode in ("L", "1"):
                pixels = np.asarray(image.convert("L"))
            else:
                pixels = np.array(image.convert("RGB"))
        except Exception as error:  # Pillow's readers raise whatever a broken file makes them stumble over
            raise _refusal(error, path, "cannot be decoded") from error
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = _deep(pixels, path)
        if image.mode.startswith("I;16") and image.format == "TIFF" and image.tag_v2.get(_TIFF_KIND) == _WHITE_IS_0:
            pixels = 65535 - pixels  # which Pillow does for 8 bits alone
    pixels = _turned(pixels, orientation)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def read_labels(path):
    """Decode an image file whose pixels are labels: 8-bit grey, or a palette, whose colours say nothing.

    Returns:
        (H, W) uint8.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be opened, is broken or not an image; the text names it.
        ValueError: it has colours or other depths, or too many pixels.
    """
    path = local_path(path)
    with _opened(path) as image:
        if image.mode not in ("L", "P"):
            raise ValueError(f"read_labels: {path} must be 8-bit grey or have a palette, got mode {image.mode}")
        try:
            return np.array(image)
        except Exception as error:  # see read_image
            raise _refusal(error, path, "cannot be decoded") from error


def read_values(path):
    """Decode an image file whose pixels are whole numbers, one for each object: grey of any depth, or a palette.

    Grey that is stored as colours is grey; other colours become one number each, red * 65536 + green * 256 + blue.

    Returns:
        (H, W) int64, from 0.

    Raises:
        FileNotFoundError, OSError: as `read_labels`.
        ValueError: a value is no whole number from 0, or there are too many pixels.
    """
    path = local_path(path)
    try:
        opened = _opened(path)
    except OSError as error:
        return _whole(tiff_values(_told_by_tifffile(path, error)), path)
    with opened as image:
        try:
            if image.mode in ("P", "L", "1", "F") or image.mode.startswith("I"):
                values = np.array(image)
            else:
                colours = np.array(image.convert("RGB")).astype(np.int64)
                values = colours @ (65536, 256, 1)
                if (colours == colours[:, :, :1]).all():
                    values = colours[:, :, 0]
        except Exception as error:  # see read_image
            raise _refusal(error, path, "cannot be decoded") from error
    return _whole(values, path)


def _whole(values, path):
    whole = values.astype(np.int64)
    if (whole != values).any() or whole.min(initial=0) < 0:
        raise ValueError(f"read_values: {path}: the values of a label image must be whole numbers from 0")
    return whole


def _opened(path, max_pixels=None):
    pillow = _pillow()
    try:
        image = pillow.open(path) if max_pixels is None else _opened_within(path, max_pixels)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"read_image: there is no file {path}") from None
    except pillow.UnidentifiedImageError as error:
        what = "is not an image that Pillow knows" if Path(path).stat().st_size else "is empty"
        raise OSError(f"read_image: {path} {what}") from error
    except Exception as error:
        raise _refusal(error, path, "cannot be opened") from error
    if image.format == "TIFF" and _orientation(image, path) >= 5:
        image.filename = ""  # else Pillow maps pixels into memory by the size of the turned image, and scrambles them
    return image


def _told_by_tifffile(path, refusal):
    """The path of a TIFF file of a kind that Pillow does not know; whatever else it refuses is refused."""
    if not isinstance(refusal.__cause__, _pillow().UnidentifiedImageError) or not is_tiff(path):
        raise refusal
    return path


def _windows(path, refusal):
    """The `TiffWindows` of a TIFF file that Pillow refuses."""
    try:
        found = open_tiff(_told_by_tifffile(path, refusal))
    except ImportError as error:
        raise OSError(f"{refusal}; {error}") from refusal
    if found is None:
        raise refusal
    return found


def _by_tifffile(path, max_pixels, refusal):
    """The pixels of a TIFF file that Pillow refuses."""
    found = _windows(path, refusal)
    pillow_limit = _pillow().MAX_IMAGE_PIXELS
    limit = pillow_limit and 2 * pillow_limit if max_pixels is None else max_pixels
    height, width = found.size
    if limit is not None and height * width > limit:
        raise _refusal(_too_large(height * width, limit), path, "cannot be opened")
    return found.read(0, 0, height, width)


def _too_large(pixels, limit):
    return _pillow().DecompressionBombError(f"Image size ({pixels} pixels) exceeds limit of {limit} pixels")


def _opened_within(path, max_pixels):
    """Pillow's image of a file, with another limit of pixels than Pillow's."""
    pillow = _pillow()
    with _LIMIT:
        before, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None
        try:
            image = pillow.open(path)
        finally:
            pillow.MAX_IMAGE_PIXELS = before
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise _too_large(width * height, max_pixels)
    return image


def _turned(pixels, orientation):
    """(H, W) or (H, W, 3) pixels as EXIF's orientation, 1 to 8, means them to be seen."""
    if orientation == 1:
        return pixels
    if orientation >= 5:  # rows and columns change places
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _refusal(error, path, what):
    """The OSError or ValueError that stands for whatever a file made Pillow raise."""
    pillow = _pillow()
    if isinstance(error, (pillow.DecompressionBombError, pillow.DecompressionBombWarning)):
        return ValueError(f"read_image: {path} has more pixels than are taken for safe ({error}); cut it into "
                          "smaller ones, or allow more by max_pixels or PIL.Image.MAX_IMAGE_PIXELS")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return OSError(f"read_image: {path} {what}: {reason}")


def _orientation(image, path):
    """EXIF's orientation of an opened image, 1 to 8, with no pixel decoded."""
    try:
        if image.format == "PNG":
            # Pillow's own way to a PNG's EXIF decodes the image, for its chunk may stand behind the pixels.
            if "exif" not in image.info and (found := _png_exif(path)) is not None:
                image.info["exif"] = found
            exif = _pillow().Image.getexif(image)
        else:
            exif = image.getexif()
        found = exif.get(_EXIF_ORIENTATION, 1)
    except Exception:  # what cannot be read turns no image, in any viewer
        return 1
    return found if found in range(1, 9) else 1


def _may_be_cut(path, kind):
    """Whether the end of a file is not that of a whole one of its kind."""
    last = _LAST_BYTES.get(kind)
    if last is None:
        return False
    with open(path, "rb") as file:
        file.seek(0, 2)
        file.seek(max(file.tell() - 64, 0))
        return last not in file.read()


def _png_exif(path):
    """The content of a PNG's eXIf chunk, or None."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return file.read(length)
            file.seek(length + 4, 1)
    return None


def _deep(grey, path):
    """A grey image of more than 8 bits as uint16, or as float32 in [0, 1]."""
    low, high = (grey.min(), grey.max()) if grey.size else (0, 0)
    if grey.dtype.kind == "f":
        if not (low >= 0 and high <= 1):
            raise ValueError(f"read_image: a float image must lie in [0, 1], {path} spans "
                             f"[{low}, {high}]")
        return grey.astype(np.float32)
    if low < 0 or high > 65535:
        raise ValueError(f"read_image: an integer image must lie in 0..65535, {path} spans "
                         f"{low}..{high}")
    return grey.astype(np.uint16)
