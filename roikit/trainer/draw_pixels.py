"""Classes of pixels drawn on their images, with a legend, and label maps as PNG files."""

import numpy as np

from roikit.errors import naming
from roikit.trainer.draw import enlarged, object_color
from roikit.trainer.extras import extra
from roikit.trainer.fonts import font_of, plain_text

__all__ = ["class_colors", "draw_classes", "save_labels"]

TEXT = 13  # pixels
ROW = 20
IGNORED_COLOR = (96, 96, 96)


def class_colors(count, names=()):
    """(256, 3) uint8: a colour for each of ``count`` classes, black for one called background, grey beyond."""
    colors = np.full((256, 3), IGNORED_COLOR, np.uint8)
    backgrounds = [str(name).strip().casefold() in ("background", "_background_") for name in names]
    for value in range(min(count, 255)):
        is_bare = value < len(backgrounds) and backgrounds[value]
        colors[value] = (0, 0, 0) if is_bare else object_color(value - sum(backgrounds[:1]))
    return colors


def draw_classes(image, labels, names, *, segments=None, opacity=0.45, about=768):
    """Draw classes on an image, with a legend below that tells the share of each.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) whole numbers: classes, and 255 where nothing is known. Pixels of a class called "background"
            stay as they are.
        names: of the classes 0, 1, ...
        segments: (H, W) whole numbers; where they differ, a border is drawn as between classes.
        opacity: of the colours, 0.0 to 1.0.
        about: enlarge by a whole factor until the longer side has about so many pixels.

    Returns:
        (H * k + legend, W * k, 3) uint8.
    """
    labels = np.asarray(labels)
    factor = max(1, round(about / max(*image.shape[:2], 1)))
    colors = class_colors(len(names), names)
    picture = enlarged(image, factor)
    large = _enlarged(labels.clip(0, 255).astype(np.uint8), factor)
    paint = colors[large]
    tinted = (picture * (1 - opacity) + paint * opacity).astype(np.uint8)
    bare = (paint == 0).all(-1)
    picture = np.where(bare[..., None], picture, tinted)
    edge = _borders(large if segments is None else _enlarged(np.asarray(segments), factor)) & ~bare
    picture[edge] = paint[edge]
    return np.concatenate([picture, _legend(labels, names, colors, picture.shape[1])])


def _enlarged(labels, factor):
    return labels.repeat(factor, axis=0).repeat(factor, axis=1)


def _borders(labels):
    """The pixels with a neighbour of another class."""
    found = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        one, other = (slice(None, -1), slice(1, None)) if axis == 0 else (
            (slice(None), slice(None, -1)), (slice(None), slice(1, None)))
        differ = labels[one] != labels[other]
        found[one] |= differ
        found[other] |= differ
    return found


def _legend(labels, names, colors, width):
    """Swatch, name and share of each class that is there, the most frequent first, in rows of ``width`` pixels."""
    pillow, pen = extra("PIL.Image", "drawing predictions"), extra("PIL.ImageDraw", "drawing predictions")
    counts = np.bincount(labels.reshape(-1).clip(0, 255), minlength=256)
    entries, x, y = [], 4, 2
    for value in sorted(np.flatnonzero(counts).tolist(), key=lambda v: -counts[v]):
        name = str(names[value]) if value < len(names) else "ignored"
        text, font = f"{name} {100 * counts[value] / labels.size:.1f} %", font_of(name, TEXT)
        if font is None:
            text, font = text.replace(name, plain_text(name) or str(value)), font_of("", TEXT)
        needed = ROW + int(font.getlength(text)) + 12
        if x > 4 and x + needed > width:
            x, y = 4, y + ROW
        entries.append((x, y, value, text, font))
        x += needed
    sheet = pillow.new("RGB", (width, y + ROW), (255, 255, 255))
    draw = pen.Draw(sheet)
    for x, y, value, text, font in entries:
        draw.rectangle((x, y + 2, x + 12, y + 14), fill=tuple(int(v) for v in colors[value]), outline=(0, 0, 0))
        draw.text((x + 17, y), text, fill=(0, 0, 0), font=font)
    return np.array(sheet)


def save_labels(path, labels, colors):
    """Write an (H, W) label map as a PNG with a palette, which `roikit.data` reads back as it is.

    Args:
        colors: (256, 3) uint8, of `class_colors`.
    """
    picture = extra("PIL.Image", "writing label maps").fromarray(np.asarray(labels, np.uint8))
    picture.putpalette(colors.reshape(-1).tolist())
    with naming(path):
        picture.save(path)
