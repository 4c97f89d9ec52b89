from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def flat_points(op: str, polygon: Any) -> NDArray[np.float64]: ...
def polygon_counts(op: str, polygon: Any, height: int, width: int) -> NDArray[np.uint32]: ...
def box_counts(
    op: str, box: Sequence[float], height: int, width: int
) -> NDArray[np.uint32]: ...
def counts_from_polygons(
    polygons: Sequence[Any], height: int, width: int, op: str = "counts_from_polygons"
) -> NDArray[np.uint32]: ...
def runs_of_masks(
    masks: Sequence[Any], image_size_of_polygons: tuple[int, int] | None, op: str
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]: ...
