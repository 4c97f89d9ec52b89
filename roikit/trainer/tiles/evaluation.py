"""A detector over the pictures of a data set in tiles, for an evaluation."""

import time

from roikit.data.pictures import open_picture
from roikit.trainer.sentences import out_of_memory
from roikit.trainer.tiles.looking import detect_in_tiles

__all__ = ["detect_on_pictures"]


def detect_on_pictures(run, dataset, prepare, tiles, results_of, *, on_error):
    """What `roikit.trainer.evaluation.detect` does, with pictures read and looked at tile by tile.

    Args:
        run, prepare, tiles: see `detect_in_tiles`.
        dataset: ``CocoDataset``, of which the files and the ids of the images are asked for alone.
        results_of: the output of an image and its id -> COCO results.
        on_error: called with the path and the exception for each image that could not be read.

    Returns:
        COCO results in the order of the data set, and seconds an image by part.
    """
    results, spent = [], {"data": 0.0, "forward": 0.0, "post": 0.0}
    begun = time.perf_counter()
    for place, image_id in enumerate(dataset.image_ids):
        path, mark = dataset.image_path(place), time.perf_counter()
        try:
            output, forward, paste = detect_in_tiles(run, open_picture(path, windows=True), prepare, tiles)
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not out_of_memory(error):
                raise
            on_error(path, error)
            continue
        looked = time.perf_counter()
        results += results_of(output, int(image_id))
        spent["forward"] += forward
        spent["post"] += paste + time.perf_counter() - looked
        spent["data"] += looked - mark - forward - paste
    seen = max(1, len(dataset))
    speed = {name: value / seen for name, value in spent.items()}
    speed["images_per_second"] = len(dataset) / max(time.perf_counter() - begun, 1e-9)
    return results, speed
