"""A detector over a picture in tiles."""

import numpy as np
import torch

from roikit.trainer.tiles.grid import windows
from roikit.trainer.tiles.joining import joined
from roikit.trainer.tiles.objects import objects_of

__all__ = ["detect_in_tiles"]


def detect_in_tiles(run, picture, prepare, tiles, *, limit=None):
    """What a detector finds on a picture of any size.

    Tiles are read, looked at and let go, so that memory grows with the objects alone. A picture that fits one tile is
    looked at as it is, and its output is the model's own.

    Args:
        run: of `roikit.trainer.running.evaluation_of`: image tensors -> outputs and two durations.
        picture: `roikit.data.pictures.Picture`.
        prepare: (H, W, 3) array -> image tensor. It is asked for each tile by itself, as for an image of that size.
        tiles: `Tiles`.
        limit: so many objects at most, the surest.

    Returns:
        the output of the model, as for one image, its masks as RLEs; and the two durations.
    """
    places = windows(*picture.size, tiles)
    if len(places) == 1:
        (output,), *spent = run([prepare(picture.whole())])
        return output, *spent
    found, spent = [], [0.0, 0.0]
    for k in range(0, len(places), tiles.batch):
        part = places[k:k + tiles.batch]
        outputs, *times = run([prepare(picture.read(w.top, w.left, w.height, w.width)) for w in part])
        spent = [a + b for a, b in zip(spent, times, strict=True)]
        found += [objects_of(window, output) for window, output in zip(part, outputs, strict=True)]
    rows = {name: values[:limit] for name, values in joined(found, places, picture.size).items()}
    output = {name: values if isinstance(values, list) else torch.from_numpy(np.ascontiguousarray(values))
              for name, values in rows.items()}
    return output, *spent
