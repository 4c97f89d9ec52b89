"""What torch.compile of a detector is held to: eager's results, losses and gradients, graphs that are counted."""

import torch
import torch._dynamo

from .wirings import step

__all__ = ["assert_compiled"]


def assert_compiled(model, images, targets, graphs, assert_found):
    """Compile a detector for evaluation and for training and compare it with itself.

    Args:
        graphs: how many there are of the parts; none is broken.
        assert_found: called with what was found, compiled and not.
    """
    counters = torch._dynamo.utils.counters
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
                    assert_found(compiled(images), model(images))
            assert sum(counters["graph_break"].values()) == 0, counters["graph_break"]
            assert counters["stats"]["unique_graphs"] == graphs
    finally:
        torch._dynamo.reset()
