"""Freed memory that is kept: by whom, and that it is. What changes a process runs in one of its own."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

import roikit
import roikit.cli
from roikit import _memory

SIZE = 96 << 20
# What is still resident of a block after it was freed, in tenths of it.
LEFT = f"""
import ctypes, os

def left():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
    block = libc.malloc({SIZE})
    libc.memset(block, 1, {SIZE})
    held = resident()
    libc.free(block)
    return round(10 * (1 - (held - resident()) / {SIZE}))

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""
# Each ends in an error of its own.
WORDS = {"train": ["train", "no-such-preset"], "eval": ["eval", __file__], "predict": ["predict", __file__, "none.png"],
         "export": ["export", __file__, "out.onnx", "--image", __file__],
         "quantize": ["quantize", __file__, "--images", "none.png"], "bench": ["bench", "no_such_op"]}


def needs_glibc():
    if _memory._glibc() is None:
        pytest.skip("memory does not come from glibc here")


def test_law_freed_memory_stays_with_the_process(run_python):
    needs_glibc()
    assert run_python(LEFT + "import roikit\nprint(roikit.keep_freed_memory(), left(), left())").split() == [
        "True", "10", "10"]


def test_contract_importing_roikit_keeps_nothing(run_python):
    needs_glibc()
    code = "import roikit, roikit.kernels, roikit.cli\nfrom roikit import keep_freed_memory\nprint(left())"
    assert run_python(LEFT + code).split() == ["0"]


@pytest.fixture
def asked(monkeypatch):
    """How often the function was called; it answers that it keeps nothing."""
    calls = []
    monkeypatch.setattr(roikit, "keep_freed_memory", lambda: bool(calls.append(1)), raising=False)
    monkeypatch.delenv("ROIKIT_KEEP_MEMORY", raising=False)
    return calls


def call(*words):
    return CliRunner().invoke(roikit.cli.main, words)


@pytest.mark.parametrize("command", WORDS)
def test_contract_a_command_keeps_memory_unless_told_not_to(command, asked, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = WORDS[command]
    assert call(*words).exit_code and asked
    asked.clear()
    call(*words, "--no-keep-memory")
    call(words[0], "--help")
    monkeypatch.setenv("ROIKIT_KEEP_MEMORY", "off")
    call(*words)
    assert not asked
    call(*words, "--keep-memory")
    assert asked
    monkeypatch.setenv("ROIKIT_KEEP_MEMORY", "maybe")
    result = call(*words)
    assert result.exit_code == 2 and "'maybe' is not a valid boolean" in result.output


def test_contract_the_other_commands_have_no_switch():
    assert {name for name in roikit.cli.main.commands if "--keep-memory" in call(name, "--help").output} == set(WORDS)


def test_contract_a_wish_that_cannot_be_met_is_told(asked, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "does nothing here: it needs glibc" in call(*WORDS["train"], "--keep-memory").output
    assert "glibc" not in call(*WORDS["train"]).output


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_contract_elsewhere_nothing_is_done(platform, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert roikit.keep_freed_memory() is False


def test_contract_another_allocator_is_left_alone(tmp_path):
    needs_glibc()
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = tmp_path / "own.c", tmp_path / "own.so"
    source.write_text("#include <stddef.h>\nvoid* __libc_malloc(size_t);\n"
                      "void* malloc(size_t size) { return __libc_malloc(size); }\n")
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    home = os.path.dirname(os.path.dirname(roikit.__file__))
    done = subprocess.run([sys.executable, "-c", "import roikit; print(roikit.keep_freed_memory())"], text=True,
                          capture_output=True, env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": home})
    assert done.stdout == "False\n", done.stderr
