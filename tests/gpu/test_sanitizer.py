"""compute-sanitizer has nothing to say of any op: memory accesses, and races in shared memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import roikit

SCRIPT = Path(__file__).with_name("sanitized.py")
FOUND = 99  # the exit status that we ask for where the tool reports something
SECONDS = 300
HOME = str(Path(roikit.__file__).resolve().parent.parent)


def sanitizer():
    """The tool's path, or None."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")] + ["/usr/local/cuda"]
    folders = [Path(home) / sub for home in homes if home for sub in ("bin", "compute-sanitizer")]
    if nvcc := shutil.which("nvcc"):
        folders.append(Path(nvcc).resolve().parent)
    return shutil.which("compute-sanitizer") or next(
        (str(folder / "compute-sanitizer") for folder in folders if (folder / "compute-sanitizer").is_file()), None)


def only_our_kernels(tool):
    """The option that leaves torch's kernels out, if this release of the tool takes it: it saves most of the time."""
    option = ["--kernel-regex", "kns=roikit"]
    probe = subprocess.run([tool, "--require-cuda-init", "no", *option, "true"], capture_output=True, timeout=60)
    return option if probe.returncode == 0 else []


@pytest.mark.parametrize("name", ["memcheck", "racecheck"])
def test_no_report(gpu, name, tmp_path):
    tool = sanitizer()
    if tool is None:
        pytest.skip("compute-sanitizer is neither on PATH nor in the CUDA toolkit")
    report = tmp_path / "report.txt"
    command = [tool, "--tool", name, "--error-exitcode", str(FOUND), "--log-file", str(report),
               *(["--report-api-errors", "no"] if name == "memcheck" else []), *only_our_kernels(tool),
               sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path,
                          env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTHONPATH": HOME})
    said = report.read_text() if report.is_file() else ""
    assert done.returncode == 0, f"after: {done.stdout[-300:]}\n{done.stderr[-3000:]}\n{said[:8000]}"
    assert done.stdout.rstrip().endswith("calls"), done.stdout[-300:]


def test_the_script_runs_without_the_tool(device):
    """What the tool would watch, on its own; also where there is no GPU to watch."""
    done = subprocess.run([sys.executable, str(SCRIPT), "--device", device], capture_output=True, text=True,
                          timeout=SECONDS, env={**os.environ, "PYTHONPATH": HOME})
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("calls")
