"""Where the threads come from: torch's team, which a forked child must not use, or threads started for the call."""

import os
import sys

import numpy as np
import pytest
import torch

from roikit import _core, kernels, ops
from roikit.ops import _launch

BOXES = torch.cumsum(torch.rand(3000, 4, generator=torch.Generator().manual_seed(0)), 1)


@pytest.fixture(autouse=True)
def two_threads(device):
    if device != "cpu":
        pytest.skip("threads are the CPU kernels' alone")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GOMP_parallel is looked for on Linux alone")
def test_the_team_is_the_one_that_torch_has():
    assert torch.backends.openmp.is_available() == bool(_launch._place["team"])


@pytest.mark.parametrize("team", [True, False])
def test_results_do_not_depend_on_where_threads_come_from(team, monkeypatch):
    if not team:
        monkeypatch.setitem(_launch._place, "team", 0)
    expected = kernels.box_iou(BOXES.numpy(), BOXES.numpy(), threads=1)
    for threads in (1, 2, 3, 17):  # more than there are processors
        torch.set_num_threads(threads)
        np.testing.assert_array_equal(ops.box_iou(BOXES, BOXES).numpy(), expected)


@pytest.mark.parametrize("team", [True, False])
def test_an_error_in_any_chunk_is_raised(team, monkeypatch):
    if not team:
        monkeypatch.setitem(_launch._place, "team", 0)
    x = torch.ones(1, 64, 50, 50)
    for bad in (0, 150, 299):
        boxes = torch.tensor([[0, 1.0, 1, 40, 40]]).repeat(300, 1)
        boxes[bad, 0] = 7
        with pytest.raises(IndexError, match="7"):
            ops.roi_pool(x, boxes, 7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_threads_of_its_own(run_python):
    run_python("""
import os, signal, torch
from roikit import ops
from roikit.ops import _launch
torch.set_num_threads(2)
boxes = torch.cumsum(torch.rand(3000, 4), 1)
expected = ops.box_iou(boxes, boxes)  # the parent's team has begun
child = os.fork()
if child == 0:
    signal.alarm(60)
    same = torch.equal(expected[:1], ops.box_iou(boxes, boxes)[:1])
    os._exit(0 if same and _launch._place["team"] == 0 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(expected, ops.box_iou(boxes, boxes))
""")


def test_a_launch_without_a_team_starts_threads():
    out = torch.empty(3000, 3000)
    _core.box_iou(_launch.view(BOXES), _launch.view(BOXES), _launch.view(out), _core.Launch(threads=2))
    assert torch.equal(out, ops.box_iou(BOXES, BOXES))
