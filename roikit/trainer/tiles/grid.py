"""Where the tiles of a picture lie."""

from dataclasses import dataclass

__all__ = ["Tiles", "Window", "tiles_of", "windows"]


@dataclass(frozen=True)
class Tiles:
    """How a picture is cut.

    Args:
        size: side of a tile, pixels; a picture that fits is one tile of its own size.
        overlap: what two neighbours have in common at least, pixels. Objects up to this size are seen whole by a tile.
        batch: tiles that the network gets at once.
    """

    size: int = 1024
    overlap: int = 128
    batch: int = 4

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"tile must be 1 or more pixels, got {self.size}")
        if not 0 <= self.overlap <= self.size // 2:
            raise ValueError(f"overlap must be 0 to half of the tile, {self.size // 2}, got {self.overlap}")


def tiles_of(tile, overlap, batch=4):
    """`Tiles` of what a user says: None without a tile; the overlap is 128, or a quarter of tiles below 512.

    Raises:
        ValueError: there is an overlap and no tile, or they make no sense.
    """
    if tile is None:
        if overlap is not None:
            raise ValueError("overlap is that of tiles, and no size of tiles is given")
        return None
    return Tiles(tile, min(128, tile // 4) if overlap is None else overlap, batch)


@dataclass(frozen=True)
class Window:
    """A tile's place in its picture: rows ``top`` to ``bottom``, columns ``left`` to ``right``, the last not in it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self):
        return self.bottom - self.top

    @property
    def width(self):
        return self.right - self.left

    def common(self, other):
        """The window that both have in common, or None."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Window(top, left, bottom, right) if top < bottom and left < right else None


def windows(height, width, tiles):
    """The tiles of a picture as a list of `Window`, row by row."""
    return [Window(top, left, bottom, right) for top, bottom in spans(height, tiles) for left, right in
            spans(width, tiles)]


def spans(length, tiles):
    """(begin, end) of the tiles along a side: as few as may be, at equal distances but for rounding."""
    if length <= tiles.size:
        return [(0, length)]
    room, step = length - tiles.size, tiles.size - tiles.overlap
    count = -(-room // step)
    return [(room * k // count, room * k // count + tiles.size) for k in range(count + 1)]
