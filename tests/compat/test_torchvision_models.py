"""torchvision's own detectors on roikit's kernels: what they detect, and that they train.

The same models, with the same weights, run in a process for each set of kernels: roikit's, torchvision's own where a
binary has them, and plain ones made of the specification. Nothing but the kernels of nms and roi_align differs, so what
the models give may differ by the rounding of roi_align's sums and no more.
"""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")

DETECTORS = ("faster", "mask", "keypoint", "retinanet", "fcos", "ssd", "ssdlite")
ONE_STAGE = ("retinanet", "fcos", "ssd", "ssdlite")  # nms alone, whose results are exact
ROIKIT = "from roikit.compat.torchvision import install; install(prefer='roikit')\n"
CANCELS = "roi_heads.keypoint_predictor.kps_score_lowres.bias"  # moves a whole heat map, which softmax takes back
PLAIN = "import plain_kernels\ndef load():\n    global library\n    library = plain_kernels.load()\n"


@pytest.fixture(scope="session")
def given(python_in, tmp_path_factory):
    """What all detectors give on a set of kernels: a function of the code that comes before torchvision's import."""
    outputs = {}
    here = str(Path(__file__).parent)

    def run(kernels):
        if kernels not in outputs:
            folder = tmp_path_factory.mktemp("detectors")
            python_in(folder, f"import sys\nsys.path.insert(0, {here!r})\n{kernels}\nimport detectors\n"
                              "detectors.main('out.pt')")
            outputs[kernels] = torch.load(folder / "out.pt", weights_only=True)
        return outputs[kernels]

    return run


@pytest.fixture(scope="session")
def own_binary(python_in, tmp_path_factory):
    """Whether torchvision's binary loads without help."""
    try:
        python_in(tmp_path_factory.mktemp("own"), "from torchvision.extension import _has_ops; assert _has_ops()")
    except AssertionError:
        return False
    return True


@pytest.fixture(params=["torchvision", "plain"])
def others(request, given, loads, own_binary):
    """What the detectors give on kernels that share nothing with roikit's compiled ones."""
    if request.param == "plain":
        return given(loads + PLAIN)
    if os.environ.get("ROIKIT_TEST_TORCHVISION_OPS"):
        return given(request.getfixturevalue("library"))
    if not own_binary:
        pytest.skip("torchvision's own binary does not load, and ROIKIT_TEST_TORCHVISION_OPS names no library of its "
                    "operators")
    return given("import torchvision\n")


@pytest.mark.parametrize("name", DETECTORS)
def test_detections_are_those_on_other_kernels(given, others, name):
    for one, other in zip(given(ROIKIT)[name]["detections"], others[name]["detections"], strict=True):
        assert set(one) == set(other) and len(other["boxes"]) >= 10
        assert torch.equal(one["labels"], other["labels"])
        if name in ONE_STAGE:
            assert all(torch.equal(one[key], other[key]) for key in one)
            continue
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-5, rtol=0)
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=2e-4, rtol=0)
        if "masks" in one:
            torch.testing.assert_close(one["masks"], other["masks"], atol=2e-5, rtol=0)
        if "keypoints" in one:
            torch.testing.assert_close(one["keypoints"], other["keypoints"], atol=2e-3, rtol=0)
            torch.testing.assert_close(one["keypoints_scores"], other["keypoints_scores"], atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_training_step_is_that_on_other_kernels(given, others, name):
    one, other = given(ROIKIT)[name]["training"], others[name]["training"]
    torch.testing.assert_close(one["losses"], other["losses"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one["gradients"], other["gradients"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_training_step_reaches_every_parameter(given, name):
    step = given(ROIKIT)[name]["training"]
    assert all(loss.isfinite() and loss > 0 for loss in step["losses"].values())
    assert set(step["gradients"]) == set(step["changed"])
    for parameter, norm in step["gradients"].items():
        assert norm is not None and norm.isfinite(), parameter
        assert parameter == CANCELS or (norm > 0 and step["changed"][parameter]), parameter
