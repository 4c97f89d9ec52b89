"""Hypothesis profiles and the fixtures that every floor's tests share.

ROIKIT_HYPOTHESIS=few|quick|ci|gpu|full picks how many examples each property gets (15, 60, 300, 2,000 or 10,000).
They are drawn anew in every run, but for few and ci: what passes there is the commit alone. `--hypothesis-seed` repeats
a run of the others.
ROIKIT_TEST_DATA names a folder with the data sets that are too large for the repository.
"""

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before torch is loaded: where tests run in several processes, threads that spin while they wait take the others' time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A command that is called in a test's process must not change what the tests after it see of memory.
os.environ.setdefault("ROIKIT_KEEP_MEMORY", "off")
# What is kept in the user's folder, plans of prepared models for one, is neither read nor written by tests.
_HOME = tempfile.TemporaryDirectory(prefix="roikit-home-")
os.environ.setdefault("ROIKIT_HOME", _HOME.name)

for name, examples in (("few", 15), ("quick", 60), ("ci", 300), ("gpu", 2_000), ("full", 10_000)):
    settings.register_profile(name, max_examples=examples, deadline=None, derandomize=name in ("few", "ci"),
                              suppress_health_check=[HealthCheck.too_slow,
                                                     HealthCheck.data_too_large])
settings.load_profile(os.environ.get("ROIKIT_HYPOTHESIS", "quick"))


def pytest_report_header():
    """What this run of the tests sees of the processor: the levels of kernels and torch, and oneDNN's bfloat16."""
    from roikit._config import simd_level, simd_levels

    seen = f"roikit at {simd_level()} of {' '.join(simd_levels())}"
    if importlib.util.find_spec("torch") is not None:
        import torch

        level = torch.backends.cpu.get_cpu_capability()
        bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        seen += f"; torch at {level}, oneDNN {'with' if bf16 else 'without'} bfloat16"
    return f"processor: {seen}"


@pytest.fixture(scope="session")
def test_data():
    """The folder of the larger data sets, or a skip that says how to provide it."""
    folder = os.environ.get("ROIKIT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ROIKIT_TEST_DATA does not name a folder with the larger data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def torchvision():
    """torchvision, whether or not its own binary loads, or a skip with the reason."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    import roikit.compat.torchvision
    roikit.compat.torchvision.install()
    import torchvision
    return torchvision


@pytest.fixture(scope="session")
def python_in():
    """Runs code in a fresh interpreter that imports this roikit, in the given folder; returns what it printed, or fails
    with its error."""
    import roikit

    home = str(Path(roikit.__file__).resolve().parent.parent)

    def run(folder, code):
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": home})
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def run_python(tmp_path, python_in):
    """`python_in` the test's own folder: a function of the code."""
    return functools.partial(python_in, tmp_path)


@pytest.fixture(scope="session")
def emulation():
    """tests/emulation/build.py as a module, or a skip where nothing can be compiled."""
    path = Path(__file__).parent / "emulation" / "build.py"
    spec = importlib.util.spec_from_file_location("roikit_emulation.build", path)
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    if build.compiler() is None:
        pytest.skip("no C++ compiler to build the emulated CUDA kernels with")
    return build


@pytest.fixture(scope="session")
def emulated_cuda(emulation):
    """The CUDA kernels compiled for the host: a module with the functions of roikit._cuda."""
    return emulation.load()
