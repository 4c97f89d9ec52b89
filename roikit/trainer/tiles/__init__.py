"""Pictures larger than a network is to see at once: looked at in tiles that overlap, and their objects joined."""

from roikit.trainer.tiles.evaluation import detect_on_pictures
from roikit.trainer.tiles.grid import Tiles, tiles_of
from roikit.trainer.tiles.looking import detect_in_tiles

__all__ = ["Tiles", "detect_in_tiles", "detect_on_pictures", "tiles_of"]
