"""What fails beside a training costs nothing of it: it is told, the run goes on, and the end names it."""

import pytest
from click.testing import CliRunner

from roikit.cli import main
from roikit.trainer import IncompleteRun, checkpoint, finish, load_config, train, validation
from roikit.trainer.config import config_text
from roikit.trainer.distributed import Process
from roikit.trainer.failures import Failures, on_first, sentence
from roikit.trainer.records import Records, read_records

pytestmark = [pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning"),
              pytest.mark.usefixtures("tiny")]

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)

FULL = OSError(28, "No space left on device")


def failing(function, error, calls=None):
    """``function`` that raises in the given calls, counted from 0; in all of them for None."""
    count = -1

    def call(*args, **kwargs):
        nonlocal count
        count += 1
        if calls is None or count in calls:
            raise error
        return function(*args, **kwargs)

    return call


def spoil(monkeypatch, owner, name, error, calls=None):
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), error, calls))


@pytest.mark.parametrize("owner, name, error, part, text", [
    (validation, "detect", RuntimeError("no memory"), "the evaluation", "RuntimeError: no memory"),
    (validation.Validation, "score", KeyError("area"), "the evaluation", "KeyError: 'area'"),
    (Records, "add", FULL, "the log", "No space left on device"),
    (Records, "close", FULL, "the log", "No space left on device"),
    (finish, "write_metrics", FULL, "metrics.json", "No space left on device"),
    (finish, "draw_curves", ValueError("no\nroom"), "curves.png", "no room"),
    (finish, "save_png", ZeroDivisionError(), "predictions", "ZeroDivisionError"),
    (checkpoint, "export_safetensors", FULL, "model.safetensors", "No space left on device"),
])
def test_law_what_fails_beside_a_training_costs_nothing_of_it(same, settings, tmp_path, monkeypatch, owner, name, error,
                                                              part, text):
    config, out = load_config(settings, ["eval.every=null", "schedule.steps=3"]), tmp_path / "run"
    train(config, out=tmp_path / "whole")
    spoil(monkeypatch, owner, name, error)
    with pytest.raises(IncompleteRun, match=f"3 steps are done .*, but {part} failed: {text}$") as end:
        train(config, out=out)
    assert end.value.failures == {part: text} and end.value.metrics["step"] == 3
    kept, whole = checkpoint.load(out / "last.pt"), checkpoint.load(tmp_path / "whole" / "last.pt")
    if part == "the evaluation":
        assert kept["best"] is None and "segm" not in end.value.metrics
        whole["best"] = None
    else:
        assert "segm" in end.value.metrics and (out / "best.pt").is_file()
        assert len(list((out / "predictions").iterdir())) == (0 if part == "predictions" else 2)
    same(kept, whole)
    assert (out / "model.safetensors").is_file() != (part == "model.safetensors")
    assert (out / "metrics.json").is_file() != (part == "metrics.json")


def test_law_a_run_goes_on_after_a_failed_evaluation(same, settings, tmp_path, monkeypatch):
    train(load_config(settings), out=tmp_path / "whole")  # evaluates at 4, 8 and 11
    spoil(monkeypatch, validation, "detect", ValueError("not now"), calls=[0])
    with pytest.raises(IncompleteRun, match="the evaluation failed: not now") as end:
        train(load_config(settings), out=tmp_path / "run")
    evals = [r["step"] for r in read_records(tmp_path / "run" / "log.jsonl") if r["kind"] == "eval"]
    assert evals == [8, 11] and "segm" in end.value.metrics
    kept, whole = (checkpoint.load(tmp_path / name / "last.pt") for name in ("run", "whole"))
    del kept["best"], whole["best"]
    same(kept, whole)


@pytest.mark.parametrize("error, raised, calls", [
    (KeyError("area"), IncompleteRun, [2]), (KeyboardInterrupt(), KeyboardInterrupt, [1]),
    (KeyboardInterrupt(), KeyboardInterrupt, [2])])
def test_law_a_resumed_run_evaluates_what_it_owes(same, settings, tmp_path, monkeypatch, error, raised, calls):
    """Whatever became of an evaluation, and the process with it, resuming leaves the files of a run without a fault."""
    config, out = load_config(settings), tmp_path / "run"
    whole = train(config, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        spoil(patch, validation, "detect", error, calls)
        with pytest.raises(raised):
            train(config, out=out)
    for _ in range(2):  # the second time there is nothing left to do
        again = train(config, out=out, resume=True)
        assert again["segm"] == whole["segm"] and again["best"] == whole["best"]
        for name in ("last", "best"):
            same(checkpoint.load(tmp_path / "whole" / f"{name}.pt"), checkpoint.load(out / f"{name}.pt"))
        told = [[(r["kind"], r["step"]) for r in read_records(folder / "log.jsonl")]
                for folder in (tmp_path / "whole", out)]
        assert told[0] == told[1]


def test_law_the_weights_are_on_the_disk_before_they_are_evaluated(settings, tmp_path, monkeypatch):
    seen, detect = [], validation.detect

    def looking(*args, **kwargs):
        seen.append((checkpoint.load(tmp_path / "run" / "last.pt")["step"],
                     (tmp_path / "run" / "model.safetensors").is_file()))
        return detect(*args, **kwargs)

    monkeypatch.setattr(validation, "detect", looking)
    train(load_config(settings), out=tmp_path / "run")
    assert seen == [(4, False), (8, False), (11, True)]


def test_contract_a_checkpoint_that_cannot_be_written_does_not_end_a_run(settings, tmp_path, monkeypatch):
    spoil(monkeypatch, checkpoint, "save", FULL, calls=[0])
    with pytest.raises(IncompleteRun, match="last.pt failed: No space left on device"):
        train(load_config(settings, ["run.checkpoint_every=3"]), out=tmp_path / "run")
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] == 11


