"""torch.compile of segmenters: eager's classes and losses, one graph and no graph break."""

import pytest
import torch
import torch._dynamo

from roikit.models import build_segmenter

from .family import SEGMENTERS, eager, label_map


@pytest.mark.parametrize("name", ["fcn", "semantic_fpn", "skips_8", "windows"])
def test_agreement_without_a_graph_break(name):
    torch.manual_seed(0)
    model = eager(build_segmenter(SEGMENTERS[name])).double()  # compiled, norms add up in another order
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout | torch.nn.Dropout2d):
            part.p = 0.0  # compiled, other values are drawn
    model.give_logits = True
    counters = torch._dynamo.utils.counters
    images = [torch.rand(3, 64, 64, dtype=torch.float64), torch.rand(3, 64, 64, dtype=torch.float64)]
    targets = [{"semantic": label_map(seed=seed)} for seed in (0, 1)]
    try:
        for training in (False, True):
            torch._dynamo.reset()
            counters.clear()
            compiled = torch.compile(model.train(training), backend="eager")
            if training:
                losses, expected = compiled(images, targets), model(images, targets)
                assert losses.keys() == expected.keys()
                for key, value in expected.items():
                    torch.testing.assert_close(losses[key], value, rtol=1e-5, atol=1e-5)
            else:
                with torch.no_grad():
                    for one, other in zip(compiled(images), model(images), strict=True):
                        torch.testing.assert_close(one["logits"], other["logits"], rtol=1e-5, atol=1e-5)
            assert sum(counters["graph_break"].values()) == 0
            assert counters["stats"]["unique_graphs"] == 1
    finally:
        torch._dynamo.reset()
