"""weighted_boxes_fusion beside what ensemble-boxes made of the same boxes; make_ensemble_boxes.py is how."""

import json
from pathlib import Path

import numpy as np
import pytest

from roikit import kernels, reference

GOLDEN = np.load(Path(__file__).with_name("ensemble_boxes.npz"))
CASES = list(enumerate(json.loads(str(GOLDEN["cases"]))))
MODELS = 4  # the last one finds nothing


def given(seed):
    return [GOLDEN[f"{name}_{seed}"] for name in ("boxes", "scores", "labels", "models")]


@pytest.mark.parametrize("number, case", CASES)
def test_the_boxes_scores_and_classes_of_ensemble_boxes(number, case):
    boxes, scores, labels, models = given(case["seed"])
    expected = [GOLDEN[f"{name}_of_{number}"] for name in ("boxes", "scores", "labels")]
    assert 10 < len(expected[1]) < 0.7 * len(scores)
    options = {"weights": case["weights"] or [1] * MODELS, "iou_threshold": case["iou_thr"],
               "skip_box_threshold": case["skip_box_thr"], "conf_type": case["conf_type"],
               "allows_overflow": case["allows_overflow"]}
    for dtype in (np.float64, np.float32):
        for fuse in (reference.weighted_boxes_fusion, kernels.weighted_boxes_fusion):
            found = fuse(boxes.astype(dtype), scores.astype(dtype), labels, models, **options)
            np.testing.assert_array_equal(found[2], expected[2])
            for mine, theirs in zip(found[:2], expected[:2], strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


def test_pixels_are_fused_as_shares_of_the_image_are():
    boxes, *rest = given(0)
    shares = kernels.weighted_boxes_fusion(boxes, *rest)
    pixels = kernels.weighted_boxes_fusion(1024 * boxes, *rest)
    np.testing.assert_array_equal(pixels[0], 1024 * shares[0])  # a power of two: nothing is rounded otherwise
    np.testing.assert_array_equal(pixels[1], shares[1])
