"""Every test of the ops runs three times: on the CPU kernels, on the CUDA kernels emulated on the host, and on a GPU.

The tests themselves work on tensors in the host's memory. For "emulated" the ops hand these to the CUDA kernels
compiled for the host; for "cuda" every call of an op or of a module, opcheck included, is moved to the GPU and its
results come back, which autograd follows. There, the backwards that add with atomics are asked for their deterministic
form, so that two runs can be compared bit by bit; tests/gpu has the tests of the fast form.
"""

import contextlib
import functools
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_map

from roikit import ops
from roikit.ops import _launch

HERE = Path(__file__).parent


def moved(device):
    return lambda x: x.to(device) if isinstance(x, torch.Tensor) and x.device.type in ("cpu", "cuda") else x


def leaf(device):
    """A tensor on the device that autograd takes for a leaf, as opcheck's arguments are."""

    def move(x):
        if not isinstance(x, torch.Tensor):
            return x
        return moved(device)(x.detach()).requires_grad_(x.requires_grad)

    return move


def on_the_gpu(fn, move=moved):
    """``fn`` with its tensors on the GPU and its results back on the host."""

    @functools.wraps(fn)
    def call(*args, **kwargs):
        args, kwargs = tree_map(move("cuda"), (args, kwargs))
        return tree_map(moved("cpu"), fn(*args, **kwargs))

    return call


def module_on_the_gpu(forward):
    """The same for a module's forward; its parameters move once and stay there."""
    moving = on_the_gpu(forward)
    return functools.wraps(forward)(lambda module, *args, **kwargs: moving(module.to("cuda"), *args, **kwargs))


@pytest.fixture(scope="session", params=["cpu", "emulated", "cuda"], autouse=True)
def device(request):
    """Where the kernels run: "cpu", "emulated" or "cuda"."""
    patch = pytest.MonkeyPatch()
    if request.param == "emulated":
        patch.setattr(_launch, "host_kernels", request.getfixturevalue("emulated_cuda"))
    elif request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        for name in ops.__all__:
            target = getattr(ops, name)
            if isinstance(target, type):
                patch.setattr(target, "forward", module_on_the_gpu(target.forward))
            elif not name.startswith("cell_anchors"):  # computed on the host for every device
                patch.setattr(ops, name, on_the_gpu(target))
        patch.setattr(torch.library, "opcheck", on_the_gpu(torch.library.opcheck, leaf))
        deterministic = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)
    yield request.param
    if request.param == "cuda":
        torch.use_deterministic_algorithms(deterministic)
    patch.undo()


# Tests of what is no kernel: torch's own operations, what the compiler sees, what operators answer for other devices.
NOT_OF_KERNELS = ("test_losses", "test_opaque", "test_devices")


def pytest_collection_modifyitems(items):
    """Leaves out what emulated kernels cannot show; of torch.compile, too, whose code calls operators and does not see
    what they run."""
    for item in items:
        if item.path.parent != HERE or "emulated" not in item.name:
            continue
        if item.path.stem in NOT_OF_KERNELS:
            item.add_marker(pytest.mark.skip(reason="it shows nothing of kernels; the CPU's run does"))
        elif "compile" in item.name:
            item.add_marker(pytest.mark.skip(reason="compiled code calls operators; the CPU's run shows how"))


@pytest.fixture(autouse=True)
def older_compilers():
    """Older torch compiles as newer does.

    Before 2.10, fullgraph refuses a result whose size depends on the data unless the configuration allows it. What 2.4
    compiles is linked so that loading it flushes denormal numbers to 0 in all that the thread computes later.
    """
    allowed = contextlib.nullcontext()
    if torch.__version__ < (2, 10):
        from torch import _dynamo

        allowed = _dynamo.config.patch(capture_dynamic_output_shape_ops=True)
    with allowed:
        yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def placed(device):
    """A function that puts tensors and arrays where the device's kernels take them."""
    return lambda *given: [torch.as_tensor(x).to("cuda" if device == "cuda" else "cpu") for x in given]


@pytest.fixture(scope="session")
def deterministic():
    """``with deterministic(wish)``: torch asks for deterministic algorithms, or not, and does as before afterwards."""

    @contextlib.contextmanager
    def asking(wish, warn_only=True):
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        torch.use_deterministic_algorithms(wish, warn_only=warn_only)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    return asking
