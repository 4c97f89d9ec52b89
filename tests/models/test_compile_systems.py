"""torch.compile of detectors of things and stuff and of rotated boxes: eager's results, losses and gradients, and no
graph break. Those of YOLACT are in test_yolact, of segmenters in segmentation/test_compile."""

import pytest

from .compiled import assert_compiled
from .test_promises import assert_same, detector, target_for

# Backbone, RPN head, layers of the boxes and of the masks, as of the plain detector; those of things and stuff have the
# semantic head besides.
GRAPHS = {"rotated_mask": 4, "panoptic": 5}


def assert_found(found, expected):
    assert all(len(result["boxes"]) > 3 for result in expected)
    assert_same(found, expected)


@pytest.mark.parametrize("name", GRAPHS)
def test_agreement_without_a_graph_break(scene, name):
    model = detector(name)
    scenes = scene(), scene((50, 64), ((4, 6, 40, 30),), (2,), seed=1)
    images = [image for image, _ in scenes]
    targets = [target_for(model, target, image.shape[1:]) for image, target in scenes]
    assert_compiled(model, images, targets, GRAPHS[name], assert_found)
