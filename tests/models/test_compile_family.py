"""torch.compile of other wirings of the stages: eager's detections and losses, no graph break, a graph for stages of
the same shapes together."""

import pytest
import torch

from .compiled import assert_compiled
from .wirings import WIRINGS, build, labelled, wired

# Backbone, RPN head, layers of the boxes and of the masks, as of the plain detector. Of a hybrid cascade the semantic
# branch besides, and for masks the first head, a head that is told something, and the predictor.
GRAPHS = {"cascade": 4, "hybrid": 7, "integral": 4}


def assert_found(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert len(one["boxes"]) > 5 and torch.equal(one["labels"], other["labels"])
        for key, tolerance in (("boxes", 0.01), ("scores", 1e-5), ("masks", 1e-4)):
            torch.testing.assert_close(one[key], other[key], atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", GRAPHS)
def test_agreement_without_a_graph_break(small_config, scene, name):
    fields, class_agnostic = WIRINGS[name]
    model = build(wired(small_config, class_agnostic, **fields))
    (image, target), (second, few) = scene(), scene((50, 64), ((4, 6, 40, 30),), (2,), seed=1)
    assert_compiled(model, [image, second], [labelled(target), labelled(few)], GRAPHS[name], assert_found)
