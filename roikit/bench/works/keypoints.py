"""Works of keypoints: the targets of a training step, and the maps of an image's people back to points."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, only, plain, size_of

__all__ = ["works"]

PEOPLE, POINTS, SIZE = 100, 17, 56  # of COCO's people, and Mask R-CNN's resolution


def keypoint_maps(peaks, seed=0):
    """(PEOPLE, POINTS, SIZE, SIZE): noise, and in each map a peak far above it where ``peaks``."""
    g = inputs.generator(seed)
    maps = torch.randn(PEOPLE, POINTS, SIZE, SIZE, generator=g)
    if peaks:
        at = torch.rand(2, PEOPLE, POINTS, 1, generator=g) * SIZE
        y, x = torch.exp(-((torch.arange(SIZE) + 0.5 - at) / 3).square() / 2)
        maps += 14 * y[..., :, None] * x[..., None, :]
    return maps


def works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    if tv:
        from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypoints_to_heatmap
    if d2:
        from detectron2.structures.keypoints import _keypoints_to_heatmap
        from detectron2.structures.keypoints import heatmaps_to_keypoints as decode2
    boxes = inputs.boxes(PEOPLE, 24, 500, 6)
    for label, peaks in (("peaks", True), ("noise", False)):
        yield Work("keypoints", f"decode_keypoints {PEOPLE} x {POINTS} {label}", made(keypoint_maps(peaks), boxes),
                   plain(ops.decode_keypoints),
                   only(torchvision=tv and plain(heatmaps_to_keypoints), detectron2=d2 and plain(decode2)),
                   lambda given, out: Cost(size_of(given), size_of(out)), "maps read", quick=peaks)
    rois = inputs.boxes(512, 100, 800, 2)
    g = inputs.generator(1)
    points = rois[:, None, :2] + torch.rand(512, POINTS, 2, generator=g) * 1.2 * (rois[:, None, 2:] - rois[:, None, :2])
    points = torch.cat([points, torch.randint(0, 3, (512, POINTS, 1), generator=g).float()], 2)
    yield Work("keypoints", f"encode_keypoints 512 x {POINTS}", made(points, rois),
               plain(lambda p, b: ops.encode_keypoints(p, b, SIZE)),
               only(torchvision=tv and plain(lambda p, b: keypoints_to_heatmap(p, b, SIZE)),
                    detectron2=d2 and plain(lambda p, b: _keypoints_to_heatmap(p, b, SIZE))))
