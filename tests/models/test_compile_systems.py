"""torch.compile of detectors of things and stuff and of rotated boxes: eager's results, losses and gradients, and no
graph break. Those of YOLACT are in test_yolact, of segmenters in segmentation/test_compile."""

import pytest
import torch
import torch._dynamo

from .test_promises import assert_same, detector, target_for
from .wirings import step

# Backbone, RPN head, layers of the boxes and of the masks, as of the plain detector; those of things and stuff have the
# semantic head besides.
GRAPHS = {"rotated_mask": 4, "panoptic": 5}


@pytest.mark.parametrize("name", GRAPHS)
def test_agreement_without_a_graph_break(scene, name):
    model = detector(name)
    counters = torch._dynamo.utils.counters
    scenes = scene(), scene((50, 64), ((4, 6, 40, 30),), (2,), seed=1)
    images = [image for image, _ in scenes]
    targets = [target_for(model, target, image.shape[1:]) for image, target in scenes]
    try:
        for training in (False, True):
            torch._dynamo.reset()
            counters.clear()
            compiled = torch.compile(model.train(training), backend="eager")
            if training:
                (losses, gradients), (others, expected) = (step(one, images, targets) for one in (compiled, model))
                gradients = {key.removeprefix("_orig_mod."): value for key, value in gradients.items()}
                assert losses.keys() == others.keys()
                for one, other in ((losses, others), (gradients, expected)):
                    for key, value in other.items():
                        size = float(value.detach().abs().max())
                        torch.testing.assert_close(one[key], value, rtol=1e-4, atol=1e-4 * size)
            else:
                with torch.no_grad():
                    found, expected = compiled(images), model(images)
                assert all(len(result["boxes"]) > 3 for result in expected)
                assert_same(found, expected)
            assert sum(counters["graph_break"].values()) == 0, counters["graph_break"]
            assert counters["stats"]["unique_graphs"] == GRAPHS[name]
    finally:
        torch._dynamo.reset()
