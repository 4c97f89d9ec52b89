"""Pasting 100 masks of 28 x 28 into an 800 x 1333 image: as runs, as bool images, as float images."""

import roikit
import roikit.kernels
import roikit.ops

from . import _inputs

SIZE = (800, 1333)


def masks_and_boxes(count=100):
    return _inputs.mask_probabilities(count), _inputs.boxes(count, 24, 500, 6, height=SIZE[0], width=SIZE[1])


class PasteMasks:
    params = [["continuous", "integer"], ["bool", "soft"], ["cpu", "cuda"]]
    param_names = ["rule", "result", "device"]

    def setup(self, rule, result, device):
        self.masks, self.boxes = _inputs.on(device, *masks_and_boxes())
        self.threshold = 0.5 if result == "bool" else None

    def time_paste_masks(self, rule, result, device):
        roikit.ops.paste_masks(self.masks, self.boxes, SIZE, threshold=self.threshold, rule=rule)
        _inputs.wait(device)


class PasteMasksRle:
    params = [[1, 100], [14, 28, 56], ["cpu", "cuda"]]
    param_names = ["masks", "cells", "device"]

    def setup(self, masks, cells, device):
        boxes = _inputs.boxes(masks, 24, 500, 6, height=SIZE[0], width=SIZE[1])
        self.masks, self.boxes = _inputs.on(device, _inputs.mask_probabilities(masks, cells), boxes)

    def time_paste_masks_rle(self, masks, cells, device):
        roikit.ops.paste_masks_rle(self.masks, self.boxes, SIZE)

    def peakmem_paste_masks_rle(self, masks, cells, device):
        roikit.ops.paste_masks_rle(self.masks, self.boxes, SIZE)


class PasteMasksKernel:
    params = [[1, 2], ["base", "v3", "v4"]]
    param_names = ["threads", "simd"]

    def setup(self, threads, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.masks, self.boxes = (tensor.numpy() for tensor in masks_and_boxes())

    def time_paste_masks(self, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.paste_masks(self.masks, self.boxes, SIZE, threads=threads)

    def time_paste_masks_rle(self, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.paste_masks_rle(self.masks, self.boxes, SIZE, threads=threads)
