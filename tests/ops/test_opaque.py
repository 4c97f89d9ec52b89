"""torch.compile passes over what the operators run: it would break at their kernels' every step, and gain nothing."""

from pathlib import Path

import pytest
import torch
import torch._dynamo
from torch._dynamo.convert_frame import input_codes

import roikit

ROIKIT = Path(roikit.__file__).parent

BOXES = torch.tensor([[2.0, 3.0, 12.0, 11.0], [3.0, 3.0, 12.0, 12.0], [14.0, 2.0, 22.0, 19.0]])
FEATURES = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
CALLS = {
    "batched_nms": (BOXES, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64), 0.5),
    "roi_align": (FEATURES, torch.cat((torch.zeros(3, 1), BOXES), 1), 0.5, 2, 2, 2, True),
    "deform_conv2d": (FEATURES, torch.zeros(1, 2, 32, 32), torch.ones(4, 3, 1, 1), None, [1, 1], [0, 0], [1, 1], None),
}


@torch._dynamo.disable(recursive=False)
def _outside_a_graph(name, arguments):
    """As after a graph break: this runs as it is, and torch.compile takes up the functions that it calls."""
    found = getattr(torch.ops.roikit, name)(*arguments)
    if found.requires_grad:
        found.sum().backward()
    return found


def _call(name, arguments):
    return _outside_a_graph(name, arguments)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("autocast", [False, True])
def test_contract_compiling_does_not_enter_the_operators(name, autocast):
    torch._dynamo.reset()
    FEATURES.grad = None
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = torch.compile(_call, backend="eager")(name, CALLS[name])
        taken_up = [code() for code in input_codes.seen]
        assert torch.equal(found, getattr(torch.ops.roikit, name)(*CALLS[name]))
    assert (FEATURES.grad is not None) == (name != "batched_nms")
    assert _call.__code__ in taken_up
    of_roikit = [code.co_name for code in taken_up if code and Path(code.co_filename).is_relative_to(ROIKIT)]
    assert not of_roikit, of_roikit


@pytest.mark.parametrize("gone", [
    ["set_code_exec_strategy"],
    ["set_code_exec_strategy", "skip_code"],
    ["set_code_exec_strategy", "set_eval_frame", "skip_code"],
    ["eval_frame"],
], ids=" ".join)
def test_without_torchs_private_names_the_operators_run(run_python, gone):
    out = run_python(f"""
import torch
for name in {gone!r}:
    for owner in (torch._C._dynamo, torch._C._dynamo.eval_frame):
        if hasattr(owner, name):
            delattr(owner, name)
            break
import roikit.ops
boxes = torch.tensor([[2.0, 3, 12, 11], [3, 3, 12, 12], [14, 2, 22, 19]])
print(roikit.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist())
""")
    assert out == "[0, 2]\n"
