"""Opens image files as RGB arrays, whatever they are stored as. Pillow is asked for here alone."""

import numpy as np

__all__ = ["open_image", "read_image"]

_EXIF_ORIENTATION = 0x0112


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
        (width, height, orientation): pixels, and EXIF's orientation, 1 where the file has none.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file is not an image; the text names it.
    """
    with _opened(path) as image:
        orientation = 1
        if image.format in ("JPEG", "MPO", "TIFF", "WEBP"):  # for PNG, Pillow would decode it all
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
        return (*image.size, orientation)


def read_image(path):
    """Decode an image file into RGB.

    Grey images are repeated over three channels, palettes are looked up, an alpha channel is dropped
    (not blended), CMYK is converted, and of several frames the first is taken. EXIF's orientation
    is not applied: COCO's tools do not apply it either, so annotations are made on the pixels as stored.

    Args:
        path: path of a file that Pillow knows.

    Returns:
        (H, W, 3) array: uint16 for 16-bit grey images, float32 for floating-point grey images, whose
        values must be in [0, 1], uint8 for all others. (Pillow reads 16-bit colour as 8-bit.)

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file is broken or not an image; the text names it.
        ValueError: a 32-bit image holds values outside 0..65535, or a float image outside [0, 1].
    """
    with _opened(path) as image:
        try:
            image.load()
            if image.mode == "F" or image.mode.startswith("I"):
                grey = _deep(np.asarray(image), path)
            elif image.mode in ("L", "1"):
                grey = np.asarray(image.convert("L"))
            else:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, EOFError) as error:
            raise OSError(f"read_image: {path} cannot be decoded: {error}") from error
    return np.repeat(grey[:, :, None], 3, axis=2)


def _opened(path):
    try:
        return _pillow().open(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"read_image: there is no file {path}") from None
    except (OSError, SyntaxError, EOFError) as error:
        raise OSError(f"read_image: {path} is not an image that Pillow knows") from error


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
