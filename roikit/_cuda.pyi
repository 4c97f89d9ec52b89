"""The compiled CUDA kernels, with the signatures of roikit._core."""

from roikit._core import Launch, View

runtime: int

def batched_nms_in_order(
    boxes: View, by_score: View, classes: View, ranks: View, iou_threshold: float, keep: View, count: View,
    launch: Launch
) -> None: ...
def box_iou(boxes1: View, boxes2: View, out: View, launch: Launch) -> None: ...
def grid_anchors(
    cell_anchors: View, height: int, width: int, stride_y: float, stride_x: float, offset: float, out: View,
    launch: Launch
) -> None: ...
def nms_in_order(
    boxes: View, by_score: View, iou_threshold: float, keep: View, count: View, launch: Launch
) -> None: ...
def nms_workspace(boxes: View) -> int: ...
def score_keys(scores: View, keys: View, launch: Launch) -> None: ...
