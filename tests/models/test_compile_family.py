"""torch.compile of other wirings of the stages: eager's detections and losses, no graph break, a graph for stages of
the same shapes together."""

import pytest
import torch
import torch._dynamo

from .wirings import WIRINGS, build, labelled, step, wired

# Backbone, RPN head, layers of the boxes and of the masks, as of the plain detector. Of a hybrid cascade the semantic
# branch besides, and for masks the first head, a head that is told something, and the predictor.
GRAPHS = {"cascade": 4, "hybrid": 7, "integral": 4}


@pytest.mark.parametrize("name", GRAPHS)
def test_agreement_without_a_graph_break(small_config, scene, name):
    fields, class_agnostic = WIRINGS[name]
    model = build(wired(small_config, class_agnostic, **fields))
    counters = torch._dynamo.utils.counters
    (image, target), (second, few) = scene(), scene((50, 64), ((4, 6, 40, 30),), (2,), seed=1)
    images, targets = [image, second], [labelled(target), labelled(few)]
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
                    for one, other in zip(compiled(images), model(images), strict=True):
                        assert len(one["boxes"]) > 5 and torch.equal(one["labels"], other["labels"])
                        for key, tolerance in (("boxes", 0.01), ("scores", 1e-5), ("masks", 1e-4)):
                            torch.testing.assert_close(one[key], other[key], atol=tolerance, rtol=0)
            assert sum(counters["graph_break"].values()) == 0
            assert counters["stats"]["unique_graphs"] == GRAPHS[name]
    finally:
        torch._dynamo.reset()
