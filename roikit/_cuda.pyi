"""The compiled CUDA kernels, with the signatures of roikit._core."""

from roikit._core import Launch, View

runtime: int

def box_iou(boxes1: View, boxes2: View, out: View, launch: Launch) -> None: ...
