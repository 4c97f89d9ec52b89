"""The golden files are what they say, and the comparison notices what it should."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from compare import BOUNDS, DETECTIONS, FOLDER, PIXELS, assert_same, load, write_peer_file
from weights import draw, picture, tensor_of

from roikit.masks import decode

FILES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("*/*.npz"))

KEYS = PIXELS.keys() | {"labels", "segments"}


def as_ours(golden):
    found = {key: golden.arrays[key].copy() for key in golden.arrays.keys() & (BOUNDS.keys() | KEYS)}
    found["labels"] = torch.from_numpy(found["labels"] + 1)
    if golden.masks is not None:
        found["masks"] = golden.masks
    return found


def test_weights_and_pictures_are_the_same_bits_everywhere():
    tensors = [tensor_of("body.conv.weight", (8, 3, 3, 3), 7, 0.5), tensor_of("head.fc.weight", (16, 101), 7),
               tensor_of("norm.running_var", (9,), 7), tensor_of("fc.bias", (5,), 7), picture(37, 52, 3)]
    digest = hashlib.sha256(b"".join(x.tobytes() for x in tensors)).hexdigest()
    assert digest == "ec2177da7a8ce3b819e71490bf0014fbbe797f5cfb32f863f26c99b2ca24dadb"


def test_weights_have_the_deviation_and_the_sums_that_they_promise():
    kernel = tensor_of("conv.weight", (64, 32, 3, 3), 0, factor=3.0)
    assert kernel.std() == pytest.approx(3 * (2 / 288) ** 0.5, rel=0.02)
    rows = tensor_of("fc.weight", (10, 1024), 0)
    assert np.abs(rows.sum(axis=1)).max() < 1e-4 < rows.std()
    assert tensor_of("bn1.num_batches_tracked", (), 0).dtype == np.int64
    assert abs(tensor_of("a.bn3.weight", (99,), 0).mean() - 0.25) < 0.02
    with pytest.raises(ValueError, match="not_there"):
        draw({"a.weight": [2, 2]}, 0, {"not_there": 2.0})


@pytest.mark.parametrize("name", FILES)
def test_a_golden_file_decides(name):
    golden = load(name)
    boxes, scores, labels = (golden.arrays[key] for key in ("boxes", "scores", "labels"))
    assert 30 <= len(boxes) == len(scores) == len(labels) <= DETECTIONS
    assert (len(np.unique(labels)) >= 3) == ("keypoint" not in name)
    assert np.all(np.diff(scores) < -1e-6)
    if "rotated" in name:
        assert (boxes[:, 2:4] > 0).all() and (np.abs(boxes[:, 4]) <= 180).all()
        assert len(np.unique(boxes[:, 4].round())) > 10
    else:
        assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all() and (boxes <= golden.size[::-1] * 2).all()
    assert (FOLDER / f"{name}.npz").stat().st_size < 80_000
    assert_same(as_ours(golden), golden)


@pytest.mark.parametrize("name", [name for name in FILES if "ms-rcnn" in name or "htc" in name])
def test_losses_come_with_all_that_they_are_computed_from(name):
    golden = load(name)
    assert all(0 < loss < 20 for loss in golden.facts["losses"].values())
    assert {"loss_semantic_seg", "loss_mask_iou"} & golden.facts["losses"].keys()
    masks = decode(golden.facts["gt_masks"])
    for box, mask in zip(golden.arrays["gt_boxes"], masks.transpose(2, 0, 1), strict=True):
        y, x = mask.nonzero()
        assert len(x) and np.all(np.abs([x.min(), y.min(), x.max() + 1, y.max() + 1] - box)[:2] <= 1)
    assert golden.arrays["proposals"].shape == (60, 4) and golden.arrays["gt_labels"].max() < 80


@pytest.mark.parametrize("key", ["boxes", "scores", "labels"])
def test_the_comparison_refuses_what_differs(key):
    golden = load("detectron2/mask_rcnn_R_50_FPN_3x")
    found = as_ours(golden)
    found[key][7] += 2 * BOUNDS.get(key, 1)
    with pytest.raises(AssertionError):
        assert_same(found, golden)


def test_the_comparison_refuses_other_masks():
    golden = load("detectron2/mask_rcnn_R_50_FPN_3x")
    masks = torch.zeros(len(golden.arrays["boxes"]), 1, *golden.size)
    with pytest.raises(AssertionError, match="pixels of masks differ"):
        assert_same({**as_ours(golden), "masks": masks}, golden)


def test_the_comparison_refuses_other_segments_and_other_pixels():
    golden = load("detectron2/panoptic_fpn_R_50_3x")
    assert_same(as_ours(golden), golden)
    for key in ("segments", "classes", "panoptic"):
        found = as_ours(golden)
        found[key][0] += 1
        with pytest.raises(AssertionError):
            assert_same(found, golden)


def test_the_weights_are_written_as_each_library_publishes_them(tmp_path):
    small = {"a.weight": [4, 3], "bn1.num_batches_tracked": []}
    for library in ("detectron2", "mmdetection"):
        name = next(name for name in FILES if name.startswith(library))
        golden = load(name)
        object.__setattr__(golden, "shapes", small)
        object.__setattr__(golden, "factors", {"a.weight": 2.0})
        path = tmp_path / library
        write_peer_file(golden, path)
        if library == "detectron2":
            found = pickle.loads(path.read_bytes())["model"]
        else:
            found = torch.load(path, weights_only=True)["state_dict"]
        assert list(found) == list(small)
        np.testing.assert_array_equal(np.asarray(found["a.weight"]), tensor_of("a.weight", (4, 3), golden.seed, 2.0))
