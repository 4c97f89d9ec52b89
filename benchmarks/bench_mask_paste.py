"""Pasting 100 masks of 28 x 28 into an 800 x 1333 image: as runs, as bool images, as float images."""

import roikit
import roikit.kernels
import roikit.ops

from . import _inputs

SIZE = (800, 1333)


def masks_and_boxes(count=100):
    return _inputs.mask_probabilities(count), _inputs.boxes(count, 24, 500, 6, height=SIZE[0], width=SIZE[1])


class PasteMasks:
    params = [["continuous", "integer"], ["bool", "soft"]]
    param_names = ["rule", "result"]

    def setup(self, rule, result):
        self.masks, self.boxes = masks_and_boxes()
        self.threshold = 0.5 if result == "bool" else None

    def time_paste_masks(self, rule, result):
        roikit.ops.paste_masks(self.masks, self.boxes, SIZE, threshold=self.threshold, rule=rule)


class PasteMasksRle:
    params = [[1, 100], [14, 28, 56]]
    param_names = ["masks", "cells"]

    def setup(self, masks, cells):
        self.masks = _inputs.mask_probabilities(masks, cells)
        self.boxes = _inputs.boxes(masks, 24, 500, 6, height=SIZE[0], width=SIZE[1])

    def time_paste_masks_rle(self, masks, cells):
        roikit.ops.paste_masks_rle(self.masks, self.boxes, SIZE)

    def peakmem_paste_masks_rle(self, masks, cells):
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