@pytest.mark.parametrize("workers", [0, 1])
def test_contract_a_picture_that_cannot_be_read_costs_no_step(settings, squares, tmp_path, workers):
    for path in squares[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = load_config(settings, [f"data.train.images={tmp_path}", f"data.workers={workers}"])
    whole = train(config, out=tmp_path / "whole")

    def spoil_at_6(record):  # with the pictures of steps 7 and 8 fetched already
        if record["step"] == 5:
            for path in squares[1].iterdir():
                (tmp_path / path.name).write_bytes(b"gone")

    with pytest.raises((ValueError, OSError), match=r"train: step \d+: .*\.png.*; .*last.pt was written, resume goes on"
                       ) as end:
        train(config, out=tmp_path / "run", on_step=spoil_at_6)
    assert "Traceback" not in str(end.value) and checkpoint.load(tmp_path / "run" / "last.pt")["step"] >= 5
    for path in squares[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert train(config, out=tmp_path / "run", resume=True)["segm"] == whole["segm"]


def test_contract_val_images_that_cannot_be_read_are_told_and_count_as_missed(settings, squares, tmp_path):
    for path in squares[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("3.png", "1.png"):
        (tmp_path / name).write_bytes(b"gone")
    config = load_config(settings, [f"data.val.images={tmp_path}", "run.predictions=4"])
    with pytest.raises(IncompleteRun, match=r"reading val images failed: 2 of 7, .*the first is .*1\.png") as end:
        train(config, out=tmp_path / "run")
    assert "segm" in end.value.metrics and (tmp_path / "run" / "best.pt").is_file()
    assert sorted(p.name for p in (tmp_path / "run" / "predictions").iterdir()) == ["0.png", "2.png"]


def test_contract_the_command_ends_with_a_sentence_and_status_1(settings, tmp_path, monkeypatch):
    (tmp_path / "lr=1.yaml").write_text(config_text(load_config(settings)))
    words = ["train", str(tmp_path / "lr=1.yaml"), "--out", str(tmp_path / "run"), "schedule.steps=2"]
    spoil(monkeypatch, validation.Validation, "score", KeyError("area"))
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    assert "the evaluation failed, the run goes on: KeyError: 'area'" in result.output
    assert result.output.splitlines()[-1].startswith("Error: train: 2 steps are done and ")
    result = CliRunner().invoke(main, ["--traceback", *words[:-2], f"{tmp_path}/run2", words[-1]])
    assert isinstance(result.exception, IncompleteRun) and isinstance(result.exception.__cause__, KeyError)


def test_contract_a_library_that_is_not_installed_is_no_failure():
    said = []
    failures = Failures(Process(), said.append)
    with pytest.warns(UserWarning, match="needs matplotlib"):
        failures.attempt("curves.png", failing(None, ImportError("drawing needs matplotlib")))
    failures.raise_if_any("done", {})
    assert failures.together("a", lambda: 3) == 3 and not said
    for _ in range(2):
        assert failures.attempt("a", failing(None, ValueError("x"))) is None
    assert said == ["a failed, the run goes on: x"]


class Pair:
    """Two processes by turns: what the other one gave is told in advance."""

    world = 2

    def __init__(self, first, other):
        self.first, self.other = first, other

    def gather(self, value):
        return [value, self.other] if self.first else [self.other, value]

    def share_first(self, value):
        return value if self.first else self.other


def test_law_a_failure_of_one_process_is_that_of_all():
    for first in (True, False):
        failures = Failures(Pair(first, "elsewhere"), lambda text: None)
        assert failures.together("a", lambda: 3) is None
        failures = Failures(Pair(first, None), lambda text: None)
        assert failures.together("a", lambda: 3) == 3
        assert failures.together("a", failing(None, ValueError("here"))) is None
    assert on_first(Pair(False, (7, None)), failing(None, ValueError())) == 7
    with pytest.raises(ValueError, match="there"):
        on_first(Pair(False, (None, "there")), lambda: 3)
    with pytest.raises(KeyError):
        on_first(Pair(True, None), failing(None, KeyError("here")))


CAUGHT = "Caught Error in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File\n"


@pytest.mark.parametrize("error, text", [
    (ValueError("a\n  b"), "a b"), (ValueError(), "ValueError"), (KeyError("id"), "KeyError: 'id'"),
    (FileNotFoundError(2, "No such file or directory", "x.json"), "x.json: No such file or directory"),
    (OSError("image file is truncated"), "image file is truncated"),
    (RuntimeError("x" * 700), f"RuntimeError: {'x' * 586} ..."),
    (OSError(f"{CAUGHT}OSError: a: b"), "a: b"), (ValueError(f"{CAUGHT}ValueError"), "ValueError"),
    (KeyError(f"{CAUGHT}KeyError: 'a'"), "KeyError: 'a'"),
])
def test_contract_errors_are_told_in_one_line(error, text):
    assert sentence(error) == text
