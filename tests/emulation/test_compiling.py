"""What is compiled again and what is not: src/compiling.py on sources of a line, and what setup.py and the emulation
hand to it."""

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def compiling(emulation, tmp_path, monkeypatch):
    """The module, with a repository of its own."""
    monkeypatch.setattr(emulation.compiling, "ROOT", tmp_path)
    return emulation.compiling


@pytest.fixture
def tree(emulation, compiling, tmp_path, capsys):
    """A function that compiles src/main.cpp and returns the reasons, and the texts of its files."""
    texts = {"main": '#include "near.h"\nint main() { return near(); }\n',
             "near": '#pragma once\n#include "far.h"\ninline int near() { return far(); }\n',
             "far": "#pragma once\ninline int far() { return 0; }\n",
             "other": "#pragma once\n"}
    (tmp_path / "src").mkdir()

    def write(name, text):
        (tmp_path / "src" / f"{name}.{'cpp' if name == 'main' else 'h'}").write_text(text)

    def compile(*flags, versions=()):
        capsys.readouterr()
        compiling.compiled("build/main.o", "src/main.cpp", [emulation.compiler(), "-Isrc", *flags], versions)
        return capsys.readouterr().err.strip()

    for name, text in texts.items():
        write(name, text)
    return SimpleNamespace(write=write, compile=compile, texts=texts)


def test_what_has_not_changed_is_not_compiled_again(tree):
    assert tree.compile() == "build/main.o: is not there"
    assert tree.compile() == ""
    tree.write("far", tree.texts["far"])  # newer, the same text
    tree.write("other", "#pragma once\nint unused;\n")
    assert tree.compile() == ""


def test_a_header_of_a_header_counts(tree, tmp_path):
    tree.compile()
    tree.write("far", "#pragma once\ninline int far() { return 1; }\n")
    os.utime(tmp_path / "src/far.h", (1e9, 1e9))  # older than the object: times do not count
    assert tree.compile() == "build/main.o: src/far.h changed"
    assert tree.compile() == ""


def test_a_header_that_is_gone_counts(tree, tmp_path):
    tree.compile()
    tree.write("near", "#pragma once\ninline int near() { return 0; }\n")
    (tmp_path / "src/far.h").unlink()
    assert tree.compile() == "build/main.o: src/far.h, src/near.h changed"


def test_flags_and_versions_count(tree):
    tree.compile("-DX=1", versions=["pybind11 3.0"])
    assert tree.compile("-DX=1", versions=["pybind11 3.0"]) == ""
    assert "command has changed: -DX=2" in tree.compile("-DX=2", versions=["pybind11 3.0"])
    assert "command has changed: pybind11 3.1" in tree.compile("-DX=2", versions=["pybind11 3.1"])


def test_a_temporary_folder_for_headers_does_not_count(compiling, tree, tmp_path_factory):
    first, second = (compiling.folders(tmp_path_factory.mktemp("isolated")) for _ in range(2))
    assert first != second
    tree.compile(*first)
    assert tree.compile(*second) == ""


def test_a_source_that_was_saved_meanwhile_is_compiled_again(compiling, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("before")

    def action():
        target.write_text(source.read_text())
        source.write_text("after")

    assert compiling.make(target, [], action, [source])
    assert compiling.make(target, [], lambda: target.write_text(source.read_text()), [source])
    assert target.read_text() == "after"
    assert compiling.make(target, [], action, [source]) is None


def test_a_refused_source_leaves_no_record(compiling, tree):
    tree.compile()
    tree.write("main", "int main() { return nothing; }\n")
    for _ in range(2):
        with pytest.raises(compiling.Refused, match="nothing"):
            tree.compile()


def test_ccache_is_used_where_it_is(tree, tmp_path, monkeypatch):
    tree.compile()
    program = tmp_path / "bin" / "ccache"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert tree.compile() == ""
    tree.write("main", "int main() { return 2; }\n")
    assert tree.compile() and "-c src/main.cpp" in (tmp_path / "calls").read_text()


def test_every_cuda_source_belongs_to_one_op(emulation):
    of_ops = [source for op in emulation.compiling.ops() for source in emulation.compiling.cuda_sources(op)]
    assert sorted(of_ops) == sorted(f"src/cuda/{path.name}" for path in (ROOT / "src/cuda").glob("*.cu"))
    assert "src/cuda/rotated_align.cu" not in emulation.compiling.cuda_sources("rotated")


def test_only_the_module_file_is_told_why_there_is_no_cuda(monkeypatch):
    pytest.importorskip("Cython")
    monkeypatch.setenv("ROIKIT_CUDA", "off")
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("roikit_setup", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    words = {}
    monkeypatch.setattr(setup.compiling, "compiled",
                        lambda target, source, command, versions=(): words.update({source: command}))
    builder = SimpleNamespace(compiler=SimpleNamespace(compiler_so=["cc"], include_dirs=["/python"]))
    core = SimpleNamespace(name="roikit._core", include_dirs=[])
    for source in setup.sources("core", "cpu/*.cpp"):
        setup.BuildExt.compile(builder, core, source)
    told = {source for source, command in words.items() if '-DROIKIT_CUDA_BUILD="ROIKIT_CUDA=off"' in command}
    assert told == {"src/bind/core_module.cpp"} and len(words) > 30
    assert {source for source, command in words.items() if any("DROIKIT_OPS" in word for word in command)} == told


def test_a_function_compiles_its_op_alone(emulation, tmp_path, monkeypatch):
    commands = []

    def run(command):
        commands.append(command)
        Path(command[command.index("-o") + 1]).write_text("")
        if "-MF" in command:
            Path(command[command.index("-MF") + 1]).write_text("object: src/core/boxes.h")

    for module in (emulation, emulation.compiling):
        monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(emulation, "FOLDER", tmp_path)
    monkeypatch.setenv("ROIKIT_JOBS", "1")
    monkeypatch.setattr(emulation, "module_at", lambda path, name: SimpleNamespace(box_iou=path, roi_pool=path))
    emulated = emulation.load()
    assert not commands
    assert emulated.box_iou == emulated.box_iou
    assert [command[command.index("-c") + 1] for command in commands if "-c" in command] == [
        "src/bind/cuda_module.cpp", "src/cuda/boxes.cu"]
    assert "src/bind/boxes.cpp" in commands[0] and "-DROIKIT_OPS=ROIKIT_OP(boxes)" in commands[0]
    commands.clear()
    assert emulation.load().roi_pool
    assert sum("-c" in command for command in commands) == 4
    with pytest.raises(AttributeError, match="no binding in src/bind defines box_ious"):
        emulated.box_ious  # noqa: B018
