"""What only a GPU can show: streams, graphs, atomics, addresses, and exactness over many examples.

Without a CUDA device every test is skipped, and says so. ROIKIT_GPU_TESTS=cpu or =emulated runs what has a meaning on
the host there instead, on the CPU kernels or on the emulated CUDA kernels: that tries the tests themselves.
"""

import os

import pytest
import torch

from roikit.ops import _launch

from . import cases as _cases


@pytest.fixture(scope="session", autouse=True)
def device(request):
    """The device of the tests: "cuda", or "cpu" where these are only tried."""
    instead = os.environ.get("ROIKIT_GPU_TESTS")
    if instead is None and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    patch = pytest.MonkeyPatch()
    if instead == "emulated":
        patch.setattr(_launch, "host_kernels", request.getfixturevalue("emulated_cuda"))
    yield "cuda" if instead is None else "cpu"
    patch.undo()


@pytest.fixture
def gpu(device):
    """Skips a test that has no meaning on the CPU."""
    if device != "cuda":
        pytest.skip("needs a CUDA device; the tests are tried on the CPU")
    return device


@pytest.fixture(scope="session")
def cases():
    """The module with the calls of all ops."""
    return _cases


def some(holds):
    """A fixture of the cases for which ``holds``."""
    return pytest.fixture(params=[case for case in _cases.CASES if holds(case)],
                          ids=lambda case: case.name.replace(" ", "-"))


@some(lambda case: True)
def case(request):
    """Each op in turn."""
    return request.param


@some(lambda case: case.fixed)
def fixed_case(request):
    """Each op whose result size does not depend on the data."""
    return request.param


@some(lambda case: "backward" in case.name and {"rois", "rotated_rois"} & set(
    _cases.FUNCTIONS[case.function].words.values()))
def gradient_case(request):
    """Each gradient that has a fast and a deterministic form."""
    return request.param


@pytest.fixture
def deterministic():
    """torch's deterministic mode."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
