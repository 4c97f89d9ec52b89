"""Predictions that several processes share, to an address, without a disk that all of them see."""

import os
import shutil
import signal

import pytest

from roikit.data.remote import results
from roikit.trainer import predict

from .several import DONE, LEFT, together
from .test_shared_prediction import FEW, content, photos, quiet, run  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.filterwarnings("ignore::DeprecationWarning"),
              pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

fsspec = pytest.importorskip("fsspec")
WRITE = {**FEW, "write": ("overlays", "coco", "csv")}


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """A function that gives each process a machine of its own, as far as the folder of what is kept goes."""
    monkeypatch.setattr(results, "EVERY", 0.05)
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(fsspec.config.conf, "file", {"auto_mkdir": True})  # as a server of objects does

    def use(name, rank):
        os.environ["ROIKIT_HOME"] = str(tmp_path / f"machine-{name}-{rank}")

    return use


def test_law_what_is_at_an_address_is_what_one_process_writes(run, photos, tmp_path, machines):  # noqa: F811
    predict(run, photos, out=tmp_path / "whole", on_error=quiet, **WRITE)
    address = f"file://{tmp_path / 'found'}"

    def work(process):
        machines("a", process.rank)
        predict(run, photos, out=address, process=process, on_error=quiet, **WRITE)

    assert together(2, work) == [DONE, DONE]
    assert content(tmp_path / "found") == content(tmp_path / "whole")


def test_law_processes_that_were_killed_are_gone_on_with_on_other_machines(run, photos, tmp_path,  # noqa: F811
                                                                           machines):
    found, told = tmp_path / "found", tmp_path / "told"
    address = f"file://{found}"

    def copied():
        return {path.name: path.read_bytes().count(b"\n") for path in found.glob("predictions.part-*.jsonl")}

    def work(process, name="a", dies=True):
        machines(name, process.rank)

        def seen(path, _):
            with open(told, "a") as file:
                file.write(f"{name} {path.name}\n")
            if dies and path.parent.name != "0":
                while any(count < 5 for count in copied().values()) or len(copied()) < 2:
                    results.time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)

        predict(run, photos, out=address, resume=True, process=process, on_error=quiet, on_image=seen, **WRITE)

    assert together(2, work) == [-signal.SIGKILL, -signal.SIGKILL]
    left = copied()
    assert len(left) == 2 and min(left.values()) >= 5
    assert together(3, lambda process: work(process, "b", dies=False)) == [DONE] * 3
    predict(run, photos, out=tmp_path / "whole", on_error=quiet, **WRITE)
    assert content(found) == content(tmp_path / "whole")
    again = [line.split()[1] for line in told.read_text().splitlines() if line.startswith("b")]
    assert len(again) == len(set(again)) <= 59 - sum(left.values()) + 2 + 1  # two heads, an unread one
    shutil.rmtree(tmp_path / "machine-b-0")
    machines("c", 0)
    assert len(predict(run, photos, out=address, resume=True, on_error=quiet, **WRITE)) == 59


def test_what_one_cannot_copy_is_not_told_of(run, photos, tmp_path, machines, capfd):  # noqa: F811
    address = f"file://{tmp_path / 'found'}"

    def work(process, refused=True):
        machines("a", process.rank)
        if refused and not process.first:
            put = results._Copied._put

            def refuse(self, name, path, seen):
                if name.endswith(".png"):
                    raise OSError("no room")
                put(self, name, path, seen)

            results._Copied._put = refuse
        predict(run, photos, out=address, resume=True, process=process, on_error=quiet, **WRITE)

    first, second = together(2, work)
    assert first == LEFT and second == 1 and "no room; all of them are in" in capfd.readouterr().err
    names = {path.name for path in (tmp_path / "found").rglob("*.png")}
    lines = [line for path in (tmp_path / "found").glob("*.jsonl") for line in path.read_text().splitlines()[1:]]
    assert 0 < len(lines) < 40 and all(any(name in line for name in names) or "unread" in line for line in lines)
    assert together(2, lambda process: work(process, refused=False)) == [DONE, DONE]
    predict(run, photos, out=tmp_path / "whole", on_error=quiet, **WRITE)
    assert content(tmp_path / "found") == content(tmp_path / "whole")
