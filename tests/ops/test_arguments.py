"""What every op answers to arguments of the wrong kind: sentences that name the op, and no internal errors."""

import numpy as np
import pytest
import torch

from roikit import kernels, ops
from roikit.testing import catalogue

BOX, TURNED = np.array([[0, 0, 4, 4]], np.float32), np.array([[2, 2, 4, 4, 30]], np.float32)
ROI, TURNED_ROI = np.array([[0, 0, 0, 4, 4]], np.float32), np.array([[0, 2, 2, 4, 4, 30]], np.float32)
SCORE, CLASS = np.array([0.5], np.float32), np.array([1])
MAPS = np.ones((1, 4, 6, 6), np.float32)

FUNCTIONS = {name: function for name, function in catalogue.functions().items() if function.words}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_arrays_are_refused_by_name(name):
    """All of them, and each one beside tensors."""
    arrays = FUNCTIONS[name].arguments()
    sent = catalogue.as_tensors(arrays)
    calls = [arrays] + [{**sent, word: arrays[word]} for word in FUNCTIONS[name].words]
    for given in calls:
        with pytest.raises(TypeError, match=rf"{name}: [\w\[\]]+ must be a torch tensor, got ndarray"):
            getattr(ops, name)(**given)
    getattr(ops, name)(**sent)


def test_boxes_of_an_image_may_not_be_numpy_arrays():
    with pytest.raises(TypeError, match=r"roi_warp: boxes\[0\] must be a torch tensor, got ndarray"):
        ops.roi_warp(torch.from_numpy(MAPS), [BOX], 2)


@pytest.mark.parametrize("dtype, image", [(torch.bfloat16, 257), (torch.float16, 2049)])
def test_half_boxes_in_a_list_stay_with_their_image(dtype, image):
    """The first whole number that the dtype does not have."""
    maps = torch.arange(image + 1.0)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    boxes = [torch.zeros(0, 4, dtype=dtype)] * image + [torch.tensor([[0, 0, 2, 2]], dtype=dtype)]
    assert ops.roi_align(maps, boxes, 1).item() == image


@pytest.mark.parametrize("call, message", [
    (lambda floor, x: floor.soft_nms(x(BOX), x(SCORE), 10**400), "soft_nms: iou_threshold must be a number that"),
    (lambda floor, x: floor.fast_nms(x(BOX), x(SCORE), x(CLASS), 0.5, top_k=2**63),
     "fast_nms: top_k must fit into 64 bits, got 9223372036854775808"),
    (lambda floor, x: floor.roi_warp(x(MAPS), x(ROI), 2**70), "roi_warp: output_size must fit into 64 bits"),
    (lambda floor, x: floor.roi_align(x(MAPS), x(ROI), 2, 1.0, -2**70), "sampling_ratio must fit into 64 bits"),
    (lambda floor, x: floor.roi_align(x(MAPS), x(ROI), 2, 1.0, 2**40), "sampling_ratio must be at most 16777216"),
    (lambda floor, x: floor.ps_roi_align(x(MAPS), x(ROI), 2, 1.0, 2**40), "sampling_ratio must be at most 16777216"),
    (lambda floor, x: floor.roi_align_rotated(x(MAPS), x(TURNED_ROI), 2, 1.0, 2**40), "sampling_ratio must be at most"),
])
def test_numbers_beyond_all_use_are_refused(call, message):
    for floor, send in ((ops, torch.from_numpy), (kernels, np.asarray)):
        with pytest.raises(ValueError, match=message):
            call(floor, send)


def test_sequences_without_length_are_refused():
    with pytest.raises(TypeError, match="cell_anchors_rotated: sizes must be a sequence of numbers, got Tensor"):
        ops.cell_anchors_rotated(torch.tensor(4.0), [1.0], [0.0])
    with pytest.raises(TypeError, match="cell_anchors_rotated: angles must be a sequence of numbers, got Tensor"):
        ops.cell_anchors_rotated([4.0], [1.0], torch.tensor(4.0))


def test_as_many_threads_as_one_likes():
    expected = kernels.box_iou(BOX, BOX)
    np.testing.assert_array_equal(kernels.box_iou(BOX, BOX, threads=2**40), expected)


def test_targets_of_the_focal_loss_are_real():
    with pytest.raises(TypeError, match="sigmoid_focal_loss: targets must be float16, .* got complex64"):
        ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(2, dtype=torch.complex64))
