"""Targets of 28 x 28 for 128 RoIs on 20 objects of an 800 x 1333 image, from bitmaps, runs and polygons."""

import numpy as np
import torch

import roikit
import roikit.kernels
import roikit.masks
import roikit.ops

from . import _inputs

HEIGHT, WIDTH = 800, 1333


def objects(kind, count=20, rois=128):
    """Masks of one kind, RoIs jittered about them, and which mask is whose."""
    truth = _inputs.boxes(count, 48, 500, 11, height=HEIGHT, width=WIDTH)
    boxes, matched = _inputs.jittered(truth, rois, HEIGHT, WIDTH)
    rng = np.random.default_rng(0)
    masks = [[_inputs.star(box, rng)] for box in truth.tolist()]
    if kind != "polygons":
        masks = [roikit.masks.merge(roikit.masks.frPyObjects(polygons, HEIGHT, WIDTH)) for polygons in masks]
    if kind == "bitmaps":
        masks = torch.from_numpy(np.ascontiguousarray(roikit.masks.decode(masks).transpose(2, 0, 1)))
    return masks, boxes, matched


class MaskTargets:
    params = [["bitmaps", "runs", "polygons"], ["soft", "binary"], ["cpu", "cuda"]]
    param_names = ["masks", "rule", "device"]

    def setup(self, kind, rule, device):
        masks, boxes, matched = objects(kind)
        if kind == "bitmaps":
            (masks,) = _inputs.on(device, masks)
        self.inputs = masks, *_inputs.on(device, boxes, matched)

    def time_mask_targets(self, kind, rule, device):
        roikit.ops.mask_targets(*self.inputs, 28, rule=rule, image_size=(HEIGHT, WIDTH))
        _inputs.wait(device)


class MaskTargetsKernel:
    params = [["bitmaps", "runs"], [1, 2], ["base", "v3", "v4"]]
    param_names = ["masks", "threads", "simd"]

    def setup(self, kind, threads, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.inputs = objects(kind)

    def time_mask_targets(self, kind, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.mask_targets(*self.inputs, 28, threads=threads)
