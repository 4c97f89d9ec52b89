"""The compiled CPU kernels. They check little and say it tersely; roikit.kernels and roikit.ops are the doors."""

import enum
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

compiler: str
cuda_build: str

class DType(enum.Enum):
    float16 = 0
    bfloat16 = 1
    float32 = 2
    float64 = 3
    uint8 = 4
    bool = 5
    int8 = 6
    int32 = 7
    uint32 = 8
    int64 = 9

class Simd(enum.Enum):
    base = 0
    v3 = 1
    v4 = 2

class View:
    def __init__(self, *args: object) -> None: ...

class Launch:
    def __init__(
        self, *, threads: int = 1, team: int = 0, simd: Simd = Simd.base, huge_pages: bool = False, device: int = 0,
        stream: int = 0, workspace: int = 0, workspace_bytes: int = 0, deterministic: bool = False
    ) -> None: ...

def best_simd() -> Simd: ...
def batched_nms(
    boxes: View, scores: View, idxs: View, iou_threshold: float, keep: View, count: View, launch: Launch
) -> None: ...
def batched_nms_rotated(
    boxes: View, scores: View, idxs: View, iou_threshold: float, keep: View, count: View, launch: Launch
) -> None: ...
def box_iou(boxes1: View, boxes2: View, out: View, launch: Launch) -> None: ...
def box_iou_rotated(boxes1: View, boxes2: View, out: View, launch: Launch) -> None: ...
def complete_box_iou(boxes1: View, boxes2: View, eps: float, out: View, launch: Launch) -> None: ...
def distance_box_iou(boxes1: View, boxes2: View, eps: float, out: View, launch: Launch) -> None: ...
def generalized_box_iou(boxes1: View, boxes2: View, out: View, launch: Launch) -> None: ...
def cell_anchors(sizes: View, ratios: View, ratio_outside: bool, rounded: bool, out: View, launch: Launch) -> None: ...
def decode_boxes(
    deltas: View, anchors: View, weights: Sequence[float], clip: float, out: View, launch: Launch
) -> None: ...
def encode_boxes(boxes: View, anchors: View, weights: Sequence[float], out: View, launch: Launch) -> None: ...
def fast_nms(
    boxes: View, scores: View, idxs: View, iou_threshold: float, top_k: int, keep: View, count: View, launch: Launch
) -> None: ...
def grid_anchors(
    cell_anchors: View, height: int, width: int, stride_y: float, stride_x: float, offset: float, out: View,
    launch: Launch
) -> None: ...
def mask_targets(masks: View, boxes: View, matched: View, binary: bool, out: View, launch: Launch) -> None: ...
def mask_targets_of_runs(
    counts: View, offsets: View, sizes: View, boxes: View, matched: View, binary: bool, out: View, launch: Launch
) -> None: ...
def match_boxes(
    anchors: View, gt_boxes: View, high: float, low: float, allow_low_quality: bool, index: View, label: View,
    iou: View, launch: Launch
) -> None: ...
def matrix_nms(
    boxes: View, scores: View, idxs: View, sigma: float, min_score: float, method: int, keep: View, decayed: View,
    count: View, launch: Launch
) -> None: ...
def nms(boxes: View, scores: View, iou_threshold: float, keep: View, count: View, launch: Launch) -> None: ...
def nms_rotated(
    boxes: View, scores: View, iou_threshold: float, keep: View, count: View, launch: Launch
) -> None: ...
def paste_masks(masks: View, boxes: View, threshold: float, rule: int, out: View, launch: Launch) -> None: ...
def paste_masks_rle(
    masks: View, boxes: View, height: int, width: int, threshold: float, rule: int, offsets: View, launch: Launch
) -> NDArray[np.uint32]: ...
def ps_roi(
    input: View, boxes: View, spatial_scale: float, align: bool, sampling_ratio: int, output: View, launch: Launch
) -> None: ...
def ps_roi_backward(
    grad: View, boxes: View, spatial_scale: float, align: bool, sampling_ratio: int, gradient: View, launch: Launch
) -> None: ...
def roi_align(
    features: Sequence[View], boxes: View, scales: Sequence[float], thresholds: Sequence[float], output: View,
    sampling_ratio: int, aligned: bool, launch: Launch
) -> None: ...
def roi_align_backward(
    grad: View, boxes: View, scales: Sequence[float], thresholds: Sequence[float], gradients: Sequence[View],
    sampling_ratio: int, aligned: bool, launch: Launch
) -> None: ...
def roi_pool(input: View, boxes: View, spatial_scale: float, output: View, argmax: View, launch: Launch) -> None: ...
def roi_pool_backward(grad: View, argmax: View, boxes: View, gradient: View, launch: Launch) -> None: ...
def roi_warp(
    input: View, boxes: View, spatial_scale: float, reduce: int, output: View, argmax: View, launch: Launch
) -> None: ...
def roi_warp_backward(
    grad: View, argmax: View, boxes: View, spatial_scale: float, gradient: View, launch: Launch
) -> None: ...
def soft_nms(
    boxes: View, scores: View, iou_threshold: float, sigma: float, min_score: float, method: int, keep: View,
    decayed: View, count: View, launch: Launch
) -> None: ...
