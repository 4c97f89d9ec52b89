"""The wheel's own test: compiled modules load, one kernel a family answers rightly. Needs NumPy and pytest alone."""

import numpy as np

import roikit
import roikit.kernels as kernels
import roikit.masks as masks


def test_the_build_report_prints(capsys):
    roikit.show_config()
    text = capsys.readouterr().out
    for word in ("roikit", "compiler", "simd", "threads", "cuda module", "torch"):
        assert word in text


def test_kernels_answer():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], np.float32)
    assert kernels.box_iou(boxes, boxes)[0].tolist() == [1.0, np.float32(0.9), 0.0]
    assert kernels.nms(boxes, np.array([0.5, 0.9, 0.1], np.float32), 0.5).tolist() == [1, 2]
    ones = np.ones((1, 2, 8, 8), np.float32)
    rois = np.array([[0, 1, 1, 5, 5]], np.float32)
    assert np.allclose(kernels.roi_align(ones, rois, 2), 1)


def test_masks_answer():
    bitmap = np.zeros((5, 4), np.uint8)
    bitmap[1:3, 2] = 1
    rle = masks.encode(np.asfortranarray(bitmap))
    assert masks.area(rle) == 2
    assert (masks.decode(rle) == bitmap).all()


def test_every_simd_level_can_be_forced():
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    for level in roikit.simd_levels():
        with roikit.simd(level):
            assert roikit.simd_level() == level
            assert kernels.box_iou(boxes, boxes).item() == 1
