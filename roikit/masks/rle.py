"""Run-length encoded masks: pycocotools.mask's functions, with the same results on valid input.

An RLE is a dict ``{"size": [height, width], "counts": ...}``. Runs count pixels in column-major
order, alternately background and foreground, background first, and sum to height * width, which
is below 2^32. ``counts`` is COCO's compressed string (bytes or str) or a list of runs; results
hold bytes. ``size`` and runs are checked in every function:

    TypeError    an RLE that is no dict, a size or runs that are not whole numbers
    ValueError   a key missing, a character outside 48..111, a number cut at the end of the string
                 or of more than 7 characters, a negative run, runs that do not sum to h * w,
                 h * w >= 2^32, masks of several sizes where one is needed

The argument names are pycocotools'. Source: pycocotools 2.0.11.
"""

import numpy as np

from roikit import _rle

__all__ = ["area", "decode", "encode", "iou", "merge", "toBbox"]


def encode(bimask):
    """Encode bitmaps.

    Args:
        bimask: (H, W) or (H, W, N) bool or uint8 in any memory order; not 0 is foreground.

    Returns:
        One RLE for (H, W), a list of N for (H, W, N).

    Raises:
        TypeError: neither bool nor uint8. ValueError: another number of axes, H * W >= 2^32.
    """
    masks = np.asarray(bimask)
    if masks.dtype not in (np.bool_, np.uint8):
        raise TypeError(f"encode: bimask must be bool or uint8, got {masks.dtype}")
    if masks.ndim not in (2, 3):
        raise ValueError(f"encode: bimask must have shape (H, W) or (H, W, N), got {masks.shape}")
    height, width = _rle.image_size("encode", *masks.shape[:2])
    stack = masks.view(np.uint8)
    counts, offsets = _rle.runs_of_bitmaps(stack if masks.ndim == 3 else stack[:, :, None])
    rles = [{"size": [height, width], "counts": text}
            for text in _rle.strings_from_counts(counts, offsets)]
    return rles if masks.ndim == 3 else rles[0]


def decode(rleObjs):
    """Decode RLEs of one size.

    Args:
        rleObjs: one RLE, or a list of N of them.

    Returns:
        uint8 (H, W) for one, (H, W, N) for a list, column-major, 1 is foreground; (0, 0, 0) for an
        empty list.
    """
    rles = _listed("decode", rleObjs)
    counts, offsets, sizes = _rle.runs_of(rles, "decode")
    height, width = _rle.one_size("decode", sizes)
    masks = _rle.bitmaps_of_runs(counts, offsets, height, width).transpose(2, 1, 0)
    return masks if rles is rleObjs else masks[:, :, 0]


def area(rleObjs):
    """Foreground pixels: uint32 of one RLE, uint32 (N,) of a list."""
    rles = _listed("area", rleObjs)
    counts, offsets, _ = _rle.runs_of(rles, "area")
    areas = _rle.areas_of_runs(counts, offsets)
    return areas if rles is rleObjs else areas[0]


def toBbox(rleObjs):
    """Boxes around the foreground: float64 (4,) of one RLE, (N, 4) of a list.

    A box is x, y, width, height in whole pixels; zeros for a mask without foreground.
    """
    rles = _listed("toBbox", rleObjs)
    boxes = _rle.boxes_of_runs(*_rle.runs_of(rles, "toBbox"))
    return boxes if rles is rleObjs else boxes[0]


def merge(rleObjs, intersect=0):
    """One RLE: the union of a list of RLEs of one size, or the intersection if ``intersect``.

    A single RLE keeps its runs; an empty list gives size [0, 0] and no runs.
    """
    if not isinstance(rleObjs, (list, tuple)):
        raise TypeError(f"merge: rleObjs must be a list of RLEs, got {type(rleObjs).__name__}")
    counts, offsets, sizes = _rle.runs_of(rleObjs, "merge")
    height, width = _rle.one_size("merge", sizes)
    if len(rleObjs):
        counts = _rle.merge_runs(counts, offsets, height * width, bool(intersect))
    return {"size": [height, width], "counts": _rle.string_from_counts(counts)}


def iou(dt, gt, pyiscrowd):
    """Intersection over union of detections and ground truths, as COCO's evaluation takes it.

    Args:
        dt: M masks or boxes: a list of RLEs of one size, or (M, 4) boxes x y width height as an
            array or a list of lists.
        gt: N masks or boxes of the same kind.
        pyiscrowd: N flags; the intersection with a crowd is divided by the detection's area.

    Returns:
        float64 (M, N), column-major. 0 where nothing overlaps, where a side is empty or reversed,
        and for boxes that are not finite. (M, N) also where M or N is 0.

    Raises:
        TypeError: neither RLEs nor boxes, or one of each. ValueError: flags of another number,
        masks of several sizes, boxes not (N, 4).
    """
    crowd = np.asarray(pyiscrowd)
    if crowd.ndim != 1 or len(crowd) != len(gt):
        raise ValueError(f"iou: pyiscrowd must have one flag for each of {len(gt)} ground truths, "
                         f"got shape {crowd.shape}")
    crowd = (crowd != 0).view(np.uint8)
    detections, truths = _measured_or_boxes("dt", dt), _measured_or_boxes("gt", gt)
    if len(dt) == 0 or len(gt) == 0:
        return np.zeros((len(dt), len(gt)), np.float64, order="F")
    if isinstance(detections, np.ndarray) and isinstance(truths, np.ndarray):
        return _rle.iou_of_boxes(detections, truths, crowd)
    if isinstance(detections, np.ndarray) or isinstance(truths, np.ndarray):
        raise TypeError("iou: dt and gt must both be RLEs or both be boxes, got one of each")
    _rle.one_size("iou", np.concatenate([detections[2], truths[2]]))
    return _rle.iou_of_runs(_rle.Measured(*detections), _rle.Measured(*truths), crowd)


def _measured_or_boxes(name, objects):
    """Runs, offsets and sizes of a list of RLEs; float64 (N, 4) of boxes."""
    if not isinstance(objects, (list, tuple, np.ndarray)):
        raise TypeError(f"iou: {name} must be a list of RLEs or of boxes, "
                        f"got {type(objects).__name__}")
    if isinstance(objects, (list, tuple)):
        if all(isinstance(one, dict) for one in objects):
            return _rle.runs_of(objects, "iou")
        if not all(isinstance(one, (list, tuple, np.ndarray)) for one in objects):
            raise TypeError(f"iou: {name} must hold RLEs or boxes x y width height, got "
                            f"{sorted({type(one).__name__ for one in objects})}")
        if any(len(one) != 4 for one in objects):
            raise ValueError(f"iou: {name} must hold boxes of 4 numbers, "
                             f"got lengths {sorted({len(one) for one in objects})}")
    boxes = np.asarray(objects)
    if boxes.dtype.kind not in "iufb":
        raise TypeError(f"iou: {name} must hold numbers, got {boxes.dtype}")
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise ValueError(f"iou: {name} must have shape (N, 4), got {boxes.shape}")
    return np.ascontiguousarray(boxes, np.float64)


def _listed(op, rles):
    if isinstance(rles, dict):
        return [rles]
    if isinstance(rles, (list, tuple)):
        return rles
    raise TypeError(f"{op}: rleObjs must be an RLE or a list of RLEs, got {type(rles).__name__}")
